"""`ganglion serve policy` for real: robots on gRPC streams get what an in-process session gives, whatever happens."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import grpc
import numpy as np
import pytest
from PIL import Image
from policy_bundle_for_test import policy_bundle
from serve_for_test import WAIT_S, ServeCommand
from triton_for_test import VENV, free_port
from tritonclient.grpc import service_pb2_grpc

from ganglion.core.cli import main
from ganglion.core.errors import InputError
from ganglion.core.messages import Frame, Hop
from ganglion.core.policy_wire import NoSession, ServerFull, read_error
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.server_address import ServerAddress
from ganglion.robot_bridge.triton_client import TritonPolicyClient
from ganglion.robot_bridge.triton_message import to_message
from ganglion.serving.policy.engine import PolicyEngine

pytestmark = pytest.mark.triton

ROBOT = default_robot()
SENSOR, (CAMERA,) = ROBOT.sensors[0], ROBOT.cameras
HOP, PERIOD_NS = SENSOR.hop_samples, round(1e9 / SENSOR.rate_hz)
PATIENT_MS = 60_000


class Serve(ServeCommand):
    """The command on ports that are free."""

    def __init__(self, bundle, folder, *options):
        self.bundle, self.folder = bundle, folder
        self.grpc, self.http, self.metrics = free_port(), free_port(), free_port()
        arguments = ["policy", str(bundle.root), "--grpc_port", str(self.grpc), "--http_port", str(self.http),
                     "--metrics_port", str(self.metrics), "--tritonserver", str(VENV),
                     "--log", str(folder / "triton.log"), *options]  # fmt: skip
        super().__init__(arguments, lines=4)

    def client(self, **options):
        return TritonPolicyClient(f"127.0.0.1:{self.grpc}", ROBOT, **{"deadline_ms": PATIENT_MS, **options})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    if not VENV.is_dir():
        pytest.skip(f"no Triton server in {VENV}: make test-triton")
    return policy_bundle(tmp_path_factory.mktemp("policy"), ROBOT)


@pytest.fixture(scope="module")
def serve(bundle, tmp_path_factory):
    serve = Serve(bundle, tmp_path_factory.mktemp("serve"), "--slots", "3", "--idle_s", "60")
    yield serve
    assert serve.stop() == 0


@pytest.fixture
def engine(bundle):
    with PolicyEngine.open(bundle) as engine:
        yield engine


@pytest.fixture(scope="module")
def samples(bundle):
    random, scale = np.random.default_rng(11), bundle.norm.sensor
    noise = random.standard_normal((HOP * 150, SENSOR.channels))
    return (scale.mean + scale.std * noise).astype(np.float16)


def hop(samples, index):
    first = index * HOP
    return Hop(first, (first + HOP - 1) * PERIOD_NS, samples[first : first + HOP])


def picture(seed, stamp_ns):
    image = np.random.default_rng(seed).integers(0, 255, (CAMERA.height, CAMERA.width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return Frame(CAMERA.name, stamp_ns, buffer.getvalue())


def assert_same(found, wanted):
    np.testing.assert_allclose(found.chunk, wanted.chunk, atol=1e-5, rtol=0)
    assert (found.last_seq, found.stamp_ns, found.ready, found.flags) == (
        wanted.last_seq, wanted.stamp_ns, wanted.ready, wanted.flags,
    )  # fmt: skip


def test_it_says_where_it_listens_and_the_line_to_try_works(serve):
    said = "".join(serve.said)
    assert f"grpc://127.0.0.1:{serve.grpc}   for at most 3 robots" in said
    command = re.search(r"try +(curl .*)", said)[1].split()
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '"name":"policy"' in answer


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_hop_by_hop_it_answers_as_the_session_in_this_process(serve, engine, samples, dtype):
    local, compared = engine.session(), 0
    with serve.client() as remote:
        for index in range(150):
            one = hop(samples.astype(dtype), index)
            if index % 25 == 0:
                frame = picture(index, one.stamp_ns)
                for host in (remote, local):
                    host.send_frame(frame)
            found, wanted = remote.send_hop(one), local.send_hop(one)
            if index % 25 == 0:
                local.settle()
            # Features come when they come; with the same ones the replies are the same.
            if found.vl_age_ms is not None and found.vl_age_ms == wanted.vl_age_ms:
                assert_same(found, wanted)
                compared += found.ready
            assert found.timings_ms.keys() >= {"encoder", "head", "round_trip"}
    assert compared > 50


def test_robots_share_the_server_and_one_too_many_is_told_so(serve, engine, samples):
    robots = [serve.client() for _ in range(3)]
    offsets = [0, 7, 31]
    try:
        for index in range(20):
            for robot, offset in zip(robots, offsets, strict=True):
                assert robot.send_hop(hop(samples, index + offset)).last_seq == (index + offset + 1) * HOP - 1
        with serve.client() as late:
            reply = late.send_hop(hop(samples, 0))
            assert (reply.ready, reply.flags) == (False, ("refused",))
            assert isinstance(late.problem, ServerFull)
            robots.pop().close()
            end = time.monotonic() + WAIT_S
            while {"refused", "unreachable"} & {*late.send_hop(hop(samples, 1)).flags}:
                assert time.monotonic() < end
                time.sleep(0.02)
    finally:
        for robot in robots:
            robot.close()


def test_a_frame_that_is_none_is_flagged_and_costs_no_hop(serve, samples):
    with serve.client() as remote:
        remote.send_hop(hop(samples, 0))
        remote.send_frame(Frame(CAMERA.name, 0, b"not an image"))
        assert "bad_frame" in remote.send_hop(hop(samples, 1)).flags
        reply = remote.send_hop(hop(samples, 2))
    assert not {"bad_frame", "gap"} & {*reply.flags}


def test_samples_that_do_not_fit_are_never_sent(serve, samples):
    with serve.client() as remote:
        remote.send_hop(hop(samples, 0))
        with pytest.raises(InputError, match=r"sensor tip: samples are float16 \(13, 5\)"):
            remote.send_hop(Hop(HOP, 0, samples[:HOP, :5]))
        reply = remote.send_hop(hop(samples, 1))
        assert reply.last_seq == 2 * HOP - 1
        assert "gap" not in reply.flags


def test_a_server_that_dies_is_found_again_and_begun_from_the_window(bundle, engine, samples, tmp_path):
    serve = Serve(bundle, tmp_path)
    local = engine.session()
    try:
        with serve.client(deadline_ms=2000) as remote:
            for index in range(60):
                assert "unreachable" not in remote.send_hop(hop(samples, index)).flags
            shared = serve.shared_memory()
            assert shared
            os.kill(serve.server_pid, signal.SIGKILL)
            assert serve.process.wait(WAIT_S) == 1
            assert not [path for path in shared if path.exists()]
            index, reply = 60, remote.send_hop(hop(samples, 60))
            assert not reply.ready
            assert {*reply.flags} <= {"unreachable", "late"}
            serve.start()
            end = time.monotonic() + WAIT_S
            while {"unreachable", "refused", "late"} & {*reply.flags}:
                assert time.monotonic() < end
                index += 1
                reply = remote.send_hop(hop(samples, index))
                time.sleep(0.05)
            assert "gap" in reply.flags
            assert "warming" not in reply.flags
            first = (index - SENSOR.window_frames) * HOP
            local.prime(Hop(first, 0, samples[first : index * HOP]))
            wanted = local.send_hop(hop(samples, index))
            assert reply.last_seq == wanted.last_seq
            frame = picture(1, hop(samples, index).stamp_ns)
            for host in (remote, local):
                host.send_frame(frame)
            local.settle()
            compared = 0
            for later in range(index + 1, 150):
                found, wanted = remote.send_hop(hop(samples, later)), local.send_hop(hop(samples, later))
                if found.vl_age_ms == wanted.vl_age_ms and found.ready:
                    assert_same(found, wanted)
                    compared += 1
            assert compared > 0
    finally:
        assert serve.stop() == 0


def of(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


def asked(serve, tensors, sequence, start=True):
    """What the server says to one raw message: an error, or None."""
    with grpc.insecure_channel(f"127.0.0.1:{serve.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        message = to_message("policy", tensors, sequence=sequence, start=start)
        (answer,) = stub.ModelStreamInfer(iter([message]), timeout=WAIT_S)
    return answer.error_message


def good(samples):
    return {"samples_fp16": samples[:HOP], "clock": np.array([0, 0])}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clock": np.array([0, 0], np.int32)}, "clock"),
        ({"clock": np.array([0, 0, 0])}, "clock"),
        ({"samples_fp16": np.zeros((HOP, 5), np.float16)}, "samples_fp16"),
        ({"samples_fp16": np.zeros((HOP, 1026), np.float32)}, "samples_fp16"),
        ({"samples_fp32": np.zeros((HOP, 1026), np.float32)}, "holds 2 tensors of samples"),
        ({"instruction": of(b"\xff")}, "not UTF-8"),
        ({"frames": of(b"x")}, "frame_cameras"),
        ({"unknown": np.zeros(1, np.float32)}, "unknown"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_malformed_message_is_its_senders_error_alone(serve, samples, change, said):
    with serve.client() as other:
        other.send_hop(hop(samples, 0))
        assert said in asked(serve, {**good(samples), **change}, sequence=4001)
        assert other.send_hop(hop(samples, 1)).flags == other.send_hop(hop(samples, 2)).flags


def test_a_session_can_not_be_taken_over(serve, samples):
    assert asked(serve, {**good(samples), "token": np.frombuffer(b"mine", np.uint8)}, sequence=4002) == ""
    for start in (True, False):
        error = read_error(
            asked(serve, {**good(samples), "token": np.frombuffer(b"yours", np.uint8)}, sequence=4002, start=start)
        )
        assert isinstance(error, NoSession)
        assert "another client's" in str(error)
    assert isinstance(read_error(asked(serve, good(samples), sequence=4003, start=False)), NoSession)


def test_who_knows_a_robots_sequence_can_cost_it_a_hop_and_nothing_more(serve, samples):
    """Triton itself ends a sequence when it is told to: 62 random bits are what guards it, and the robot goes on."""
    with serve.client() as remote:
        for index in range(60):
            remote.send_hop(hop(samples, index))
        for start, end in ((False, False), (True, False), (False, True), (True, True)):
            tensors = {**good(samples), "token": np.frombuffer(b"x", np.uint8)}
            message = to_message("policy", tensors, sequence=remote._sequence, start=start, end=end)
            with grpc.insecure_channel(f"127.0.0.1:{serve.grpc}") as channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                (answer,) = stub.ModelStreamInfer(iter([message]), timeout=WAIT_S)
            assert isinstance(read_error(answer.error_message), NoSession)
            found = [{*remote.send_hop(hop(samples, index + step)).flags} for step in (1, 2, 3)]
            index += 3
            cost = [{"refused"}, {"gap", "no_frame"}] if end else [{"no_frame"}, {"no_frame"}]
            assert found == [*cost, {"no_frame"}], (start, end)


def test_with_certificate_and_token_only_who_has_both_is_served(bundle, samples, tmp_path):
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
        url = f"127.0.0.1:{serve.grpc}"
        for address, served in (
            (ServerAddress(url, certificate, "0123456789abcdef0123"), True),
            (ServerAddress(url, certificate, "another-token-entirely"), False),
            (ServerAddress(url, certificate), False),
            (ServerAddress(url, token="0123456789abcdef0123"), False),
        ):
            with TritonPolicyClient(address, ROBOT, deadline_ms=20_000) as client:
                flags = client.send_hop(hop(samples, 0)).flags
                assert (not {"unreachable", "refused"} & {*flags}) == served
                assert (client.problem is None) == served
    finally:
        assert serve.stop() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--backend", "vllm"], "--backend is 'vllm'; use one of"),
        (["--slots", "0"], "--slots is 0; give at least 1"),
        (["--grpc_port", "8000"], "ports are"),
        (["--bind.host", "0.0.0.0"], "reachable from other machines"),
        (["--tritonserver", "/nowhere"], "--tritonserver /nowhere: is no program"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(bundle, capsys, options, said):
    assert main(["serve", "policy", str(bundle.root), *options]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("name", ["grpc_port", "http_port", "metrics_port"])
def test_a_port_that_is_taken_is_named_before_anything_starts(bundle, capsys, name):
    ports = {one: free_port() for one in ("grpc_port", "http_port", "metrics_port")}
    with socket.create_server(("127.0.0.1", ports[name])):
        options = [word for one, port in ports.items() for word in (f"--{one}", str(port))]
        assert main(["serve", "policy", str(bundle.root), *options]) == 2
    assert f"can't listen there (Address already in use); choose another --{name}" in capsys.readouterr().err


def test_a_bundle_without_triton_models_says_how_to_get_them(bundle, capsys, tmp_path):
    without = tmp_path / "bundle"
    shutil.copytree(bundle.root, without)
    shutil.rmtree(without / "triton")
    manifest = without / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"] = {name: found for name, found in content["files"].items() if not name.startswith("triton/")}
    manifest.write_text(json.dumps(content))
    assert main(["serve", "policy", str(without)]) == 1
    assert "holds no Triton models; export it with --target triton" in capsys.readouterr().err
