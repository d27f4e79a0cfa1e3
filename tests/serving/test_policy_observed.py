"""What a policy host counts, times and logs, as Prometheus and an operator read it, and when it says it is ready."""

import http.client
import logging
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import parser

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.messages import Hop, Reply
from ganglion.core.policy_wire import NoSession, PolicyRequest, ServerFull
from ganglion.serving.policy import session as session_module
from ganglion.serving.policy.host import PolicyHost
from ganglion.serving.policy.metrics import FLAGS, METRICS
from ganglion.serving.policy.observer import HostObserver
from ganglion.serving.policy.prometheus import PrometheusSink
from ganglion.serving.policy.status_server import StatusServer
from ganglion.serving.policy.vl_refresh import VlRefresh

ROOT = Path(__file__).resolve().parents[2]


class Scripted:
    """A session that gives the replies that it was made with."""

    def __init__(self, replies):
        self.replies = iter(replies)

    def prime(self, hop):
        pass

    def send_hop(self, hop):
        reply = next(self.replies)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self):
        pass


class Observed:
    """A host with Prometheus around scripted sessions."""

    def __init__(self, *replies, slots=2):
        self.now, self.ready = 0.0, True
        self.sink = PrometheusSink(lambda: self.ready)
        self.observer = HostObserver(self.sink, clock=lambda: self.now)
        self.host = PolicyHost(
            lambda: Scripted(replies), slots=slots, idle_s=5.0, clock=lambda: self.now, observer=self.observer
        )

    def send(self, robot=1, token=b"", **options):
        request = PolicyRequest(Hop(0, 0, np.zeros((13, 4), np.float16)), token=token)
        return self.host.handle(robot, request, **options)

    def read(self, name, *labels):
        return read(self.sink.text())[name, *labels]


