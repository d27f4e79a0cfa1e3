"""However a bridge ends, its child ends with it and no shared memory is left: real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SERVE = Path(__file__).with_name("serve_for_test.py")


class Running:
    """A bridge process that has answered its first hops, its child's pid and its ring's file."""

    def __init__(self, out, seconds=60, stuck=False, **source):
        self.process = subprocess.Popen(
            [sys.executable, str(SERVE), str(out), str(seconds), json.dumps(source), *(["stuck"] if stuck else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in range(3):
            assert self.process.stdout.readline() == "hop\n", self.process.stderr.read()
        pid = self.process.pid
        self.child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        arguments = Path(f"/proc/{self.child}/cmdline").read_text().split("\0")
        self.segment = Path("/dev/shm", json.loads(arguments[3])["ring"])
        assert self.segment.exists()

    def end(self):
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def nothing_is_left(self):
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            if not self.segment.exists() and not alive(self.child):
                return True
            time.sleep(0.02)
        return False


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def running(tmp_path):
    running = Running(tmp_path / "report.json")
    yield running
    running.process.kill()
    running.process.wait()
    assert running.nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_report(running, tmp_path, number):
    os.killpg(running.process.pid, number)  # as a terminal or systemd does: the child gets it too
    code, errors = running.end()
    assert (code, errors) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["interrupted"] == signal.Signals(number).name
    assert report["hops"] >= 3
    assert report["samples_lost"] == 0
    assert report["acquisition"]["samples"] >= report["samples_expected"]
    assert running.nothing_is_left()


def test_a_second_interrupt_ends_a_run_whose_host_is_stuck(tmp_path):
    running = Running(tmp_path / "report.json", stuck=True)
    while running.process.stdout.readline() != "stuck\n":
        assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    code, errors = running.end()
    assert code != 0 and "KeyboardInterrupt" in errors
    assert running.nothing_is_left()


def test_a_killed_child_ends_the_bridge_with_one_line(running, tmp_path):
    os.kill(running.child, signal.SIGKILL)
    code, errors = running.end()
    assert code == 1
    assert errors == "acquisition: was ended by SIGKILL; start the bridge again\n"
    assert not (tmp_path / "report.json").exists()
    assert running.nothing_is_left()


def test_a_child_that_is_told_to_end_by_somebody_else_is_noticed(running):
    os.kill(running.child, signal.SIGTERM)
    code, errors = running.end()
    assert code == 1
    assert errors.startswith("acquisition: ") and errors.count("\n") == 1
    assert running.nothing_is_left()


def test_a_child_that_hangs_is_noticed(running):
    os.kill(running.child, signal.SIGSTOP)
    code, errors = running.end()
    assert code == 1
    assert "no samples for 2 s" in errors and errors.count("\n") == 1
    assert running.nothing_is_left()


def test_after_the_bridge_is_killed_the_child_ends_and_removes_the_segment(running):
    running.process.kill()
    running.process.wait()
    assert running.nothing_is_left()


def test_a_child_whose_source_blocks_ends_with_a_killed_bridge_too(tmp_path):
    running = Running(tmp_path / "report.json", stall_ms=[[400, 100_000.0]])
    time.sleep(1.0)
    running.process.kill()
    running.process.wait()
    assert running.nothing_is_left()
