"""Start vLLM on a bundle, say where and how it is asked, and run until a signal."""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
import ssl
import sys
from pathlib import Path

from PIL import Image

from ganglion.core.chat_request import chat_request
from ganglion.core.errors import InputError
from ganglion.core.paths import cache_dir, write_json
from ganglion.core.tasks import get_task
from ganglion.serving.binding import Binding, check_port
from ganglion.serving.command.vlm_config import VlmServeConfig
from ganglion.serving.server_process import ServerProcess
from ganglion.serving.vllm.command import vllm_command, vllm_environment
from ganglion.serving.vllm.failures import explain
from ganglion.serving.vllm.plan import ModelPlan, plan_model

_PROBE_S = 2.0
_SIDE = 112  # pixels of the example's image


def serve(config: VlmServeConfig) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code.

    Raises:
        InputError: a bundle can't be served so, vLLM is not installed, or the port is taken.
        GanglionError: vLLM did not come up, or ended by itself.
    """
    program = find_program(config.vllm.executable)
    plan = plan_model(config.bundles, config.vllm.base)
    command = vllm_command([str(program)], plan, config.bind, config.port, config.vllm)
    check_port(config.bind.host, config.port)
    room = cache_dir() / "serve" / f"vllm-{config.port}"
    log = config.vllm.log or room / "vllm.log"
    environment = os.environ | vllm_environment(config.bind, config.vllm.node_address)
    with ServerProcess("vLLM", command, environment, log) as server:
        server.wait_until_ready(
            lambda: is_healthy(config.bind, config.port), explain, limit_s=config.vllm.ready_limit_s
        )
        for line in _greeting(plan, config, log, room):
            print(line, flush=True)
        return server.run_until_signal(explain)


def find_program(given: Path | None) -> Path:
    """The `vllm` program: the one given, else the one beside this Python, else the first on PATH.

    Raises:
        InputError: there is none.
    """
    if given is not None:
        if found := shutil.which(given):
            return Path(found)
        raise InputError("is no program", where=f"--vllm.executable {given}", remedy="give the path of vllm")
    beside = Path(sys.executable).with_name("vllm")
    if found := shutil.which(beside) or shutil.which("vllm"):
        return Path(found)
    raise InputError(
        "vLLM is not installed",
        remedy="'pip install vllm' in an environment of its own (without a GPU, the CPU build that its installation "
        "page names), and name its program with --vllm.executable VENV/bin/vllm",
    )


def is_healthy(bind: Binding, port: int) -> bool:
    """Whether what listens there says that it is well. Its certificate is ours, and no secret is sent."""
    host = reachable(bind.host)
    connection: http.client.HTTPConnection
    if bind.certificate is None:
        connection = http.client.HTTPConnection(host, port, timeout=_PROBE_S)
    else:
        unchecked = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, port, timeout=_PROBE_S, context=unchecked)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable(host: str) -> str:
    """The address by which this machine reaches a server that listens at `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _greeting(plan: ModelPlan, config: VlmServeConfig, log: Path, room: Path) -> list[str]:
    host = reachable(config.bind.host)
    url = f"{config.bind.scheme}://{f'[{host}]' if ':' in host else host}:{config.port}/v1"
    return [
        f"serving {', '.join(plan.names)} at {url} (log: {log})",
        f"try: {curl(url, config.bind, _example(plan, room))}",
        "Ctrl-C ends it",
    ]


def _example(plan: ModelPlan, room: Path) -> Path:
    """A request of the first model's task, as a file."""
    task = get_task(plan.part.task)
    images = [Image.new("RGB", (_SIDE, _SIDE), "gray")] if plan.part.image_token_id is not None else []
    write_json(room / "request.json", chat_request(task, task.summary, images, model=plan.names[0]))
    return room / "request.json"


def curl(url: str, bind: Binding, request: Path) -> str:
    """A command that asks; the token stays in its file."""
    guard = f"--cacert {shlex.quote(str(bind.certificate))} " if bind.certificate else ""
    if bind.token_file:
        guard += f'-H "Authorization: Bearer $(cat {shlex.quote(str(bind.token_file))})" '
    body = shlex.quote(f"@{request}")
    return f"curl --silent --show-error {guard}-H 'Content-Type: application/json' --data {body} {url}/chat/completions"
