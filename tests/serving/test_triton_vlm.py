"""The VLM in Triton, as far as it needs no Triton: what a message may say, who is told what, what Triton is told."""

import json
import os
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ganglion.core.errors import BundleError, GanglionError, InputError
from ganglion.core.tasks import EXO_ASSIST
from ganglion.serving.triton.install import READY, find_triton
from ganglion.serving.triton.vlm_host import VlmHost
from ganglion.serving.triton.vlm_repository import vlm_config, write_vlm_repository
from ganglion.serving.triton.vlm_wire import INPUTS, OUTPUTS, last_outputs, read_request, text_outputs
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.limits import ServingLimits
from ganglion.serving.vlm.refusals import Busy
from ganglion.serving.vlm_request.bounds import RequestBounds
from ganglion.serving.vlm_request.wrong import WrongField

WAIT_S = 60
BOUNDS = RequestBounds(body_bytes=1000)
TYPES = {"STRING": np.object_, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "BOOL": np.bool_}


def tensors(**fields):
    """As the python backend has them: texts are objects of bytes."""

    def tensor(name, value):
        values = value if isinstance(value, list) else [value]
        coded = [one.encode() if isinstance(one, str) else one for one in values]
        return np.array(coded, TYPES[INPUTS[name][0]])

    return {name: tensor(name, value) for name, value in fields.items()}


def read(parameters=(), task="exo_assist", **fields):
    return read_request(tensors(**fields), dict(parameters), task, BOUNDS)


def test_all_that_a_message_may_say_is_read():
    found = read(text_input="Was nun?", schema="task", max_tokens=7, stop=["a", "b"], stream=True, temperature=0.0,
                 top_p=0.3, seed=5)  # fmt: skip
    assert (found.dialogue.turn.prompt, found.dialogue.history) == ("Was nun?", ())
    assert found.schema == EXO_ASSIST.schema
    assert (found.max_new_tokens, found.stops, found.stream) == (7, ("a", "b"), True)


def test_what_is_left_out_has_its_default():
    found = read(text_input="go")
    assert (found.schema, found.stops, found.max_new_tokens, found.stream) == (None, (), BOUNDS.max_new_tokens, False)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "give either text_input or messages"),
        ({"text_input": "go", "messages": "[]"}, "give either text_input or messages"),
        ({"text_input": b"\xff"}, "text_input: is not UTF-8"),
        ({"messages": b'["\xff"]'}, "messages: is not UTF-8"),
        ({"messages": "[", "stream": True}, "messages: is no JSON"),
        ({"messages": "[]", "image": b"\xff\xd8\xff"}, "image: comes with messages"),
        ({"text_input": "go", "image": b"\xff\xd8\xff and no more"}, r"image\[0\]: is no image"),
        ({"text_input": "go", "stop": b"\xff"}, "stop: is not UTF-8"),
        ({"text_input": "go", "temperature": float("nan")}, "temperature: is not served with this value"),
        ({"text_input": "go", "max_tokens": -1}, "max_tokens: is less than 1"),
        ({"text_input": "go " * 400}, "more than 1000 bytes"),
        ({"text_input": "go", "schema": "[]"}, "schema: is no object"),
    ],
)
def test_what_a_message_may_not_say_is_named(fields, said):
    with pytest.raises(WrongField, match=said) as failed:
        read(**fields)
    assert "\n" not in str(failed.value)


def test_fields_that_are_no_input_are_refused_but_those_of_tritons_own_clients():
    read({"triton_enable_empty_final_response": False, "id": "7"}, text_input="go")
    with pytest.raises(WrongField, match="max_new_tokens: is not served"):
        read({"max_new_tokens": 5}, text_input="go")


@pytest.mark.parametrize("task", [None, "robot_code", "unheard of"])
def test_the_word_task_wants_a_bundle_of_a_task_with_a_schema(task):
    with pytest.raises(WrongField, match="schema: is 'task', but the bundle is of no task with a schema"):
        read(task=task, text_input="go", schema="task")


def config(**limits):
    bundle = SimpleNamespace(root=SimpleNamespace(resolve=lambda: '/bundles/a "b"'))
    return text_format.Parse(vlm_config(bundle, ServingLimits(**limits), threads=3), model_config_pb2.ModelConfig())


def test_triton_is_told_of_every_tensor_and_of_what_was_chosen():
    found = config(running=2, waiting=5, kv_bytes=7)
    assert found.model_transaction_policy.decoupled
    assert found.instance_group[0].count == 1
    for declared, wire in ((found.input, INPUTS), (found.output, OUTPUTS)):
        forms = {one.name: (model_config_pb2.DataType.Name(one.data_type), [*one.dims]) for one in declared}
        assert forms == {name: (f"TYPE_{kind}", dims) for name, (kind, dims) in wire.items()}
    assert all(one.optional for one in found.input)
    assert {name: json.loads(value.string_value) for name, value in found.parameters.items()} == {
        "bundle": '/bundles/a "b"',
        "threads": 3,
        "limits": {"running": 2, "waiting": 5, "kv_bytes": 7, "join_quantized": False},
    }


