"""`ganglion serve all` for real: robots and clients of the VLM at once, and who outlives whom."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from policy_bundle_for_test import policy_bundle
from serve_for_test import WAIT_S
from traces_for_test import kept_traces
from triton_for_test import VENV, free_port
from vlm_bundle_for_test import random_vlm, write_vlm_bundle

from ganglion.core.bundle import seal_bundle
from ganglion.core.cli import main
from ganglion.core.messages import Hop
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.triton_client import TritonPolicyClient

pytestmark = pytest.mark.triton
ROBOT = default_robot()
SENSOR = ROBOT.sensors[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """One with both."""
    if not VENV.is_dir():
        pytest.skip(f"no Triton server in {VENV}: make test-triton")
    root = tmp_path_factory.mktemp("both")
    with kept_traces():
        made = policy_bundle(root, ROBOT)
        vlm = write_vlm_bundle(random_vlm(), root / "vlm")
    (vlm.root / "vlm").rename(made.root / "vlm")
    seal_bundle(made.root, replace(made.manifest, vlm=vlm.manifest.vlm))
    return made.root


class ServeAll:
    """The command on ports that are free."""

    def __init__(self, bundle, folder):
        self.grpc = free_port()
        policy = [f"--grpc_port={self.grpc}", f"--http_port={free_port()}", f"--metrics_port={free_port()}",
                  f"--tritonserver={VENV}", f"--log={folder / 'triton.log'}"]  # fmt: skip
        vlm = [f"--port={free_port()}"]
        command = [sys.executable, "-m", "ganglion.core.cli", "serve", "all", str(bundle), "--logs", str(folder),
                   "--policy", json.dumps(policy), "--vlm", json.dumps(vlm)]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said = [self.process.stdout.readline() for _ in range(6)]

    def pids(self, name):
        """Of the servers and all that they started, whose command line holds a text."""
        found = subprocess.run(["pgrep", "-f", name], capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in found if descends(int(pid), self.process.pid)]

    def ready(self):
        samples = np.zeros((SENSOR.hop_samples, SENSOR.channels), np.float16)
        with TritonPolicyClient(f"127.0.0.1:{self.grpc}", ROBOT, deadline_ms=1000 * WAIT_S) as client:
            return client.send_hop(Hop(0, 0, samples)).last_seq == SENSOR.hop_samples - 1

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


def descends(pid, ancestor):
    while pid > 1 and pid != ancestor:
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            return False
    return pid == ancestor


@pytest.fixture
def serve(bundle, tmp_path):
    serve = ServeAll(bundle, tmp_path)
    yield serve
    if serve.process.poll() is None:
        serve.stop()


def test_both_answer_at_what_it_prints_and_end_with_it(serve):
    assert serve.ready()
    lines = [line.removeprefix("try      ") for line in serve.said]
    commands = [line for line in lines if line.startswith("curl ")]
    assert len(commands) == 2
    for line in commands:
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=WAIT_S, check=True)
        assert not json.loads(done.stdout).get("error"), done.stdout
    (triton,) = serve.pids("tritonserver.*shm-region")
    children = serve.pids("serve (policy|vlm)|python_backend_stub")
    assert serve.stop() == 0
    assert not [pid for pid in (triton, *children) if os.path.exists(f"/proc/{pid}")]


def test_the_vlm_stands_back_from_the_robots(serve):
    (policy, *_), (vlm, *_) = serve.pids("tritonserver"), serve.pids("serve vlm")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, policy) == own
    assert os.getpriority(os.PRIO_PROCESS, vlm) == max(own, 10)


def test_a_robot_is_served_on_where_the_vlm_has_died(serve):
    for pid in serve.pids(r"serve vlm"):
        os.kill(pid, signal.SIGKILL)
    said = serve.process.stderr.readline()
    assert re.fullmatch(r"ganglion: vlm: ended with status -9; .*; the policy goes on\n", said)
    assert serve.ready()
    assert serve.stop() == 1


def test_without_its_policy_it_ends(serve):
    for pid in serve.pids(r"serve policy"):
        os.kill(pid, signal.SIGKILL)
    assert serve.process.wait(WAIT_S) == 1
    assert "ganglion: policy: ended with status -9" in serve.process.stderr.read()
    end = time.monotonic() + WAIT_S
    while serve.pids("serve vlm|tritonserver"):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_one_of_them_says_is_wrong_is_the_commands_error(bundle, capsys, tmp_path):
    assert main(["serve", "all", str(bundle), "--policy", '["--slots=0"]', "--logs", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "policy: ended with status 2; --slots is 0; give at least 1; see " in said
    assert len(said.splitlines()) == 1
