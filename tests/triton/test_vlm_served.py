"""`ganglion serve vlm --backend triton` for real: clients get what the engine here says, whoever else asks."""

import base64
import contextlib
import http.client
import io
import itertools
import json
import queue
import re
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from PIL import Image
from serve_for_test import WAIT_S, ServeCommand
from traces_for_test import kept_traces
from triton_for_test import VENV, free_port
from tritonclient.utils import InferenceServerException
from vlm_bundle_for_test import random_vlm, write_vlm_bundle

from ganglion.core.tasks import EXO_ASSIST, Turn
from ganglion.serving.vlm.engine import VlmEngine

pytestmark = pytest.mark.triton

RUNNING, WAITING = 3, 3
LONG = 480  # tokens, nearly all that the model can write
AUTHORIZATION = "triton-grpc-protocol-authorization"


def jpeg(seed=0, side=56):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG")
    return encoded.getvalue()


def in_text(data):
    return base64.b64encode(data).decode()


class Serve(ServeCommand):
    """The command on ports that are free, and its clients."""

    def __init__(self, bundle, folder, *options):
        self.http, self.grpc, self.metrics_port = free_port(), free_port(), free_port()
        self.events = folder / "events.jsonl"
        arguments = ["vlm", str(bundle.root), "--backend", "triton", "--port", str(self.http),
                     "--triton.grpc_port", str(self.grpc), "--triton.metrics_port", str(self.metrics_port),
                     "--triton.tritonserver", str(VENV), "--triton.log", str(folder / "triton.log"),
                     "--local.running", str(RUNNING), "--local.waiting", str(WAITING), "--local.kv_mb", "20",
                     "--local.log_json", str(self.events), *options]  # fmt: skip
        super().__init__(arguments, lines=7)

    def post(self, fields, stream=False):
        """The reply to a question, whose body is not read yet; and its connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=WAIT_S)
        body = fields if isinstance(fields, bytes) else json.dumps(fields)
        connection.request("POST", f"/v2/models/vlm/generate{'_stream' if stream else ''}", body)
        return connection.getresponse(), connection

    def generate(self, **fields):
        """The whole answer."""
        reply, connection = self.post(fields)
        with contextlib.closing(connection):
            said = json.loads(reply.read())
        assert reply.status == 200, said
        return said

    def pieces(self, **fields):
        """Pieces of a streamed answer as they come."""
        reply, connection = self.post({**fields, "stream": True}, stream=True)
        with contextlib.closing(connection):
            for line in reply:
                if line.strip():
                    yield json.loads(line.decode().removeprefix("data: "))

    def metrics(self):
        """Ganglion's numbers by name, with outcomes as prometheus writes them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=WAIT_S)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return {name: float(value) for name, value in re.findall(r"^ganglion_vlm_(\S+) (\S+)$", text, re.MULTILINE)}


TYPES = {"max_tokens": ("INT64", np.int64), "stream": ("BOOL", np.bool_)}