def test_replies_are_of_the_types_that_triton_is_told():
    for outputs in (text_outputs("ä"), last_outputs("ä", "stop", 3, 4)):
        for name, value in outputs.items():
            kind, dims = OUTPUTS[name]
            assert (value.dtype, list(value.shape)) == (TYPES[kind], dims)
    assert text_outputs("ä")["text_output"][0] == "ä".encode()


def test_a_bundle_for_vllm_is_refused_before_a_server_starts(tmp_path):
    part = SimpleNamespace(form="merged")
    bundle = SimpleNamespace(root=tmp_path, manifest=SimpleNamespace(vlm=part))
    with pytest.raises(BundleError, match="holds a VLM as merged, for vLLM; use --target onnx"):
        write_vlm_repository(bundle, tmp_path / "models", ServingLimits(), 1)


@pytest.mark.slow
def test_an_environment_of_other_packages_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GANGLION_CACHE", str(tmp_path))
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / READY).write_text("numpy==1.0")
    with pytest.raises(GanglionError, match="pip could not install a Triton server"):
        find_triton()
    assert os.listdir(tmp_path / "triton") == [READY]


class Listener:
    """A client that keeps what it hears."""

    def __init__(self):
        self.pieces, self.error, self.left, self.over = [], None, False, threading.Event()

    def tell(self, outputs, last):
        self.pieces.append(outputs)
        if last:
            self.over.set()

    def refuse(self, error):
        self.error = error
        self.over.set()

    def is_gone(self):
        return self.left

    @property
    def text(self):
        return b"".join(piece["text_output"][0] for piece in self.pieces).decode()

    def waited(self):
        assert self.over.wait(WAIT_S)
        return self


@pytest.fixture(scope="module")
def engine(vlm_bundle):
    return VlmEngine.open(vlm_bundle, limits=ServingLimits(running=2, waiting=2, kv_bytes=20_000_000))


@pytest.fixture
def ended():
    return []


@pytest.fixture
def host(engine, ended):
    host = VlmHost(engine, lambda sent: read(**sent), BOUNDS, 3, lambda asked: ended.append(replace(asked)))
    yield host
    host.close()


def hold(engine):
    """Lets the engine's answers stand still until what is given back is set."""
    opened = threading.Event()
    engine.ask([], "hold", max_new_tokens=1, on_tokens=lambda _: opened.wait(WAIT_S))
    return opened


def wait_for(condition):
    until = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    assert condition()


@pytest.mark.slow
def test_a_client_hears_the_engines_answer_in_pieces_or_whole(host, engine, ended):
    want = engine.generate([], "go", max_new_tokens=200)
    for stream in (True, False):
        client = Listener()
        host.take({"text_input": "go", "max_tokens": 200, "stream": stream}, client)
        assert client.waited().text == want.text
        assert (len(client.pieces) > 1) == stream
        assert client.pieces[-1]["completion_tokens"][0] == len(want.tokens) == ended[-1].answer_tokens
    assert [one.outcome for one in ended] == ["length", "length"]


@pytest.mark.slow
def test_one_too_many_is_refused_and_those_that_leave_make_room(host, engine, ended):
    opened = hold(engine)
    try:
        clients = [Listener() for _ in range(4)]
        for client in clients[:3]:
            host.take({"text_input": "go", "max_tokens": 400}, client)
        host.take({"text_input": "go"}, clients[3])
        assert isinstance(clients[3].waited().error, Busy)
        wait_for(lambda: engine.load.running + engine.load.waiting == 4)
        for client in clients[:3]:
            client.left = True
        wait_for(lambda: len(ended) == 4)
    finally:
        opened.set()
    wait_for(lambda: engine.load.running == engine.load.waiting == 0)
    assert sorted(one.outcome for one in ended) == ["client_gone"] * 3 + ["refused"]
    later = Listener()
    host.take({"text_input": "go", "max_tokens": 2}, later)
    assert later.waited().pieces


@pytest.mark.slow
def test_a_stop_text_frees_the_place_at_once(host, engine):
    whole = engine.generate([], "go", max_new_tokens=400).text
    client = Listener()
    host.take({"text_input": "go", "max_tokens": 400, "stop": whole[3:6]}, client)
    assert client.waited().text == whole[: whole.index(whole[3:6])]
    assert client.pieces[-1]["completion_tokens"][0] < 100
    wait_for(lambda: engine.load.running == 0)


@pytest.mark.slow
def test_when_the_host_closes_those_who_wait_are_told(engine):
    host = VlmHost(engine, lambda sent: read(**sent), BOUNDS, 3)
    opened, clients = hold(engine), [Listener() for _ in range(2)]
    for client in clients:
        host.take({"text_input": "go", "max_tokens": 400}, client)
    wait_for(lambda: engine.load.waiting + engine.load.running == 3)
    host.close()
    opened.set()
    assert [str(client.waited().error) for client in clients] == ["the server stops; ask again later"] * 2
    wait_for(lambda: engine.load.running == engine.load.waiting == 0)


@pytest.mark.slow
def test_what_is_wrong_is_its_clients_alone(host):
    wrong, right = Listener(), Listener()
    host.take({"text_input": "<|image_pad|>"}, wrong)
    host.take({"text_input": "go", "max_tokens": 3}, right)
    assert isinstance(wrong.waited().error, InputError) and not wrong.pieces
    assert right.waited().pieces
