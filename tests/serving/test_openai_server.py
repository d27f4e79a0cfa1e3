"""The OpenAI-compatible server, on a real socket with a real model: what it answers, refuses, streams and counts.

In one file, since all share the servers that it starts.
"""

import asyncio
import base64
import concurrent.futures
import contextlib
import io
import json
import logging
import socket
import threading
import time

import jsonschema
import numpy as np
import pytest
from PIL import Image

from ganglion.core.event_log import JsonFormatter
from ganglion.core.tasks import EXO_ASSIST, read_answer
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.limits import ServingLimits

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
prometheus_parser = pytest.importorskip("prometheus_client.parser")

pytestmark = pytest.mark.slow
CHAT = "/v1/chat/completions"
MODEL = "exo_assist"
LIMITS = ServingLimits(running=2, waiting=2)
NEVER_S = 60.0


def png(side=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def image_url(data=None):
    url = "data:image/png;base64," + base64.b64encode(png() if data is None else data).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def text(said):
    return {"type": "text", "text": said}


def asking(*content, **fields):
    message = {"role": "user", "content": list(content) or "go"}
    return {"model": MODEL, "messages": [message], "max_completion_tokens": 8, **fields}


def within(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def events(body):
    """The data of server-sent events, which end as they must."""
    lines = [line for line in body.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.fixture(scope="module")
def engine(vlm_bundle):
    return VlmEngine.open(vlm_bundle, limits=LIMITS)


@pytest.fixture(scope="module")
def serving(engine):
    """serving(token, **settings): base URL of a server that was started, around the one engine."""
    from ganglion.serving.openai.app import make_app
    from ganglion.serving.openai.settings import ServerSettings

    started = []

    def serve(token=None, **bounds):
        settings = ServerSettings(**{"body_bytes": 200_000, "image_pixels": 500_000, "images": 3, **bounds})
        app = make_app(engine, MODEL, limits=LIMITS, settings=settings, token=token)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        started.append((server, thread))
        until = time.monotonic() + NEVER_S
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    yield serve
    for server, thread in started:
        server.should_exit = True
        thread.join(NEVER_S)


@pytest.fixture(scope="module")
def client(serving):
    with httpx.Client(base_url=serving(), timeout=NEVER_S) as client:
        until = time.monotonic() + NEVER_S
        while client.get("/health/ready").status_code != 200 and time.monotonic() < until:
            time.sleep(0.02)
        yield client


def error_of(reply, status):
    """The error of a reply, which has OpenAI's form; the server still answers."""
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and "\n" not in error["message"] and "Traceback" not in reply.text
    return error


def test_an_answer_is_the_engines_own(client, engine):
    body = asking(image_url(), text("What lies "), text("ahead?"))
    reply = client.post(CHAT, json=body)
    assert reply.status_code == 200, reply.text
    want = engine.generate([png()], "What lies ahead?", max_new_tokens=8)
    said = reply.json()
    assert said["choices"][0]["message"] == {"role": "assistant", "content": want.text, "refusal": None}
    assert said["choices"][0]["finish_reason"] == ("stop" if want.complete else "length")
    assert said["usage"]["completion_tokens"] == len(want.tokens)
    assert said["usage"]["total_tokens"] == said["usage"]["prompt_tokens"] + len(want.tokens)
    assert reply.headers["x-request-id"] == said["id"]


def test_a_dialogue_with_a_system_message_is_read_in_its_order(client, engine):
    def said(*messages):
        body = {"model": MODEL, "messages": [{"role": r, "content": c} for r, c in messages], "max_tokens": 12}
        reply = client.post(CHAT, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"]

    dialogue = (("system", "Be brief."), ("user", "What is it?"), ("assistant", "flat"), ("user", "And now?"))
    from ganglion.core.tasks import Turn

    history = [Turn((), "What is it?", "flat")]
    asked = engine.ask([], "And now?", history=history, system="Be brief.", max_new_tokens=12)
    assert said(*dialogue) == asked.result.result(NEVER_S).text
    assert len({said(*dialogue), said(*dialogue[1:]), said(*dialogue[3:])}) == 3


def test_text_written_in_json_is_valid(client):
    reply = client.post(CHAT, json=asking(image_url(), text("go"), response_format=within(EXO_ASSIST.schema)))
    said = reply.json()["choices"][0]
    assert read_answer(said["message"]["content"], EXO_ASSIST.schema) is not None
    assert said["finish_reason"] == "stop"
    free = client.post(CHAT, json=asking(response_format={"type": "json_object"})).json()["choices"][0]
    assert free["finish_reason"] != "stop" or isinstance(json.loads(free["message"]["content"]), dict)
    assert free["message"]["content"].startswith("{")


@pytest.mark.parametrize("form", [None, within(EXO_ASSIST.schema)])
def test_a_stream_says_the_same_piece_by_piece(client, form):
    body = asking(image_url(), text("go"), response_format=form, max_completion_tokens=24)
    whole = client.post(CHAT, json=body).json()
    reply = client.post(CHAT, json=body | {"stream": True, "stream_options": {"include_usage": True}})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *pieces, last, usage = events(reply.text)
    assert len(pieces) > 3
    assert (
        "".join(piece["choices"][0]["delta"]["content"] for piece in pieces)
        == whole["choices"][0]["message"]["content"]
    )
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]
    assert all("usage" not in one for one in events(client.post(CHAT, json=body | {"stream": True}).text))


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_text_ends_the_answer_before_it(client, stream):
    body = asking(text("go"), max_completion_tokens=40)
    whole = client.post(CHAT, json=body).json()["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 :][:3]
    reply = client.post(CHAT, json=body | {"stop": ["never said", stop], "stream": stream})
    if stream:
        *pieces, last = events(reply.text)
        said, ended = "".join(one["choices"][0]["delta"]["content"] for one in pieces), last["choices"][0]
    else:
        ended = reply.json()["choices"][0]
        said = ended["message"]["content"]
    assert said == whole[: whole.index(stop)]
    assert ended["finish_reason"] == "stop"


def bomb(pixels):
    """A small file of a large picture."""
    encoded = io.BytesIO()
    Image.new("1", (pixels, pixels)).save(encoded, "PNG")
    return encoded.getvalue()


def nested(depth):
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def user(*content):
    return {"messages": [{"role": "user", "content": list(content)}]}


WRONG = {
    "no model": ({"model": None}, "model", "missing"),
    "messages are text": ({"messages": "go"}, "messages", "list of messages"),
    "no messages": ({"messages": []}, "messages", "list of messages"),
    "the assistant last": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        "messages",
        "not a user's",
    ),
    "two users": ({"messages": [{"role": "user", "content": "a"}] * 2}, "messages[1].role", "take turns"),
    "a tool": ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role", "take turns"),
    "a sound": (user({"type": "input_audio"}), "messages[0].content[0].type", "input_audio"),
    "content is a number": ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "no text"),
    "an image of the network": (
        user({"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}),
        "messages[0].content[0].image_url.url",
        "not fetched",
    ),
    "an image of the disk": (
        user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        "messages[0].content[0].image_url.url",
        "not fetched",
    ),
    "no base64": (
        user({"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@@"}}),
        "messages[0].content[0].image_url.url",
        "no base64",
    ),
    "no image": (user(image_url(b"GIF89a" + bytes(50))), "messages[0].content[0].image_url.url", "no image"),
    "half an image": (user(image_url(png()[:300]), text("go")), None, "can't be decoded"),
    "an image bomb": (user(image_url(bomb(3000))), "messages[0].content[0].image_url.url", "3000 x 3000 pixels"),
    "a larger image bomb": (user(image_url(bomb(20_000))), "messages[0].content[0].image_url.url", "no image"),
    "too many images": (user(*[image_url()] * 4), "messages", "4 images, more than 3"),
    "a placeholder": (user(text("<|image_pad|>")), None, "placeholders"),
    "warm": ({"temperature": 0.7}, "temperature", "greedy"),
    "two answers": ({"n": 2}, "n", "greedy"),
    "tools": ({"tools": [{"type": "function"}]}, "tools", "not served"),
    "penalty": ({"presence_penalty": 0.5}, "presence_penalty", "not served"),
    "unheard of": ({"frobnicate": 1}, "frobnicate", "not served"),
    "no tokens": ({"max_completion_tokens": 0}, "max_completion_tokens", "less than 1"),
    "tokens in words": ({"max_completion_tokens": "ten"}, "max_completion_tokens", "no int"),
    "more stops than there may be": ({"stop": list("abcde")}, "stop", "at most 4"),
    "a long stop": ({"stop": "e" * 300}, "stop", "256 characters"),
    "an empty stop": ({"stop": ""}, "stop", "text"),
    "options of no stream": ({"stream_options": {"include_usage": True}}, "stream_options", "without stream"),
    "an unknown form": ({"response_format": {"type": "yaml"}}, "response_format.type", "none of"),
    "no schema": ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "missing"),
    "no such type": ({"response_format": within({"type": "nonsense"})}, None, "no grammar"),
    "a deep schema": ({"response_format": within(nested(70))}, "response_format.json_schema.schema", "64 deep"),
    "a long schema": (
        {"response_format": within({"enum": [f"one of very many {k}" for k in range(4000)]})},
        "response_format.json_schema.schema",
        "64000 bytes",
    ),
    "a schema that takes minutes": (
        {"response_format": within({"type": "integer", "multipleOf": 10_000_019})},
        "response_format.json_schema.schema",
        "multipleOf",
    ),
    "a schema that takes minutes when put together": (
        {"response_format": within({"allOf": [{"type": "integer", "multipleOf": k} for k in (997, 991)]})},
        "response_format.json_schema.schema",
        "multipleOf",
    ),
    "too long a prompt": (user(text("word " * 600)), None, "the model reads at most 512"),
    "half a character": (user(text("\ud83d")), None, "UTF-8"),
}


@pytest.mark.parametrize(("fields", "param", "says"), WRONG.values(), ids=WRONG)
def test_each_wrong_request_gets_its_own_error_and_the_server_lives_on(client, fields, param, says):
    body = {name: value for name, value in (asking() | fields).items() if value is not None}
    reply = client.post(CHAT, content=json.dumps(body), headers={"content-type": "application/json"})
    error = error_of(reply, 400)
    assert says in error["message"] and error["param"] == param and error["type"] == "invalid_request_error"
    assert client.post(CHAT, json=asking()).status_code == 200


RAW = {
    "bad utf-8": (b'{"model": "\xff"}', "application/json", 400, "UTF-8"),
    "no json": (b'{"model": ', "application/json", 400, "no JSON"),
    "nothing": (b"", "application/json", 400, "no JSON"),
    "a list": (b"[]", "application/json", 400, "no JSON object"),
    "not a number": (b'{"temperature": NaN}', "application/json", 400, "no JSON"),
    "nested": (b"[" * 100_000, "application/json", 400, "nested too deep"),
    "another type": (b"{}", "text/plain", 415, "content-type"),
    "too large": (b" " * 200_001, "application/json", 413, "more than 200000 bytes"),
}


@pytest.mark.parametrize(("body", "kind", "status", "says"), RAW.values(), ids=RAW)
def test_a_body_that_is_no_request_is_refused(client, body, kind, status, says):
    reply = client.post(CHAT, content=body, headers={"content-type": kind})
    assert says in error_of(reply, status)["message"]


def test_a_body_without_a_length_is_bounded_too(client):
    pieces = (b" " * 10_000 for _ in range(100))
    with contextlib.suppress(httpx.WriteError):  # it may stop listening before all is sent
        error_of(client.post(CHAT, content=pieces, headers={"content-type": "application/json"}), 413)
    assert client.post(CHAT, json=asking()).status_code == 200


def test_other_models_paths_and_methods_are_refused_in_the_same_form(client):
    assert error_of(client.post(CHAT, json=asking(model="gpt")), 404)["code"] == "model_not_found"
    assert len(error_of(client.post(CHAT, json=asking(model="g" * 10_000)), 404)["message"]) < 200
    error_of(client.get("/v1/nothing"), 404)
    error_of(client.get(CHAT), 405)
    assert client.get("/v1/models").json()["data"][0]["id"] == MODEL


def test_what_changes_nothing_about_a_greedy_answer_is_accepted(client):
    plain = client.post(CHAT, json=asking()).json()["choices"]
    also = asking(temperature=0, top_p=0.5, seed=7, user="me", n=1, tools=[], logprobs=False, stop=None, store=None)
    assert client.post(CHAT, json=also).json()["choices"] == plain


def test_only_the_token_lets_in_but_health_is_open(serving):
    token = "0123456789abcdef-secret"
    with httpx.Client(base_url=serving(token), timeout=NEVER_S) as client:
        assert client.get("/health/live").status_code == 200
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": token},
            {"authorization": f"Bearer {token}x"},
        ):
            for path in ("/v1/models", "/metrics", "/v1/nothing"):
                reply = client.get(path, headers=headers)
                assert error_of(reply, 401)["code"] == "invalid_api_key"
                assert reply.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 200


def wait_for(condition):
    until = time.monotonic() + NEVER_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    assert condition()


def test_more_requests_than_may_wait_are_refused_with_a_time_to_come_again(client, engine):
    opened = threading.Event()
    first = engine.ask([], "hold", max_new_tokens=2, on_tokens=lambda _: opened.wait(NEVER_S))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.post, CHAT, json=asking()) for _ in range(3)]
        wait_for(lambda: engine.load.running + engine.load.waiting == 4)
        refused = client.post(CHAT, json=asking())
        opened.set()
        error = error_of(refused, 429)
        assert error["code"] == "queue_full" and int(refused.headers["retry-after"]) >= 1
        assert [one.result(NEVER_S).status_code for one in asked] == [200] * 3
    assert first.result.result(NEVER_S).tokens