def read(text):
    """{(name, values of the labels): number}."""
    families = parser.text_string_to_metric_families(text.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def reply(ready=True, flags=(), vl_age_ms=None, **timings_ms):
    return Reply(np.zeros((8, 7), np.float32), 12, 0, ready, vl_age_ms, flags, timings_ms)


def test_hops_are_counted_by_readiness_and_flag_and_timed_by_leg():
    observed = Observed(
        reply(False, ("no_frame", "warming"), encoder=0.4, head=0.01),
        reply(True, (), 40.0, encoder=0.6, head=4.0, vl_encoder=30.0),
        reply(True, ("gap",), 60.0, encoder=0.6, head=4.0, vl_encoder=30.0),
        reply(True, (), 10.0, head=4.0, vl_encoder=31.0),
    )
    for index in range(4):
        observed.send(start=index == 0)
    assert observed.read("ganglion_policy_replies_total", "true") == 3
    assert observed.read("ganglion_policy_replies_total", "false") == 1
    assert {flag: observed.read("ganglion_policy_flags_total", flag) for flag in FLAGS if flag != "bad_frame"} == {
        "gap": 1, "warming": 1, "no_frame": 1, "nonfinite": 0, "no_state": 0, "stale_frame": 0,
    }  # fmt: skip
    assert observed.read("ganglion_policy_hop_seconds_count", "encoder") == 3
    assert observed.read("ganglion_policy_hop_seconds_sum", "encoder") == pytest.approx(1.6e-3)
    assert observed.read("ganglion_policy_hop_seconds_sum", "head") == pytest.approx(12.01e-3)
    assert observed.read("ganglion_policy_hop_seconds_bucket", "0.005", "head") == 4
    assert observed.read("ganglion_policy_hop_seconds_bucket", "0.003", "head") == 1
    assert observed.read("ganglion_policy_hop_seconds_count", "total") == 4
    assert observed.read("ganglion_policy_vl_age_seconds_sum") == pytest.approx(0.11)
    # Features that two replies used were encoded once.
    assert observed.read("ganglion_policy_vl_encode_seconds_count") == 2
    assert observed.read("ganglion_policy_vl_encode_seconds_sum") == pytest.approx(0.061)


def test_sessions_are_counted_by_how_they_ended():
    observed = Observed(*[reply()] * 20)
    for robot in (1, 2):
        observed.send(robot, start=True)
    assert observed.read("ganglion_policy_sessions", "policy") == 2
    observed.send(1, start=True)
    observed.send(1, end=True)
    observed.now = 10.0
    observed.send(3, start=True)
    observed.host.close()
    ended = {
        why: observed.read("ganglion_policy_sessions_ended_total", why) for why in ("client", "idle", "anew", "closed")
    }
    assert ended == {"client": 1, "idle": 1, "anew": 1, "closed": 1}
    assert observed.read("ganglion_policy_sessions_begun_total") == 4
    assert observed.read("ganglion_policy_sessions", "policy") == 0


def test_refusals_and_errors_are_counted_by_their_reason():
    observed = Observed(reply(), InputError("shape"), GanglionError("lost"), ZeroDivisionError("odd"), slots=1)
    observed.send(1, token=b"mine", start=True)
    for error, robot, options in (
        (NoSession, 9, {}),
        (NoSession, 1, {"token": b"yours"}),
        (ServerFull, 2, {"start": True}),
        (InputError, 1, {"token": b"mine"}),
        (GanglionError, 1, {"token": b"mine"}),
        (ZeroDivisionError, 1, {"token": b"mine"}),
    ):
        with pytest.raises(error):
            observed.send(robot, **options)
    observed.host.unreadable(4, InputError("no clock"))
    for why in ("full", "no_session", "other_client"):
        assert observed.read("ganglion_policy_refused_total", why) == 1
    errors = {kind: observed.read("ganglion_policy_errors_total", kind) for kind in ("input", "failed", "internal")}
    assert errors == {"input": 2, "failed": 1, "internal": 1}


def test_a_host_that_knows_how_long_messages_lay_tells_it():
    observed = Observed()
    observed.observer.waited(0.004)
    assert observed.read("ganglion_policy_queue_seconds_sum") == 0.004


def test_events_name_session_and_reason_but_never_the_token(caplog):
    observed = Observed(reply(False, ("warming",)), reply(False, ("warming",)), reply(), reply(), slots=1)
    with caplog.at_level(logging.INFO, "ganglion.serving.policy"):
        observed.send(7, token=b"secret-of-7", start=True)
        for _ in range(3):
            observed.send(7, token=b"secret-of-7")
        with pytest.raises(ServerFull):
            observed.send(8, token=b"secret-of-8", start=True)
        observed.host.unreadable(9, InputError("no clock\nat all"))
        observed.now = 2.5
        observed.host.close()
    told = [(record.msg, record.fields) for record in caplog.records]
    session = told[0][1]["session"]
    assert told == [
        ("session_begun", {"session": session, "robot": "7"}),
        ("flags_changed", {"session": session, "robot": "7", "flags": ("warming",), "before": (), "ready": False}),
        ("flags_changed", {"session": session, "robot": "7", "flags": (), "before": ("warming",), "ready": True}),
        ("refused", {"robot": "8", "why": "full"}),
        ("error", {"session": None, "robot": "9", "kind": "input", "error": "no clock at all"}),
        ("session_ended", {"session": session, "robot": "7", "why": "closed", "replies": 4, "seconds": 2.5}),
    ]
    assert "secret" not in str(told)


def test_every_flag_of_a_session_is_counted():
    told = re.findall(r"^    ([a-z_]+)  +\S", session_module.__doc__, re.MULTILINE)
    assert {*FLAGS} == {*told} - {"flag"}


def test_names_follow_prometheus_rules_and_every_label_is_there_from_the_start():
    found = read(PrometheusSink(lambda: True).text())
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert re.fullmatch(r"ganglion_policy_[a-z_]+", metric.name)
        assert (metric.kind == "histogram") == bool(metric.buckets) <= metric.name.endswith("_seconds")
        assert [*metric.buckets] == sorted({*metric.buckets})
        name = metric.name + ("_count" if metric.kind == "histogram" else "")
        for value in metric.values if metric.kind != "gauge" else ("policy",):
            key = (name, value) if value else (name,)
            assert found[key] == 0 or "timestamp" in name


def test_metrics_and_health_are_answered_while_the_host_is_ready_and_after():
    state = {"ready": True, "live": True}
    sink = PrometheusSink(lambda: state["ready"])
    with StatusServer(0, sink.text, lambda: state["ready"], lambda: state["live"]) as server:

        def get(path):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer.status, body

        assert [get(f"/v2/health/{what}")[0] for what in ("live", "ready")] == [200, 200]
        since = read(get("/metrics")[1])["ganglion_policy_ready_timestamp_seconds", "policy"]
        assert since > 1.7e9
        state["ready"] = False
        assert [get(f"/v2/health/{what}")[0] for what in ("live", "ready")] == [200, 503]
        assert read(get("/metrics")[1])["ganglion_policy_ready_timestamp_seconds", "policy"] == pytest.approx(
            since, abs=10
        )
        state["live"] = False
        assert get("/v2/health/live")[0] == 503
        assert get("/other")[0] == 404
        with pytest.raises(InputError, match="choose another --metrics_port"):
            StatusServer(server.port, sink.text, lambda: True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_refresh_is_alive_until_a_worker_dies_or_it_is_closed():
    refresh = VlRefresh(lambda frames, instruction: None, workers=2)
    assert refresh.alive

    class Broken:
        frames, instruction = (), ""

        def deliver(self, found):
            raise SystemExit

    workers = [thread for thread in threading.enumerate() if thread.name.startswith("vl-refresh")]
    refresh.submit(1, Broken())
    while all(thread.is_alive() for thread in workers):
        workers[0].join(0.01)
    assert not refresh.alive
    refresh.close()
    assert not refresh.alive
