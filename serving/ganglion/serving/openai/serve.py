"""The server as a process: until it is told to stop.

from ganglion.serving.openai.serve import serve
serve(open_bundle(path), Binding(), 8000)
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
from pathlib import Path

import uvicorn

from ganglion.core.bundle import Bundle
from ganglion.core.errors import InputError
from ganglion.core.event_log import PER_REQUEST_S, log_events
from ganglion.serving.binding import Binding
from ganglion.serving.openai.app import make_app
from ganglion.serving.openai.settings import ServerSettings
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.limits import ServingLimits

_CONNECTIONS = 512  # open at once; further ones are told 503
_STOPS = (signal.SIGINT, signal.SIGTERM)
_DEFAULT_LIMITS, _DEFAULT_SETTINGS = ServingLimits(), ServerSettings()


def serve(
    bundle: Bundle,
    binding: Binding,
    port: int,
    *,
    model: str | None = None,
    threads: int = 1,
    limits: ServingLimits = _DEFAULT_LIMITS,
    settings: ServerSettings = _DEFAULT_SETTINGS,
    log_json: Path | None = None,
) -> int:
    """Serve the VLM of a bundle until SIGINT or SIGTERM; answers that are being written may end. Of the main thread.

    Args:
        bundle: verified.
        binding: address, certificate and token.
        port: to listen on; 0 for one that is free.
        model: name that requests give; by default the bundle's task, or "vlm".
        threads: of the decoder's operators.
        limits: how many are answered at once, and in how much memory.
        settings: bounds of a request.
        log_json: file that takes events, one for each request; None for stderr.

    Returns:
        0, once it was told to stop.

    Raises:
        InputError: the binding is unguarded, the certificate can't be used, or the port is taken.
        BundleError: the bundle holds no VLM that can be served here.
    """
    binding.check()
    token = binding.token
    if binding.certificate is not None:
        _check_certificate(binding)
    listening = _listen(binding.host, port)
    with listening:
        engine = VlmEngine.open(bundle, threads=threads, limits=limits)
        port = listening.getsockname()[1]
        name = model or engine.part.task or "vlm"
        config = uvicorn.Config(
            make_app(
                engine,
                name,
                limits=limits,
                settings=settings,
                token=token,
                on_ready=lambda: _introduce(binding, port, name),
            ),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            ssl_certfile=binding.certificate,
            ssl_keyfile=binding.key,
            timeout_graceful_shutdown=round(settings.leave_s),
        )
        # uvicorn stops by these signals, and then raises them again: for nothing.
        before = {one: signal.signal(one, lambda *_: None) for one in _STOPS}
        try:
            with log_events(log_json, per_s=PER_REQUEST_S):
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"can't listen there ({error})", where=f"{host}:{port}", remedy="choose another --port or --bind.host"
        ) from None


def _check_certificate(binding: Binding) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(str(binding.certificate), str(binding.key))
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"is no certificate for that key ({error})",
            where=f"--bind.certificate {binding.certificate}",
            remedy="give a PEM certificate and its own key",
        ) from None


def _introduce(binding: Binding, port: int, model: str) -> None:
    """Print the endpoint, and a command that works."""
    host = f"[{binding.host}]" if ":" in binding.host else binding.host
    url = f"{binding.scheme}://{host}:{port}"
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What lies ahead?"}]})
    options = ["-H 'content-type: application/json'"]
    if binding.token_file is not None:
        options.append(f'-H "authorization: Bearer $(cat {binding.token_file})"')
    if binding.certificate is not None:
        options.append(f"--cacert {binding.certificate}")
    print(f"serving {model} at {url}/v1\ncurl {url}/v1/chat/completions {' '.join(options)} -d '{body}'", flush=True)