@pytest.fixture
def held(engine):
    """While it is not set, the engine's answers stand still."""
    opened, reached = threading.Event(), threading.Event()

    def stand(tokens):
        reached.set()
        opened.wait(NEVER_S)

    engine.ask([], "hold", max_new_tokens=1, on_tokens=stand)
    assert reached.wait(NEVER_S)
    yield opened
    opened.set()
    wait_for(lambda: engine.load.running == engine.load.waiting == 0)


def test_it_is_ready_when_a_first_answer_is_written_and_not_before(serving, held):
    with httpx.Client(base_url=serving(), timeout=NEVER_S) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        refused = client.post(CHAT, json=asking())
        assert error_of(refused, 503)["code"] == "not_ready" and refused.headers["retry-after"]
        held.set()
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        assert client.post(CHAT, json=asking()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_not_whole_by_the_deadline_is_an_error_that_may_be_asked_again(serving, engine, stream):
    with httpx.Client(base_url=serving(deadline_s=0.3), timeout=NEVER_S) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        opened = threading.Event()
        engine.ask([], "hold", max_new_tokens=1, on_tokens=lambda _: opened.wait(NEVER_S))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.post, CHAT, json=asking(stream=stream))
            wait_for(lambda: engine.load.running + engine.load.waiting == 2)
            time.sleep(0.35)  # more than the deadline, which counts from before it was taken
            opened.set()
            assert error_of(asked.result(NEVER_S), 503)["code"] == "deadline_exceeded"
        assert client.post(CHAT, json=asking(stream=stream)).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(serving):
    url = httpx.URL(serving(body_s=0.2))
    with httpx.Client(base_url=url, timeout=NEVER_S) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        with socket.create_connection((url.host, url.port), timeout=NEVER_S) as slow:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{"
            slow.sendall(head.encode())
            assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert client.post(CHAT, json=asking()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_place(client, engine, stream):
    opened = threading.Event()
    hold = engine.ask([], "hold", max_new_tokens=400, on_tokens=lambda _: opened.wait(NEVER_S))
    wait_for(lambda: engine.load.running == 1)
    impatient = httpx.Timeout(NEVER_S, read=0.3)
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=asking(max_completion_tokens=300, stream=stream), timeout=impatient)
    wait_for(lambda: engine.load.waiting == 0)
    hold.result.cancel()
    opened.set()
    wait_for(lambda: engine.load.running == 0 and engine.load.kv_bytes == 0)
    assert client.post(CHAT, json=asking()).status_code == 200


def test_metrics_count_requests_tokens_and_times(client):
    def read():
        families = prometheus_parser.text_string_to_metric_families(client.get("/metrics").text)
        return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}

    before = read()
    said = client.post(CHAT, json=asking(max_completion_tokens=6)).json()
    client.post(CHAT, json=asking(n=2))
    after = read()

    def more(*name):
        return after[name] - before.get(name, 0)

    outcome, tokens = said["choices"][0]["finish_reason"], said["usage"]["completion_tokens"]
    assert more("ganglion_vlm_requests_total", outcome) == 1
    assert more("ganglion_vlm_requests_total", "refused") == more("ganglion_vlm_refused_total", "400") == 1
    assert more("ganglion_vlm_generated_tokens_total") == tokens
    assert more("ganglion_vlm_prompt_tokens_total") == said["usage"]["prompt_tokens"]
    assert more("ganglion_vlm_time_to_first_token_seconds_count") == 1
    assert more("ganglion_vlm_time_per_token_seconds_count") == tokens - 1
    assert after["ganglion_vlm_running",] == after["ganglion_vlm_waiting",] == after["ganglion_vlm_kv_bytes",] == 0
    assert after["ganglion_vlm_kv_bytes_budget",] > 0


