"""Traces are made of what was measured, where a collector is named, and nowhere else."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.messages import Reply
from ganglion.serving.openai.metrics import ServerMetrics
from ganglion.serving.openai.record import RequestRecord
from ganglion.serving.openai.replies import Reply as ChatReply
from ganglion.serving.policy.observer import HostObserver
from ganglion.serving.tracing import HopTracer, is_wanted, open_tracer
from ganglion.serving.vlm.scheduler import Load

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry is an extra: pip install 'ganglion[otel]'")


@pytest.fixture
def traced():
    """(tracer, finished): a tracer, and what gives its spans by name."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), lambda: exporter.get_finished_spans()


def span_ms(span):
    return (span.end_time - span.start_time) / 1e6


def reply(seq=12):
    timings_ms = {"encoder": 0.5, "head": 4.0, "vl_encoder": 30.0}
    return Reply(np.zeros((8, 7), np.float32), seq, 0, True, 40.0, ("stale_frame",), timings_ms)


def test_a_hop_is_a_span_with_its_legs_where_they_were(traced):
    tracer, finished = traced
    observer = HostObserver(tracer=HopTracer(tracer))
    record = observer.begun(7)
    observer.replied(record, reply(), seconds=0.005)
    spans = {span.name: span for span in finished()}
    hop, encoder, head = (spans.pop(name) for name in ("policy.hop", "encoder", "head"))
    assert not spans
    assert [round(span_ms(span), 3) for span in (hop, encoder, head)] == [5.0, 0.5, 4.0]
    assert encoder.start_time == hop.start_time and head.end_time == hop.end_time
    assert {encoder.parent.span_id, head.parent.span_id} == {hop.context.span_id}
    assert hop.attributes["ganglion.session"] == record.id
    assert hop.attributes["ganglion.flags"] == ("stale_frame",)
    assert (hop.attributes["ganglion.vl_age_ms"], hop.attributes["ganglion.ready"]) == (40.0, True)


def test_one_hop_in_a_second_is_traced(traced):
    tracer, finished = traced
    now = [0.0]
    hops = HopTracer(tracer, clock=lambda: now[0])
    for index in range(150):
        now[0] = index * 0.02
        hops.hop("a", reply(index), 0.001)
    found = [span.attributes["ganglion.last_seq"] for span in finished() if span.name == "policy.hop"]
    assert found == [0, 50, 100]


def test_a_chat_is_a_span_with_its_tokens_and_nothing_that_was_said(traced):
    tracer, finished = traced
    record = RequestRecord(ChatReply("exo"), ServerMetrics(lambda: Load(0, 0, 0, 0)), tracer)
    record.prompt_tokens, record.outcome = 11, "stop"
    record.count([1])
    record.count([2, 3])
    record.tell()
    chat = next(span for span in finished() if span.name == "vlm.chat")
    legs = [span for span in finished() if span is not chat]
    assert {span.name for span in legs} == {"first_token", "further_tokens"}
    assert sum(map(span_ms, legs)) == pytest.approx(span_ms(chat), abs=0.01)
    assert dict(chat.attributes) == {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "exo", "gen_ai.response.id": record.reply.id,
        "gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 3, "ganglion.outcome": "stop",
        "http.response.status_code": 200,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_SERVICE_NAME": "robot"}, False),
    ],
)
def test_traces_are_wanted_only_where_a_collector_is_named(environment, wanted):
    assert is_wanted(environment) == wanted


def test_by_default_there_is_no_tracer(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    assert open_tracer() is None
    assert HopTracer.from_environment() is None


def test_a_collector_that_is_named_without_opentelemetry_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InputError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT: .*pip install 'ganglion\[otel\]'"):
        open_tracer()


def test_a_collector_that_is_named_gets_the_spans():
    got = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        code = """
from ganglion.serving.tracing import Leg, open_tracer, trace_past
trace_past(open_tracer(), "policy.hop", 0.005, [Leg("head", 0.0, 0.004)], {"ganglion.ready": True})
"""
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        collector.shutdown()
    assert done.returncode == 0, done.stderr
    assert {path for path, _ in got} == {"/v1/traces"}
    sent = b"".join(body for _, body in got)
    assert b"policy.hop" in sent and b"head" in sent and b"ganglion" in sent
