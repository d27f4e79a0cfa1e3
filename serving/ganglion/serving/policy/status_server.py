"""GET /metrics, /v2/health/live and /v2/health/ready on 127.0.0.1, beside a policy host that has no HTTP of its own.

sink = PrometheusSink(lambda: engine.ready)
host = PolicyHost(engine.session, slots=8, idle_s=5.0, observer=HostObserver(sink))
with StatusServer(8002, sink.text, ready=lambda: engine.ready):
    ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from ganglion.core.errors import InputError
from ganglion.serving.binding import LOCAL

_PATIENCE_S = 5.0  # with a client that says nothing
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class StatusServer:
    """Answers from threads of its own, from the moment it is made until `close`.

    Args:
        port: 0 for one that is free.
        metrics: what Prometheus reads.
        ready: whether robots can be served.
        live: whether the process is worth keeping; one that is not should be started again.

    Raises:
        InputError: the port is taken.
    """

    def __init__(
        self,
        port: int,
        metrics: Callable[[], bytes],
        ready: Callable[[], bool],
        live: Callable[[], bool] = lambda: True,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE_S

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._say(200, metrics(), _PROMETHEUS)
                elif self.path == "/v2/health/ready":
                    self._say(200 if ready() else 503)
                elif self.path == "/v2/health/live":
                    self._say(200 if live() else 503)
                else:
                    self._say(404)

            def _say(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *said: object) -> None:
                pass  # health is asked every few seconds

        try:
            self._server = ThreadingHTTPServer((LOCAL, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"can't listen there ({error})", where=f"{LOCAL}:{port}", remedy="choose another --metrics_port"
            ) from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop. Harmless when called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> StatusServer:
        """Give the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