def test_the_log_has_sizes_and_an_id_of_a_request_and_nothing_that_was_said(client, caplog):
    with caplog.at_level(logging.INFO, "ganglion.serving.openai"):
        reply = client.post(CHAT, json=asking(image_url(), text("my secret is 4711")))
        client.post(CHAT, json=asking(text("my secret is 4711"), frobnicate="4711"))
        wait_for(lambda: len(caplog.records) == 2)
    lines = [JsonFormatter().format(record) for record in caplog.records]
    answered, refused = map(json.loads, lines)
    assert answered["id"] == reply.headers["x-request-id"]
    assert answered["images"] == 1 and answered["answer_tokens"] == reply.json()["usage"]["completion_tokens"]
    assert (answered["status"], refused["status"], refused["outcome"]) == (200, 400, "refused")
    assert not any("4711" in line or "secret" in line for line in lines)
    assert reply.json()["choices"][0]["message"]["content"] not in "".join(lines)


@pytest.fixture
def openapi(shared_data):
    """openapi(name): a validator of that schema of OpenAI's own description of its API."""
    yaml = pytest.importorskip("yaml")
    file = shared_data / "openai_openapi/openapi.yaml"
    if not file.is_file():
        pytest.skip("no openai_openapi in ../shared/data")
    described = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    schemas = with_null(described["components"]["schemas"])

    def validator(name):
        root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        return jsonschema.Draft202012Validator(root)

    return validator


