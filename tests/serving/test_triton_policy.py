"""What Triton is told of a policy, and what is said where there is no Triton."""

import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ganglion.core.errors import BundleError, GanglionError, InputError
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import PolicyRequest, reply_tensors, request_tensors
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.triton_message import to_message
from ganglion.serving.binding import Binding
from ganglion.serving.triton.install import TritonInstall, find_triton, from_environment, lead_to, make_environment
from ganglion.serving.triton.launch import explain_failure, triton_command
from ganglion.serving.triton.repository import PolicyHosting, policy_config, write_repository

ROBOT = default_robot()
TYPES = {"BYTES": "STRING"}


def config(bundle='/bundles/a "b"', **options):
    text = policy_config(
        SimpleNamespace(root=SimpleNamespace(resolve=lambda: bundle)), 1026, 7, PolicyHosting(**options)
    )
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def described(tensors):
    message = to_message("policy", tensors, sequence=1, start=True)
    return {one.name: (TYPES.get(one.datatype, one.datatype), list(one.shape)) for one in message.inputs}


def assert_fits(tensors, declared):
    forms = {one.name: (model_config_pb2.DataType.Name(one.data_type), list(one.dims)) for one in declared}
    for name, (kind, shape) in described(tensors).items():
        found, dims = forms[name]
        assert found == f"TYPE_{kind}", name
        assert len(dims) == len(shape), name
        assert all(want in (-1, size) for want, size in zip(dims, shape, strict=True)), name


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_tensor_of_the_wire_is_declared_with_its_type_and_shape(dtype):
    hop = Hop(0, 0, np.zeros((13, 1026), dtype), np.zeros(3, np.float32))
    request = PolicyRequest(hop, True, (Frame("scene", 0, b"jpeg"),), "go", b"token")
    assert_fits(request_tensors(request), config().input)
    reply = Reply(np.zeros((8, 7), np.float32), 0, 0, True, 1.0, ("gap",), {"head": 1.0})
    for one in (reply, None):
        assert_fits(reply_tensors(one, 7), config().output)


def test_all_but_the_clock_may_be_absent_from_a_request():
    assert [one.name for one in config().input if not one.optional] == ["clock"]


def test_what_was_chosen_is_in_it():
    found = config(slots=3, instances=2, idle_s=2.5, hold_after_ms=400.0, vl_workers=5)
    given = {name: value.string_value for name, value in found.parameters.items()}
    assert given == {
        "bundle": '/bundles/a "b"', "slots": "3", "idle_s": "2.5", "hold_after_ms": "400.0", "vl_workers": "5",
    }  # fmt: skip
    logged = {name: value.string_value for name, value in config(log_json=Path("/logs/events")).parameters.items()}
    assert logged.keys() - given.keys() == {"log_json"} and logged["log_json"] == "/logs/events"
    assert found.instance_group[0].count == 2
    assert found.sequence_batching.max_sequence_idle_microseconds == 2_500_000
    assert found.sequence_batching.oldest.max_candidate_sequences > 3


