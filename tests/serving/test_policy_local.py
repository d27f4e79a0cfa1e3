"""`ganglion serve policy --backend in-process` as a process: robots of this machine get what a session here gives."""

import asyncio
import fcntl
import io
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.errors import InputError
from ganglion.core.local_wire import HELLO, memory_size, pack_request, read_reply_packet, seal_request
from ganglion.core.messages import Frame, Hop
from ganglion.core.policy_wire import NoSession, PolicyRequest, ServerFull, request_tensors
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.async_client import AsyncPolicyClient
from ganglion.robot_bridge.local_client import LocalPolicyClient
from ganglion.serving.policy.engine import PolicyEngine

ROBOT = default_robot()
SENSOR, (CAMERA,) = ROBOT.sensors[0], ROBOT.cameras
HOP, WAIT_S, PATIENT_MS = SENSOR.hop_samples, 60, 60_000
SLOTS = 3
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Serve:
    """The command as a user runs it."""

    def __init__(self, bundle, folder, *options):
        self.path, self.log = folder / "policy.sock", folder / "log"
        self.command = [sys.executable, "-m", "ganglion.core.cli", "serve", "policy", str(bundle.root), "--backend",
                        "in-process", "--socket", str(self.path), "--slots", str(SLOTS),
                        "--idle_s", "60", "--metrics_port", "0", *options]  # fmt: skip
        self.start()

    def start(self):
        with self.log.open("a") as log:  # a pipe that nobody reads would fill up
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.said = [self.process.stdout.readline() for _ in range(4)]
        assert self.said[0].startswith(f"policy   unix:{self.path}"), self.log.read_text()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def client(self, **options):
        return LocalPolicyClient(self.path, ROBOT, **{"deadline_ms": PATIENT_MS, **options})

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from policy_bundle_for_test import policy_bundle

    return policy_bundle(tmp_path_factory.mktemp("policy"), ROBOT)


@pytest.fixture(scope="module")
def serve(bundle, tmp_path_factory):
    serve = Serve(bundle, tmp_path_factory.mktemp("serve"))
    yield serve
    assert serve.stop() == 0
    assert not serve.path.exists()


@pytest.fixture(scope="module")
def engine(bundle):
    with PolicyEngine.open(bundle) as engine:
        yield engine


def hop(index):
    noise = np.random.default_rng(index).standard_normal((HOP, SENSOR.channels))
    return Hop(index * HOP, index * 20_000_000, noise.astype(np.float16))