def with_null(schema):
    """`nullable: true` is of an older version than the description says it has; here as the newer one writes it."""
    if isinstance(schema, list):
        return [with_null(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: with_null(part) for key, part in schema.items()}
    return {"anyOf": [made, {"type": "null"}]} if made.pop("nullable", None) is True else made


def test_requests_and_replies_are_those_of_openais_own_description(client, openapi):
    """Checked with both: what is sent here, whole answers, streamed ones, the list of models, and errors."""
    form = {"response_format": within(EXO_ASSIST.schema)}
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    request, whole = openapi("CreateChatCompletionRequest"), openapi("CreateChatCompletionResponse")
    chunk, error = openapi("CreateChatCompletionStreamResponse"), openapi("ErrorResponse")
    for fields in ({}, form, {"stop": "e"}, {"temperature": 0, "n": 1, "seed": 3}):
        body = asking(image_url(), text("go"), **fields)
        request.validate(body)
        whole.validate(client.post(CHAT, json=body).json())
        request.validate(body | usage)
        pieces = events(client.post(CHAT, json=body | usage).text)
        assert len(pieces) > 2
        for piece in pieces:
            chunk.validate(piece)
    openapi("ListModelsResponse").validate(client.get("/v1/models").json())
    for reply in (client.post(CHAT, json=asking(n=2)), client.get("/v1/nothing"), client.post(CHAT, content=b"x")):
        assert reply.status_code >= 400
        error.validate(reply.json())
    assert not whole.is_valid({"id": "x"}) and not chunk.is_valid({"id": "x"}), "the description does say something"
