"""The proofs of benchmarks/ in short: Triton's answers hop by hop, wrong messages, a restart, robots that die."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from policy_bundle_for_test import policy_bundle
from triton_for_test import VENV

from ganglion.core.bundle import open_bundle
from ganglion.core.specs import default_robot

pytestmark = pytest.mark.triton

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    if not VENV.is_dir():
        pytest.skip(f"no Triton server in {VENV}: make test-triton")
    return policy_bundle(tmp_path_factory.mktemp("policy"), default_robot())


def ran(name, out, *options):
    """Exit status and report of a benchmark."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, options), "--out", str(out)]
    done = subprocess.run([*command, "--tritonserver", str(VENV)], capture_output=True, text=True)
    assert out.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(out.read_text())


def test_half_a_minute_of_hops_is_answered_as_in_this_process_and_recorded_in_the_bundle(bundle, tmp_path):
    status, report = ran("served_parity", tmp_path / "parity.json", bundle.root, "--minutes", "0.5")
    assert status == 0, report
    assert report["hops"] == 1500
    assert report["counts"]["compared"] > 1400
    (row,) = (row for row in open_bundle(bundle.root).manifest.parity if row.stage == "served by triton")
    assert row.max_abs == report["largest"] <= 1e-5
    assert row.failures() == []


def test_wrong_messages_are_their_senders_error_and_hurt_no_robot(bundle, tmp_path):
    _, report = ran("fuzz", tmp_path / "fuzz.json", "--bundle", bundle.root, "--messages", "500")
    kept = {name: verdict["kept"] for name, verdict in report["verdicts"].items()}
    # What the server's memory was after so few messages says nothing about a leak.
    assert {name for name, one in kept.items() if not one} <= {"memory"}, report["verdicts"]
    assert sum(sum(count.values()) for count in report["answers"].values()) == 500
    assert report["answers"]["operate"].keys() == {"error"}, "what operates a server is closed"


def test_robots_go_on_from_their_window_after_a_server_was_killed(bundle, tmp_path):
    _, report = ran("restart", tmp_path / "restart.json", "--bundle", bundle.root, "--robots", "2", "--times", "1")
    assert report["counts"].get("wrong", 0) == 0
    assert [row["robot"] for row in report["restarts"]] == [0, 1]
    for row in report["restarts"]:
        assert "gap" in row["flags"]
        assert "warming" not in row["flags"]


def test_robots_that_leave_and_die_leave_nothing(bundle, tmp_path):
    _, report = ran(
        "soak", tmp_path / "soak.json", "--bundle", bundle.root, "--robots", "4", "--minutes", "0.3", "--life", "2", "4"
    )
    for name in ("answers", "sessions", "free", "left"):
        assert report["verdicts"][name]["kept"], report["verdicts"]
    assert report["deaths"] > 0


def test_the_check_notices_what_is_wrong(bundle):
    """Replies of one robot, held to what another one sensed, or changed in one place."""
    from checked_robot import Stream, check, drive, read_records

    from ganglion.serving.policy.engine import PolicyEngine

    def recorded(stream, path):
        with path.open("wb") as file:
            drive(engine.session(), stream, 80, file.write, paced=False)
        return read_records(path, bundle.robot).copy()

    path = Path(bundle.root).parent / "replies"
    with PolicyEngine.open(bundle, hold_after_ms=1e9) as engine:
        stream = Stream(bundle.robot, 200, frame_every=20)
        rows = recorded(stream, path)
        good = check(engine, stream, rows)
        assert (good.counts["wrong"], good.largest) == (0, 0.0)
        assert good.counts["compared"] > 10
        other = Stream(bundle.robot, 200, frame_every=20, blocks=1)
        assert check(engine, other, rows).counts["wrong"] == good.counts["compared"]
        ready = int(np.flatnonzero(rows["ready"])[-1])
        for name, value in (("last_seq", 1), ("ready", False), ("flags", 1 << 6), ("vl_age_ms", np.nan)):
            broken = rows.copy()
            broken[name][ready] = value
            assert check(engine, stream, broken).counts["wrong"] > 0, name
        broken = rows.copy()
        broken["chunk"][ready, 3, 2] += 2e-5
        assert check(engine, stream, broken).counts["wrong"] == 1
        shifted = rows.copy()
        shifted["chunk"][ready] = rows["chunk"][ready - 1]
        assert check(engine, stream, shifted).counts["wrong"] == 1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("served_parity", ["--minutes", "0"], "--minutes and --frame_every must be positive"),
        ("served_parity", ["/nowhere"], "/nowhere/manifest.json: is missing"),
        ("soak", ["--robots", "2"], "--robots must be 4 or more"),
        ("fuzz", ["--messages", "3"], "--messages must be 20 or more"),
        ("restart", ["--times", "0"], "--robots and --times must be 1 or more"),
    ],
)
def test_wrong_options_of_a_benchmark_are_a_line(name, options, said):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *options], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
