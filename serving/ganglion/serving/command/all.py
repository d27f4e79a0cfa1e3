"""`ganglion serve all`: a bundle's policy and its VLM, each in a server of its own, until a signal ends both.

They are the commands `serve policy` and `serve vlm`, started here. A robot stands on the policy, so it goes on whatever
becomes of the VLM; a policy that ends, ends both.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from ganglion.core.bundle import read_manifest
from ganglion.core.errors import InputError
from ganglion.serving.binding import Binding
from ganglion.serving.command.all_config import AllServeConfig
from ganglion.serving.server_process import ServerProcess

_NICE = 10  # of the VLM: where cores are few, a robot's hops come first
_OURS = "ganglion: "  # how the command begins an error


def run(config: AllServeConfig) -> int:
    """Serve; returns the exit code.

    Raises:
        InputError: an option is wrong.
        BundleError: there is no bundle.
        GanglionError: a server did not come up, or the policy's ended by itself.
    """
    config.bind.check()
    manifest = read_manifest(config.bundle)
    for name, part in (("policy", manifest.policy), ("vlm", manifest.vlm)):
        if part is None:
            other = "vlm" if name == "policy" else "policy"
            raise InputError(f"holds no {name}", where=config.bundle, remedy=f"use ganglion serve {other}")
    asked = threading.Event()
    with tempfile.TemporaryDirectory(prefix="ganglion-serve-") as folder:
        greetings = {name: Path(folder, name) for name in ("policy", "vlm")}
        with (
            _server("policy", config, config.policy, greetings["policy"], asked) as policy,
            _server("vlm", config, config.vlm, greetings["vlm"], asked) as vlm,
        ):
            for server in (policy, vlm):
                server.wait_until_ready(partial(_has_text, greetings[server.name]), _explain)
            for greeting in greetings.values():
                print(greeting.read_text(encoding="utf-8"), end="", flush=True)
            watch = _Watch(vlm)
            ended_well = policy.run_until_signal(_explain, watch.look) == 0
            return 0 if ended_well and not watch.told else 1


class _Watch:
    """Says once that a server has ended, and that the other goes on."""

    def __init__(self, server: ServerProcess) -> None:
        self._server, self.told = server, False

    def look(self) -> None:
        if self._server.ended and not self.told:
            self.told = True
            print(f"ganglion: {self._server.failure(_explain)}; the policy goes on", file=sys.stderr, flush=True)


def _server(
    name: str, config: AllServeConfig, options: Sequence[str], greeting: Path, asked: threading.Event
) -> ServerProcess:
    command = [sys.executable, "-m", "ganglion.core.cli", "serve", name, str(config.bundle)]
    command += [*_arguments(config.bind), *options]
    nice = _NICE if name == "vlm" else 0
    return ServerProcess(name, command, os.environ, config.logs / f"{name}.log", said=greeting, asked=asked, nice=nice)


def _has_text(path: Path) -> bool:
    return path.stat().st_size > 0


def _arguments(binding: Binding) -> list[str]:
    """The options of a command that stand for it."""
    given = {field.name: getattr(binding, field.name) for field in fields(binding)}
    return [f"--bind.{name}={str(value).lower() if value is True else value}" for name, value in given.items() if value]


def _explain(log: str) -> str | None:
    said = [line.removeprefix(_OURS) for line in log.splitlines() if line.startswith(_OURS)]
    return said[-1] if said else None
