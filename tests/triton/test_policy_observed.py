"""What an operator sees of a real server: Triton's /metrics has the policy's, and each event is a line of JSON."""

import json
import os
import signal
import subprocess
import time
import urllib.request

import numpy as np
import pytest
from policy_bundle_for_test import policy_bundle
from prometheus_client import parser
from test_policy_served import HOP, PATIENT_MS, ROBOT, WAIT_S, Serve, asked, good, picture
from triton_for_test import VENV

from ganglion.core.messages import Hop
from ganglion.serving.policy.metrics import METRICS

pytestmark = pytest.mark.triton
SENSOR = ROBOT.sensors[0]


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    if not VENV.is_dir():
        pytest.skip(f"no Triton server in {VENV}: make test-triton")
    folder = tmp_path_factory.mktemp("observed")
    bundle = policy_bundle(folder, ROBOT)
    options = ["--slots", "2", "--idle_s", "60", "--log_json", str(folder / "events.jsonl")]
    serve = Serve(bundle, folder, *options)
    yield serve
    assert serve.stop() == 0


def read_metrics(serve):
    """{(name, value of the label): number}."""
    with urllib.request.urlopen(f"http://127.0.0.1:{serve.metrics}/metrics", timeout=10) as answer:
        families = parser.text_string_to_metric_families(answer.read().decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("ganglion_")
    }


def events(serve):
    lines = (serve.folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def hop_of(samples, first):
    return Hop(first, round((first + HOP - 1) * 1e9 / SENSOR.rate_hz), samples[first : first + HOP])


def test_after_hops_a_gap_and_a_refused_robot_metrics_and_events_say_so(serve):
    samples = np.random.default_rng(5).standard_normal((HOP * 80, SENSOR.channels)).astype(np.float16)
    firsts = [*range(0, 20 * HOP, HOP), *range(25 * HOP, 80 * HOP, HOP)]
    ready = flagged = 0
    with serve.client() as robot, serve.client() as other:
        other.send_hop(hop_of(samples, 0))
        for index, first in enumerate(firsts):
            if index == 40:
                robot.send_frame(picture(1, hop_of(samples, first).stamp_ns))
            reply = robot.send_hop(hop_of(samples, first))
            time.sleep(0.02 if index >= 40 else 0)  # for the features to come
            ready += reply.ready
            flagged += "warming" in reply.flags
        assert ready > 0
        with serve.client(deadline_ms=PATIENT_MS) as late:
            assert late.send_hop(hop_of(samples, 0)).flags == ("refused",)
    assert "not UTF-8" in asked(serve, {**good(samples), "instruction": np.array([b"\xff"], object)}, sequence=77)
    assert asked(serve, good(samples), sequence=78, start=False) != ""

    end = time.monotonic() + WAIT_S
    while (found := read_metrics(serve))["ganglion_policy_sessions_ended_total", "client"] < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    replies = len(firsts) + 1
    assert found["ganglion_policy_replies_total", "true"] == ready
    assert found["ganglion_policy_replies_total", "false"] == replies - ready
    assert found["ganglion_policy_flags_total", "gap"] == 1
    assert found["ganglion_policy_flags_total", "warming"] == flagged + 1
    for leg in ("encoder", "head", "total"):
        assert 0 < found["ganglion_policy_hop_seconds_count", leg] <= replies
        assert 0 < found["ganglion_policy_hop_seconds_sum", leg] < WAIT_S
    assert found["ganglion_policy_vl_encode_seconds_count",] == 1
    assert found["ganglion_policy_vl_age_seconds_count",] > 0
    assert found["ganglion_policy_sessions_begun_total",] == 2
    assert found["ganglion_policy_sessions", "policy_0_0"] == 0
    assert found["ganglion_policy_refused_total", "full"] >= 1
    assert found["ganglion_policy_errors_total", "input"] == 1
    assert found["ganglion_policy_observations_dropped_total",] == 0
    assert abs(time.time() - found["ganglion_policy_ready_timestamp_seconds", "policy_0_0"]) < WAIT_S
    assert {metric.name for metric in METRICS} == {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name, *_ in found
    }

    told = events(serve)
    kinds = [event["event"] for event in told]
    assert kinds.count("session_begun") == kinds.count("session_ended") == 2
    ended = next(event for event in told if event.get("replies") == len(firsts))
    begun = next(event for event in told if event["event"] == "session_begun" and event["session"] == ended["session"])
    assert begun["robot"] == ended["robot"]
    assert ended["why"] == "client"
    gap = next(event for event in told if "gap" in event.get("flags", []))
    assert (gap["event"], gap["session"], gap["ready"]) == ("flags_changed", begun["session"], False)
    assert next(event for event in told if event["event"] == "refused")["why"] == "full"
    assert next(event for event in told if event["event"] == "error")["robot"] == "77"


def test_a_server_whose_model_has_died_is_ended_with_the_reason(serve, tmp_path):
    other = Serve(serve.bundle, tmp_path)
    stubs = subprocess.run(
        ["pgrep", "-P", str(other.server_pid), "-f", "/policy/1/model.py"], capture_output=True, text=True
    ).stdout.split()
    end = time.monotonic() + WAIT_S
    while not any(name == "ganglion_policy_ready_timestamp_seconds" for name, *_ in read_metrics(other)):
        assert time.monotonic() < end
        time.sleep(0.1)
    os.kill(int(stubs[0]), signal.SIGKILL)
    assert other.process.wait(WAIT_S) == 1
    assert "policy_0_0 can't serve any more" in other.process.stdout.read()
