"""The backend "in-process" of `ganglion serve policy`: ONNX Runtime, here, for robots of this machine."""

from __future__ import annotations

import signal

from ganglion.core.bundle import open_bundle
from ganglion.core.event_log import log_events
from ganglion.core.local_wire import default_socket
from ganglion.serving.binding import LOCAL, check_port
from ganglion.serving.command.policy_config import PolicyServeConfig
from ganglion.serving.policy.engine import PolicyEngine
from ganglion.serving.policy.host import PolicyHost
from ganglion.serving.policy.local_listener import check_free, listen
from ganglion.serving.policy.local_server import LocalServer
from ganglion.serving.policy.observer import HostObserver
from ganglion.serving.policy.prometheus import PrometheusSink
from ganglion.serving.policy.status_server import StatusServer
from ganglion.serving.policy.vl_refresh import let_hops_through
from ganglion.serving.tracing import HopTracer

_STOPS = (signal.SIGINT, signal.SIGTERM)


def serve(config: PolicyServeConfig, vl_threads: int) -> int:
    """Serve until SIGINT or SIGTERM; returns 0. Of the main thread.

    Raises:
        InputError: the socket or the port is taken or can't be used.
        BundleError: the bundle holds no policy that can be served so.
    """
    path = config.socket or default_socket()
    check_free(path)
    check_port(LOCAL, config.metrics_port, "--metrics_port")
    bundle = open_bundle(config.bundle)
    let_hops_through()
    engine = PolicyEngine.open(
        bundle, hold_after_ms=config.hold_after_ms, vl_workers=config.vl_workers, vl_threads=vl_threads
    )
    sink = PrometheusSink(lambda: engine.ready)
    with log_events(config.log_json), engine, listen(path) as listening:
        observer = HostObserver(sink, HopTracer.from_environment())
        host = PolicyHost(engine.session, slots=config.slots, idle_s=config.idle_s, observer=observer)
        server = LocalServer(listening, host, engine.robot, slots=config.slots, idle_s=config.idle_s)
        before = {one: signal.signal(one, lambda *_: server.stop()) for one in _STOPS}
        try:
            with StatusServer(config.metrics_port, sink.text, ready=lambda: engine.ready) as status:
                print(_endpoints(config.slots, path, status.port), flush=True)
                server.run()
        finally:
            host.close()
            for one, handler in before.items():
                signal.signal(one, handler)
    return 0


def _endpoints(slots: int, path: object, port: int) -> str:
    url = f"http://{LOCAL}:{port}"
    return "\n".join(
        [
            f"policy   unix:{path}   for at most {slots} robots",
            f"health   {url}/v2/health/ready",
            f"metrics  {url}/metrics",
            f"try      curl -s {url}/metrics",
        ]
    )