def test_a_robot_without_cameras_needs_no_triton_models_and_one_with_them_does(tmp_path):
    def bundle(robot):
        return SimpleNamespace(root=tmp_path, robot=robot, manifest=SimpleNamespace(policy=object()))

    assert write_repository(bundle(replace(ROBOT, cameras=())), tmp_path / "blind", PolicyHosting()) == ["policy"]
    with pytest.raises(BundleError, match="holds no Triton models; export it with --target triton"):
        write_repository(bundle(ROBOT), tmp_path / "seeing", PolicyHosting())
    exported, names = tmp_path / "triton" / "vl_encoder", set()
    (exported / "1").mkdir(parents=True)
    threads = 'parameters {\n  key: "intra_op_thread_count"\n  value {\n    string_value: "4"\n  }\n}\n'
    text = 'name: "{}"\nmax_batch_size: 8\n'
    (exported / "config.pbtxt").write_text(text.format("vl_encoder") + threads)
    for most, taken in ((2, 2), (16, 4)):
        folder = tmp_path / f"both {most}"
        policy, encoder = write_repository(bundle(ROBOT), folder, PolicyHosting(vl_threads=most))
        assert policy == "policy"
        assert (folder / encoder / "1").resolve() == exported / "1"
        own = text.format(encoder) + threads.replace("4", str(taken))
        assert (folder / encoder / "config.pbtxt").read_text() == own
        given = text_format.Parse((folder / "policy/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        assert given.parameters["vl_encoder"].string_value == encoder
        assert re.fullmatch(r"vl_encoder-[0-9a-f]{32}", encoder)
        names.add(encoder)
    assert len(names) == 2, "nobody guesses it"


INSTALL = TritonInstall(SimpleNamespace(__str__=lambda self: "tritonserver"), None, {})
PORTS = {"grpc_port": 1, "http_port": 2, "metrics_port": 3}


def options(binding, **more):
    command = triton_command(INSTALL, "repository", ["policy"], binding, **PORTS, shared="ganglion_1", **more)
    given = dict(one.removeprefix("--").split("=", 1) for one in command[1:] if "=" in one)
    closed = [one.partition("=")[2] for one in command if one.startswith("--grpc-restricted-protocol")]
    http = [one.partition("=")[2].split(":") for one in command if one.startswith("--http-restricted-api")]
    return given | {"closed": closed, "closed_by_http": dict(http)}


def test_beyond_this_machine_only_grpc_listens_and_it_is_guarded(tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    local, beyond = options(Binding()), options(Binding("0.0.0.0", tmp_path / "c", tmp_path / "k", token))
    assert {local[f"{name}-address"] for name in ("grpc", "http", "metrics")} == {"127.0.0.1"}
    assert "grpc-use-ssl" not in local
    assert beyond["grpc-address"] == "0.0.0.0"
    assert {beyond[f"{name}-address"] for name in ("http", "metrics")} == {"127.0.0.1"}
    assert beyond["grpc-use-ssl"] == "true"
    assert beyond["grpc-restricted-protocol"] == "inference,health,metadata:authorization=0123456789abcdef"


def test_what_operates_a_server_is_closed_by_a_key_that_is_another_each_time():
    (closed,), (again,) = (options(Binding())["closed"] for _ in range(2))
    protocols, _, key = closed.partition(":operator=")
    assert {*protocols.split(",")} == {
        "model-repository", "shared-memory", "trace", "logging", "model-config", "statistics",
    }  # fmt: skip
    assert len(key) == 32
    assert key not in again


def test_over_http_nobody_asks_a_model_but_who_has_the_key():
    closed, opened = (options(Binding(), http_key=key)["closed_by_http"] for key in (None, ("relay", "secret")))
    operating = "model-repository,shared-memory,trace,logging"
    assert closed.keys() == opened.keys() == {operating, "inference"}
    assert closed["inference"] == closed[operating] != opened[operating]
    assert opened["inference"] == "relay=secret"


def test_a_bundle_that_the_model_refuses_is_said_in_its_own_words():
    log = (
        r'E1 "failed to load policy: BundleError: /b: holds no policy; export one with --policy\n\nAt:\n  engine.py(1)"'
    )
    assert explain_failure(log) == "/b: holds no policy; export one with --policy"
    assert "/dev/shm" in explain_failure("E1 No space left on device")
    assert "has not run for a second" in explain_failure("terminate called\nSignal (6) received.\n 0# 0x0000557D")
    assert explain_failure("nothing known") is None


def test_a_server_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--tritonserver .*absent: is no program"):
        find_triton(tmp_path / "absent")
    with pytest.raises(InputError, match=r"holds no tritonserver; python -m ganglion.serving.triton.install"):
        from_environment(tmp_path)


def test_a_server_on_path_is_taken_and_finds_ganglion(tmp_path, monkeypatch):
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_triton()
    assert (found.binary, found.backends) == (program, None)
    paths = found.environment["GANGLION_PATH"].split(os.pathsep)
    assert any(os.path.isdir(os.path.join(path, "ganglion", "serving")) for path in paths)
    assert any(os.path.isdir(os.path.join(path, "numpy")) for path in paths)
    compile(lead_to("policy_model"), "model.py", "exec")


@pytest.mark.slow
def test_an_installation_that_fails_leaves_nothing_and_says_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(GanglionError, match=r"pip could not install a Triton server .*--tritonserver") as failed:
        make_environment(tmp_path / "triton")
    assert "\n" not in str(failed.value)
    assert os.listdir(tmp_path) == []