def picture():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (CAMERA.height, CAMERA.width, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return Frame(CAMERA.name, 0, buffer.getvalue())


def until(true):
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def assert_same(found, wanted):
    np.testing.assert_allclose(found.chunk, wanted.chunk, atol=1e-5, rtol=0)
    assert (found.last_seq, found.ready, found.flags) == (wanted.last_seq, wanted.ready, wanted.flags)


def test_every_hop_and_a_frame_give_what_a_session_here_gives(serve, engine):
    local = engine.session()
    with serve.client() as remote:
        for host in (remote, local):
            host.send_frame(picture())
        local.settle()
        compared = 0
        for index in range(70):
            found, wanted = remote.send_hop(hop(index)), local.send_hop(hop(index))
            if found.vl_age_ms == wanted.vl_age_ms:
                assert_same(found, wanted)
                compared += found.ready
        assert compared > 0


def test_one_robot_too_many_is_refused_and_served_when_one_has_left(serve):
    robots = [serve.client() for _ in range(3)]
    for robot in robots:
        assert not {"refused", "unreachable"} & {*robot.send_hop(hop(0)).flags}
    with serve.client() as late:
        assert late.send_hop(hop(0)).flags == ("refused",)
        assert isinstance(late.problem, ServerFull)
        robots.pop().close()
        end = time.monotonic() + WAIT_S
        while {"refused", "unreachable"} & {*late.send_hop(hop(1)).flags}:
            assert time.monotonic() < end
            time.sleep(0.02)
    for robot in robots:
        robot.close()


def test_a_frame_that_is_none_costs_no_hop_and_a_huge_one_is_not_sent(serve):
    with serve.client() as remote:
        remote.send_frame(Frame(CAMERA.name, 0, b"not an image"))
        assert "bad_frame" in remote.send_hop(hop(0)).flags
        with pytest.raises(InputError, match="frame has"):
            remote.send_frame(Frame(CAMERA.name, 0, bytes(10_000_000)))


def test_a_hop_that_is_answered_after_its_deadline_is_late(serve):
    with serve.client() as remote:
        remote.send_hop(hop(0))
        serve.process.send_signal(signal.SIGSTOP)
        try:
            remote._deadline_s = 0.01
            flags = [remote.send_hop(hop(index)).flags for index in range(1, 31)]
        finally:
            serve.process.send_signal(signal.SIGCONT)
        assert {*flags} == {("late",)}
        remote._deadline_s = WAIT_S
        end, index = time.monotonic() + WAIT_S, 31
        while "late" in (reply := remote.send_hop(hop(index))).flags:
            assert time.monotonic() < end
            index += 1
        assert "gap" in reply.flags


def test_where_the_memory_is_full_a_hop_is_late_as_well(serve):
    long = [Hop(start, start, np.zeros((2 * SENSOR.window_samples, SENSOR.channels), np.float32))
            for start in range(0, 8 * SENSOR.window_samples, 2 * SENSOR.window_samples)]  # fmt: skip
    with serve.client() as remote:
        remote.send_hop(long[0])
        serve.process.send_signal(signal.SIGSTOP)
        try:
            remote._deadline_s = 0.01
            assert [remote.send_hop(one).flags for one in long[1:]] == [("late",)] * 3
            problem = remote.problem
        finally:
            serve.process.send_signal(signal.SIGCONT)
        assert "leaves no room in the memory" in str(problem)
        remote._deadline_s = WAIT_S
        assert "gap" in remote.send_hop(hop(0)).flags


def test_for_asyncio_it_is_wrapped_as_any_client(serve):
    async def run():
        async with AsyncPolicyClient(serve.client()) as client:
            return await asyncio.gather(*(client.send_hop(hop(index)) for index in range(5)))

    assert [reply.last_seq for reply in asyncio.run(run())] == [(index + 1) * HOP - 1 for index in range(5)]


def connect_only(serve):
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw.settimeout(WAIT_S)
    raw.connect(str(serve.path))
    return raw


def connect(serve, size=None, seals=SEALS, hello=HELLO):
    raw = connect_only(serve)
    memory = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, memory_size(ROBOT) if size is None else size)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    socket.send_fds(raw, [hello], [memory])
    return raw, memory


@pytest.mark.parametrize("wrong", [{"seals": 0}, {"seals": fcntl.F_SEAL_SHRINK}, {"size": 0}, {"size": 1 << 32},
                                   {"hello": b"x"}], ids=str)  # fmt: skip
def test_a_memory_that_is_not_sealed_or_not_of_a_size_is_refused(serve, wrong):
    raw, memory = connect(serve, **wrong)
    with raw:
        assert isinstance(read_reply_packet(raw.recv(1 << 16)), InputError)
        assert raw.recv(1) == b""
    os.close(memory)


def test_no_session_without_a_start_nor_with_another_clients_token(serve):
    raw, memory = connect(serve)
    with raw:
        for token, start, wanted in ((b"a", False, NoSession), (b"a", True, dict), (b"b", False, NoSession)):
            tensors = request_tensors(PolicyRequest(hop(0), token=token))
            packed, parts = pack_request(tensors, start=start, end=False)
            raw.send(seal_request(packed, 0, os.pwritev(memory, parts, 0)))
            assert isinstance(read_reply_packet(raw.recv(1 << 16)), wanted)
    os.close(memory)