class Stream:
    """A gRPC stream of the model; several may put what they hear into one queue."""

    def __init__(self, url, headers=None, replies=None, **guards):
        self.replies = replies or queue.Queue()
        self.client = grpcclient.InferenceServerClient(url, **guards)
        self.client.start_stream(lambda result, error: self.replies.put(error or result), headers=headers)

    def ask(self, name="", **fields):
        inputs = []
        for field, value in fields.items():
            kind, dtype = TYPES.get(field, ("BYTES", np.object_))
            values = value if isinstance(value, list) else [value]
            tensor = grpcclient.InferInput(field, [len(values)], kind)
            tensor.set_data_from_numpy(np.array(values, dtype))
            inputs.append(tensor)
        self.client.async_stream_infer("vlm", inputs, request_id=name)

    def reply(self):
        """(name, text, finish reason or None) of the next piece; an error is raised."""
        result = self.replies.get(timeout=WAIT_S)
        if isinstance(result, Exception):
            raise result
        reason = result.as_numpy("finish_reason")
        text = result.as_numpy("text_output")[0].decode()
        return result.get_response().id, text, None if reason is None else reason[0].decode()

    def whole(self):
        """All of an answer, and how many pieces it came in."""
        said, reason = [], None
        while reason is None:
            _, text, reason = self.reply()
            said.append(text)
        return "".join(said), len(said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_stream(cancel_requests=True)
        self.client.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    if not VENV.is_dir():
        pytest.skip(f"no Triton server in {VENV}: make test-triton")
    with kept_traces():
        return write_vlm_bundle(random_vlm(), tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="module")
def engine(bundle):
    return VlmEngine.open(bundle)


@pytest.fixture(scope="module")
def serve(bundle, tmp_path_factory):
    serve = Serve(bundle, tmp_path_factory.mktemp("serve"))
    shared = serve.shared_memory()
    yield serve
    assert serve.stop() == 0
    assert shared and not [path for path in shared if path.exists()]


def wait_for(condition):
    until = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


def test_it_says_where_it_listens_and_the_lines_to_try_work_as_printed(serve):
    said = "".join(serve.said)
    assert f"http://127.0.0.1:{serve.http}/v2/models/vlm/generate_stream" in said
    assert f"grpc://127.0.0.1:{serve.grpc}" in said
    whole, streamed = (
        subprocess.run(shlex.split(line), capture_output=True, text=True, check=True, timeout=WAIT_S).stdout
        for line in re.findall(r"^(?:try|or) +(curl .*)$", said, re.MULTILINE)
    )
    text = json.loads(whole)["text_output"]
    jsonschema.validate(json.loads(text), EXO_ASSIST.schema)
    pieces = [json.loads(line.removeprefix("data: ")) for line in streamed.splitlines() if line]
    assert "".join(piece["text_output"] for piece in pieces) == text


def test_an_answer_is_an_event_that_tells_how_much_and_not_what(serve):
    said = serve.generate(text_input="a secret", max_tokens=3)
    told = {"event": "chat", "outcome": said["finish_reason"], "images": 0, "prompt_tokens": said["prompt_tokens"],
            "answer_tokens": said["completion_tokens"]}  # fmt: skip
    wait_for(lambda: any(told.items() <= json.loads(line).items() for line in serve.events.read_text().splitlines()))
    assert "secret" not in serve.events.read_text()


SCHEMA = {
    "type": "object",
    "properties": {"ahead": {"type": "string", "maxLength": 12}, "sure": {"type": "boolean"}},
    "required": ["ahead", "sure"],
    "additionalProperties": False,
}
DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{in_text(jpeg(1))}"}},
        {"type": "text", "text": "What is it?"},
    ]},
    {"role": "assistant", "content": "flat"},
    {"role": "user", "content": "And now?"},
]  # fmt: skip
EARLIER = {"history": [Turn((jpeg(1),), "What is it?", "flat")], "system": "Be brief."}
# Fields -> what the engine is asked.
QUESTIONS = {
    "text": ({"text_input": "What lies ahead?"}, ([], "What lies ahead?", {})),
    "an image": ({"text_input": "What?", "image": in_text(jpeg())}, ([jpeg()], "What?", {})),
    "two images": (
        {"text_input": "What?", "image": [in_text(jpeg(1)), in_text(jpeg(2))]},
        ([jpeg(1), jpeg(2)], "What?", {}),
    ),
    "a schema": ({"text_input": "What?", "schema": json.dumps(SCHEMA)}, ([], "What?", {"schema": SCHEMA})),
    "the task's schema": ({"text_input": "What?", "schema": "task"}, ([], "What?", {"schema": EXO_ASSIST.schema})),
    "a dialogue": ({"messages": json.dumps(DIALOGUE)}, ([], "And now?", EARLIER)),
}


def asked(engine, images, prompt, options, most=24):
    return engine.ask(images, prompt, max_new_tokens=most, **options).result.result(WAIT_S)


