"""Asking a chat-completions server, shown against a tiny one that can be told to fail; bodies held to OpenAI's spec."""

import asyncio
import base64
import functools
import io
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator
from PIL import Image

from ganglion.core.chat_request import chat_request, data_url
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.images import encode_jpeg
from ganglion.core.tasks import Turn, get_task, task_names, write_answer
from ganglion.robot_bridge.vlm_client import AsyncVlmClient, VlmClient
from ganglion.robot_bridge.vlm_exchange import VlmServer

TASK = get_task("exo_assist")
ANSWER = write_answer(
    {
        "task": "stairs_up",
        "terrain_difficulty": "moderate",
        "initial_assistance": 6,
        "assistance_delta": 2,
        "reasoning": "steps",
    }
)
PIXELS = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)


def completion(text, reason="stop"):
    choice = {"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "logprobs": None}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    base = {"id": "c", "object": "chat.completion", "created": 1, "model": "exo_assist", "usage": usage}
    return base | {"choices": [choice | {"finish_reason": reason}]}


def events(*pieces, done=True):
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return ": still there\n\n" + "".join(lines) + ("data: [DONE]\n\n" if done else "")


class Scripted(ThreadingHTTPServer):
    """Gives each request the same (status, body, seconds to wait first), and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, status=200, body="", wait_s=0.0, address=("127.0.0.1", 0)):
        self.reply, self.asked = (status, body if isinstance(body, str) else json.dumps(body), wait_s), []
        super().__init__(address, Answering)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Answering(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        status, text, wait_s = self.server.reply
        time.sleep(wait_s)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def ask_in_turn(server, **what):
    with VlmClient(server) as client:
        return client.ask(TASK, "Assess.", **what)


def ask_in_asyncio(server, **what):
    async def ask():
        async with AsyncVlmClient(server) as client:
            return await client.ask(TASK, "Assess.", **what)

    return asyncio.run(ask())


def stream_in_turn(server):
    with VlmClient(server) as client:
        return list(client.stream(TASK, "Assess."))


def stream_in_asyncio(server):
    async def ask():
        async with AsyncVlmClient(server) as client:
            return [piece async for piece in client.stream(TASK, "Assess.")]

    return asyncio.run(ask())


@pytest.fixture(params=[ask_in_turn, ask_in_asyncio], ids=["sync", "async"])
def ask(request):
    return request.param


@pytest.fixture(params=[stream_in_turn, stream_in_asyncio], ids=["sync", "async"])
def stream(request):
    return request.param


class TestAsking:
    def test_the_answer_is_read_and_checked(self, ask):
        with Scripted(body=completion(ANSWER)) as server:
            reply = ask(VlmServer(server.url, token="secret-of-the-robot"))
        assert reply.value == json.loads(ANSWER) and reply.text == ANSWER and reply.complete
        assert reply.tokens == (7, 3)
        assert set(reply.timings_ms) == {"connect", "answer"} and min(reply.timings_ms.values()) >= 0
        ((path, headers, body),) = server.asked
        assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret-of-the-robot"
        assert body["model"] == "exo_assist" and body["temperature"] == 0

    def test_images_and_earlier_turns_go_along_in_order(self, ask):
        jpeg = encode_jpeg(PIXELS)
        earlier = Turn((), "Before?", ANSWER)
        with Scripted(body=completion(ANSWER)) as server:
            ask(VlmServer(server.url), images=[jpeg, PIXELS], history=[earlier])
        first, second, last = server.asked[0][2]["messages"]
        assert (first, second["content"]) == ({"role": "user", "content": "Before?"}, ANSWER)
        assert [part["type"] for part in last["content"]] == ["image_url", "image_url", "text"]
        sent = base64.b64decode(last["content"][0]["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
        assert sent == jpeg

    def test_it_waits_for_a_server_that_is_not_there_yet(self, ask):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        started = []
        starting = threading.Timer(
            0.3, lambda: started.append(Scripted(body=completion(ANSWER), address=("127.0.0.1", port)))
        )
        starting.start()
        reply = ask(VlmServer(f"http://127.0.0.1:{port}/v1"))
        started[0].__exit__()
        assert reply.text == ANSWER and reply.timings_ms["connect"] > 50


class TestFailing:
    def fails(self, ask, server, kind, *said, asked=1, **options):
        where = VlmServer(server.url, **options)
        with server, pytest.raises(GanglionError) as error:
            ask(where)
        assert type(error.value) is kind and str(error.value).startswith(server.url)
        assert "\n" not in str(error.value)
        for words in said:
            assert words in str(error.value)
        assert len(server.asked) == asked

    def test_nobody_listens(self, ask):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        with pytest.raises(GanglionError, match=rf"^{url}: can't be reached"):
            ask(VlmServer(url, deadline_s=0.5))

    def test_a_refused_request_is_not_sent_again(self, ask):
        reason = {"error": {"message": "too many images", "type": "BadRequestError"}}
        self.fails(ask, Scripted(400, reason), InputError, "400 too many images", "correct the request")

    def test_a_wrong_token(self, ask):
        self.fails(ask, Scripted(401, {"error": "Unauthorized"}), InputError, "401 Unauthorized", "give the token")

    def test_an_unknown_model(self, ask):
        self.fails(ask, Scripted(404, {"error": {"message": "no x"}}), InputError, "name a model", model="x")

    def test_an_error_of_the_server(self, ask):
        self.fails(ask, Scripted(500, "boom\nboom"), GanglionError, "failed (500 boom boom)")

    def test_a_slow_server(self, ask):
        server = Scripted(body=completion(ANSWER), wait_s=0.6)
        self.fails(ask, server, GanglionError, "no whole answer within 0.2 s", deadline_s=0.2)

    @pytest.mark.parametrize("body", ["{", "[]", "{}", '{"choices": []}', '{"choices": [{"message": null}]}'])
    def test_a_reply_that_is_no_completion(self, ask, body):
        self.fails(ask, Scripted(body=body), GanglionError, "no chat completion")

    @pytest.mark.parametrize("text", ["stairs", ANSWER[:-5], ANSWER.replace("6", "600")])
    def test_an_answer_that_the_schema_does_not_allow(self, ask, text):
        server = Scripted(body=completion(text, "length"))
        self.fails(ask, server, GanglionError, "the schema of exo_assist does not allow")

    def test_an_image_that_is_none_is_named_before_anything_is_sent(self, ask):
        with Scripted(body=completion(ANSWER)) as server, pytest.raises(InputError, match="can't be decoded"):
            ask(VlmServer(server.url), images=[b"no jpeg"])
        assert not server.asked

    def test_addresses_and_certificates_are_checked_at_once(self, tmp_path):
        with pytest.raises(InputError, match="is no URL"):
            VlmClient(VlmServer("robot:8100"))
        with pytest.raises(InputError, match="can't be read"):
            VlmClient(VlmServer("https://robot:8100/v1", ca_file=tmp_path / "none.pem"))


class TestStreaming:
    def test_the_text_comes_in_pieces(self, stream):
        with Scripted(body=events(ANSWER[:10], "", ANSWER[10:])) as server:
            assert stream(VlmServer(server.url)) == [ANSWER[:10], ANSWER[10:]]
        assert server.asked[0][2]["stream"] is True

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (events(ANSWER, done=False), "broke off within the answer"),
            (events("no") + "data: {\n\n", "which the schema"),
            ("data: {\n\n", "damaged stream"),
            ('data: {"error": {"message": "engine died"}}\n\n', "broke off: engine died"),
        ],
    )
    def test_one_that_breaks_off_or_says_what_is_not_allowed(self, stream, body, said):
        with Scripted(body=body) as server, pytest.raises(GanglionError, match=f"^{server.url}: .*{said}"):
            stream(VlmServer(server.url))


class TestImages:
    def test_a_jpeg_stays_as_it_is_and_others_become_one(self, tmp_path):
        jpeg = encode_jpeg(PIXELS)
        (tmp_path / "a.jpg").write_bytes(jpeg)
        assert data_url(jpeg) == data_url(tmp_path / "a.jpg") == data_url(PIXELS)

    def test_one_that_its_camera_turned_is_sent_upright(self):
        turned, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(PIXELS).save(turned, "JPEG", exif=exif)
        sent = base64.b64decode(data_url(turned.getvalue()).split(",")[1])
        with Image.open(io.BytesIO(sent)) as image:
            assert image.size == (20, 30) and not image.getexif()


@functools.cache
def load(file):
    return yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@pytest.fixture
def openai_spec(shared_data):
    return load(shared_data / "openai_openapi/openapi.yaml")


def faults(spec, name, instance):
    schema = {"$ref": f"#/components/schemas/{name}", "components": spec["components"]}
    return [str(fault.message)[:200] for fault in Draft202012Validator(schema).iter_errors(instance)]


@pytest.mark.parametrize("name", task_names())
def test_requests_are_what_openai_specifies(openai_spec, name):
    task = get_task(name)
    body = chat_request(task, "Well?", [PIXELS], [Turn((), "Before?", "So.")], stream=True)
    assert faults(openai_spec, "CreateChatCompletionRequest", body) == []
    assert faults(openai_spec, "CreateChatCompletionRequest", body | {"temperature": 9}) != []


def test_the_replies_these_tests_send_are_what_openai_specifies(openai_spec):
    assert faults(openai_spec, "CreateChatCompletionResponse", completion(ANSWER)) == []
    assert faults(openai_spec, "CreateChatCompletionResponse", {}) != []