def test_thousands_of_malformed_messages_change_no_other_robots_answers(serve, engine):
    local, dice = engine.session(), random.Random(0)
    raw, memory = connect(serve)
    packed, parts = pack_request(request_tensors(PolicyRequest(hop(0), token=b"t")), start=True, end=False)
    good = seal_request(packed, 0, os.pwritev(memory, parts, 0))
    lies = [seal_request(packed, 1 << 40, 64), seal_request(packed, 0, 1 << 30), good[:-1], good + b"x", b"x"]
    errors = 0
    with raw, serve.client() as other:
        for number in range(3000):
            changed = bytearray(good)
            for _ in range(dice.randint(1, 4)):
                changed[dice.randrange(len(changed))] = dice.randrange(256)
            message = lies[number] if number < len(lies) else bytes(changed)
            raw.send(message)
            answer = read_reply_packet(raw.recv(1 << 16))
            errors += not isinstance(answer, dict)
            assert number >= len(lies) or isinstance(answer, InputError)
            if number % 100 == 0:
                assert_same(other.send_hop(hop(number // 100)), local.send_hop(hop(number // 100)))
    os.close(memory)
    assert errors > 1000
    assert serve.process.poll() is None


def test_who_does_not_read_his_replies_is_dropped_and_nobody_waits_for_him(serve):
    raw, memory = connect(serve)
    tensors = request_tensors(PolicyRequest(hop(0), token=b"t"))
    packed, parts = pack_request(tensors, start=True, end=False)
    message = seal_request(packed, 0, os.pwritev(memory, parts, 0))
    with raw, serve.client(deadline_ms=WAIT_S * 1e3) as other, pytest.raises(ConnectionError):
        for index in range(200):
            raw.send(message)
            assert other.send_hop(hop(index)).last_seq == (index + 1) * HOP - 1
    os.close(memory)


def test_connections_are_as_many_as_there_is_room_for(serve):
    with ExitStack() as closing:
        connected = [connect(serve) for _ in range(SLOTS + 8)]
        for raw, memory in connected:
            closing.callback(os.close, memory)
            closing.enter_context(raw)
        with connect_only(serve) as late:
            refused = read_reply_packet(late.recv(1 << 16))
            assert isinstance(refused, ServerFull)
            assert f"has {SLOTS + 8} connections already" in str(refused)
            assert late.recv(1) == b""
    until(lambda: serve.client().send_hop(hop(0)).flags == ("no_frame", "warming"))


def test_without_descriptors_left_it_waits_quietly_and_takes_robots_again(bundle, tmp_path):
    serve = Serve(bundle, tmp_path)
    pid, most = serve.process.pid, resource.prlimit(serve.process.pid, resource.RLIMIT_NOFILE)
    used = psutil.Process(pid).cpu_times()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (serve.descriptors(), most[1]))
    with connect_only(serve):
        time.sleep(1.5)
        assert psutil.Process(pid).cpu_times().user - used.user < 1.0
        assert "no_descriptors" in serve.log.read_text()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, most)
        with serve.client() as remote:
            until(lambda: "unreachable" not in remote.send_hop(hop(0)).flags)
    assert serve.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_is_not_served(serve):
    serve.path.chmod(0o666)
    serve.path.parent.chmod(0o755)
    code = """if True:
        import os, socket
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.seteuid(65534)
        raw.connect("policy.sock")
        print(raw.recv(4096)[12:].decode())
    """
    said = subprocess.run([sys.executable, "-c", code], cwd=serve.path.parent, capture_output=True, text=True)
    serve.path.chmod(0o600)
    assert "policy server: serves its own user" in said.stdout, said.stderr


def test_a_silent_sessions_place_is_free_although_nobody_speaks(bundle, tmp_path):
    serve = Serve(bundle, tmp_path, "--idle_s", "0.5")
    with serve.client() as remote:
        remote.send_hop(hop(0))
        until(lambda: "session_ended" in serve.log.read_text())
        assert '"why": "idle"' in serve.log.read_text()
    assert serve.stop() == 0


def test_a_robot_that_leaves_leaves_nothing(serve):
    with serve.client() as first:
        first.send_hop(hop(0))
    time.sleep(0.2)
    before, own, shared = serve.descriptors(), len(os.listdir("/proc/self/fd")), {*os.listdir("/dev/shm")}
    for _ in range(10):
        with serve.client() as remote:
            remote.send_hop(hop(0))
    until(lambda: serve.descriptors() <= before)
    assert len(os.listdir("/proc/self/fd")) == own
    assert {*os.listdir("/dev/shm")} <= shared


def test_a_server_that_is_killed_and_started_again_goes_on_from_the_window(bundle, engine, tmp_path):
    serve = Serve(bundle, tmp_path)
    with serve.client() as remote:
        for index in range(60):
            remote.send_hop(hop(index))
        serve.process.kill()
        serve.process.wait(WAIT_S)
        assert serve.path.exists()
        assert remote.send_hop(hop(60)).flags == ("unreachable",)
        serve.start()
        end, index = time.monotonic() + WAIT_S, 61
        while "unreachable" in (reply := remote.send_hop(hop(index))).flags:
            assert time.monotonic() < end
            index += 1
            time.sleep(0.02)
    assert "gap" in reply.flags
    assert "warming" not in reply.flags
    assert serve.stop() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--grpc_port", "9"], "--grpc_port is none of --backend in-process"),
        (["--backend", "triton", "--socket", "x"], "--socket is none of --backend triton"),
        ([], "a server listens there"),
    ],
)
def test_wrong_options_and_a_socket_that_is_taken_are_one_line(serve, bundle, capsys, options, said):
    given = ["--socket", str(serve.path)] if "--socket" not in options else []
    assert main(["serve", "policy", str(bundle.root), "--backend", "in-process", *given, *options]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1