@pytest.mark.parametrize(("fields", "question"), QUESTIONS.values(), ids=QUESTIONS)
def test_it_answers_as_the_engine_in_this_process_whole_and_in_pieces(serve, engine, fields, question):
    want = asked(engine, *question)
    whole = serve.generate(**fields, max_tokens=24)
    assert whole["text_output"] == want.text
    assert whole["finish_reason"] == ("stop" if want.complete else "length")
    assert whole["completion_tokens"] == len(want.tokens)
    *pieces, last = serve.pieces(**fields, max_tokens=24)
    assert not any("finish_reason" in piece for piece in pieces)
    assert "".join(piece["text_output"] for piece in (*pieces, last)) == want.text
    assert {name: last[name] for name in whole if name != "text_output"} == {
        name: value for name, value in whole.items() if name != "text_output"
    }


def test_a_grpc_stream_takes_images_as_they_are(serve, engine):
    want = asked(engine, [jpeg(3)], "What?", {}, most=LONG).text
    with Stream(f"127.0.0.1:{serve.grpc}") as stream:
        stream.ask(text_input="What?", image=[jpeg(3)], max_tokens=LONG, stream=True)
        text, pieces = stream.whole()
        assert text == want
        assert pieces > 2
        stream.ask(text_input="What?", image=[jpeg(3)], max_tokens=LONG)
        assert stream.whole() == (want, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_text_ends_the_answer_before_it(serve, stream):
    whole = serve.generate(text_input="go", max_tokens=40)["text_output"]
    stop = whole[len(whole) // 2 :][:3]
    fields = {"text_input": "go", "max_tokens": 40, "stop": ["never said", stop]}
    *pieces, last = serve.pieces(**fields) if stream else [serve.generate(**fields)]
    assert "".join(piece["text_output"] for piece in (*pieces, last)) == whole[: whole.index(stop)]
    assert last["finish_reason"] == "stop"


def test_what_is_written_within_a_schema_is_valid_whatever_is_asked_and_however_short(serve):
    for seed, most in ((1, 1), (2, 10), (3, 200)):
        fields = {"text_input": f"Question {seed}", "image": in_text(jpeg(seed)), "max_tokens": most}
        for name, schema in (("task", EXO_ASSIST.schema), (json.dumps(SCHEMA), SCHEMA)):
            jsonschema.validate(json.loads(serve.generate(**fields, schema=name)["text_output"]), schema)


def test_several_at_once_get_what_each_gets_alone(serve, engine):
    questions = [f"Question {number}: what lies ahead?" for number in range(RUNNING + WAITING)]
    with ThreadPoolExecutor(len(questions)) as pool:
        found = [*pool.map(lambda text: serve.generate(text_input=text, max_tokens=60)["text_output"], questions)]
    assert found == [asked(engine, [], text, {}, most=60).text for text in questions]
    assert len({*found}) > 1


def test_answers_are_written_together_within_their_memory(serve):
    with Stream(f"127.0.0.1:{serve.grpc}") as one, Stream(f"127.0.0.1:{serve.grpc}", replies=one.replies) as two:
        for name, stream in (("one", one), ("two", two)):
            stream.ask(name, text_input="go", max_tokens=LONG, stream=True)
        together = []
        wait_for(lambda: together.append(serve.metrics()) or together[-1]["running"] == 2)
        order, ended = [], set()
        while len(ended) < 2:
            name, _, reason = one.reply()
            order.append(name)
            ended |= {name} if reason else set()
    # One after the other they would take a single turn.
    assert sum(before != after for before, after in itertools.pairwise(order)) > 1
    assert 0 < together[-1]["kv_bytes"] <= together[-1]["kv_bytes_budget"] == 20e6


def test_one_too_many_is_told_so_and_the_others_are_answered(serve, engine):
    want = asked(engine, [], "hold", {}, most=LONG).text
    before = serve.metrics().get('requests_total{outcome="refused"}', 0)
    with Stream(f"127.0.0.1:{serve.grpc}") as stream:
        for _ in range(RUNNING + WAITING + 2):
            stream.ask(text_input="hold", max_tokens=LONG)
        said, refused = [], []
        for _ in range(RUNNING + WAITING + 2):
            try:
                said.append(stream.reply()[1])
            except InferenceServerException as error:
                refused.append(str(error))
    assert said == [want] * (RUNNING + WAITING)
    assert len(refused) == 2
    assert all("6 requests run or wait already; ask again later" in error for error in refused)
    assert serve.metrics()['requests_total{outcome="refused"}'] == before + 2


def gone(serve):
    return serve.metrics().get('requests_total{outcome="client_gone"}', 0)


def leave_http(serve):
    next(serve.pieces(text_input="leave", max_tokens=LONG))


def leave_grpc(serve, stream):
    with Stream(f"127.0.0.1:{serve.grpc}") as left:
        for _ in range(RUNNING + WAITING):
            left.ask(text_input="leave", max_tokens=LONG, stream=stream)
        wait_for(lambda: serve.metrics()["waiting"] > 0)


@pytest.mark.parametrize(
    ("leave", "clients"),
    [
        (leave_http, 1),
        (lambda serve: leave_grpc(serve, True), RUNNING + WAITING),
        (lambda serve: leave_grpc(serve, False), RUNNING + WAITING),
    ],
    ids=["a closed connection", "a cancelled stream", "cancelled whole answers"],
)
def test_clients_that_leave_free_their_places_before_their_answers_are_written(serve, leave, clients):
    before, left = serve.metrics()["generated_tokens_total"], gone(serve)
    leave(serve)
    wait_for(lambda: gone(serve) == left + clients)
    wait_for(lambda: serve.metrics()["running"] == serve.metrics()["waiting"] == serve.metrics()["kv_bytes"] == 0)
    assert serve.metrics()["generated_tokens_total"] - before < clients * LONG / 2
    assert serve.generate(text_input="go", max_tokens=2)["completion_tokens"] == 2


def bomb(pixels):
    """A small file of a large picture."""
    encoded = io.BytesIO()
    Image.new("1", (pixels, pixels)).save(encoded, "PNG")
    return in_text(encoded.getvalue())


def nested(depth):
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return json.dumps(schema)


WRONG = {
    "nothing": ({}, 400, "give either text_input or messages"),
    "text and messages": ({"text_input": "go", "messages": "[]"}, 400, "give either text_input or messages"),
    "an unheard of field": ({"text_input": "go", "frobnicate": 1}, 400, "frobnicate: is not served"),
    "warm": ({"text_input": "go", "temperature": 0.7}, 400, "temperature: is not served with this value"),
    "no tokens": ({"text_input": "go", "max_tokens": 0}, 400, "max_tokens: is less than 1"),
    "tokens in words": ({"text_input": "go", "max_tokens": "ten"}, 500, "Unable to parse"),
    "more stops than there may be": ({"text_input": "go", "stop": list("abcde")}, 400, "at most 4 texts"),
    "an oversize prompt": ({"text_input": "word " * 600}, 400, "the model reads at most 512"),
    "an oversize request": ({"text_input": "word " * 2_000_000}, 413, "more than 8388608 bytes"),
    "a placeholder": ({"text_input": "<|image_pad|>"}, 400, "placeholders"),
    "bad utf-8": (b'{"text_input": "\xff"}', 400, "the body is not UTF-8"),
    "bad utf-8 in a name": (b'{"text_input": "go", "\xff": 1}', 400, "the body is not UTF-8"),
    "no base64": ({"text_input": "go", "image": "@@@@"}, 400, "image[0]: is no base64"),
    "no image": ({"text_input": "go", "image": [in_text(jpeg()), "R0lGODlh"]}, 400, "image[1]: is no image of JPEG"),
    "half an image": ({"text_input": "go", "image": in_text(jpeg()[:700])}, 400, "can't be decoded"),
    "an image bomb": ({"text_input": "go", "image": bomb(6000)}, 400, "6000 x 6000 pixels, more than"),
    "a larger image bomb": ({"text_input": "go", "image": bomb(20_000)}, 400, "is no image"),
    "too many images": ({"text_input": "go", "image": [in_text(jpeg())] * 17}, 400, "17 images, more than 16"),
    "messages that are none": ({"messages": '{"role": "user"}'}, 400, "messages: is no list of messages"),
    "an image of the network": (
        {"messages": json.dumps([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}]}])},
        400,
        "not fetched",
    ),
    "a schema that is no JSON": ({"text_input": "go", "schema": "{"}, 400, "schema: is no JSON"),
    "a schema of no such type": ({"text_input": "go", "schema": '{"type": "nonsense"}'}, 400, "no grammar"),
    "a deep schema": ({"text_input": "go", "schema": nested(70)}, 400, "schema: the schema is nested more than 64"),
    "a schema nested without end": ({"text_input": "go", "schema": "[" * 100_000}, 400, "nested too deep"),
    "a schema that takes minutes": (
        {"text_input": "go", "schema": '{"type": "integer", "multipleOf": 10000019}'},
        400,
        "multipleOf is more than",
    ),
    "no json": (b'{"text_input": ', 400, "the body is no JSON"),
    "a body nested without end": (b"[" * 100_000, 400, "nested too deep"),
    "a field nested without end": (b'{"text_input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "nested too deep"),
    "a shape of more than there is": (
        {"inputs": [{"name": "text_input", "shape": [2**62], "datatype": "BYTES", "data": ["go"]}]},
        400,
        "a tensor's shape is [4611686018427387904]",
    ),
    "a list": (b"[]", 500, "non-object"),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(engine):
    return asked(engine, [], "go", {}, most=8).text


@pytest.mark.parametrize(("fields", "status", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_question_is_its_clients_error_alone(serve, plain, fields, status, says):
    reply, connection = serve.post(fields)
    with contextlib.closing(connection):
        error = json.loads(reply.read())["error"]
    assert reply.status == status
    assert says in error
    assert "\n" not in error and "Traceback" not in error
    assert serve.generate(text_input="go", max_tokens=8)["text_output"] == plain


def test_a_wrong_question_in_a_grpc_stream_leaves_the_others_in_it_alone(serve, plain):
    with Stream(f"127.0.0.1:{serve.grpc}") as stream:
        stream.ask(text_input=b"\xff")
        with pytest.raises(InferenceServerException, match="text_input: is not UTF-8"):
            stream.reply()
        stream.ask(text_input="go", max_tokens=8)
        assert stream.whole() == (plain, 1)


def test_with_certificate_and_token_only_who_has_both_is_answered_and_it_ends_amid_answers(bundle, plain, tmp_path):
    key, certificate, token = tmp_path / "key.pem", tmp_path / "certificate.pem", tmp_path / "token"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=robot",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    token.write_text("0123456789abcdef0123\n")
    guards = ["--bind.certificate", str(certificate), "--bind.key", str(key), "--bind.token_file", str(token)]
    serve = Serve(bundle, tmp_path, *guards)
    try:
        secured = {"ssl": True, "root_certificates": str(certificate)}
        url, shared = f"127.0.0.1:{serve.grpc}", serve.shared_memory()
        for headers in (None, {AUTHORIZATION: "another-token-entirely"}):
            with Stream(url, headers, **secured) as stream, pytest.raises(InferenceServerException):
                stream.ask(text_input="go", max_tokens=8)
                stream.reply()
        with Stream(url, {AUTHORIZATION: "0123456789abcdef0123"}, **secured) as stream:
            stream.ask(text_input="go", max_tokens=8)
            assert stream.whole() == (plain, 1)
            for _ in range(RUNNING + WAITING):
                stream.ask(text_input="go", max_tokens=LONG, stream=True)
            stream.reply()
            assert serve.stop() == 0
        assert shared and not [path for path in shared if path.exists()]
    finally:
        serve.process.kill()
