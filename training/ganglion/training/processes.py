"""One process or several of `torchrun`: who writes, and who waits for whom. Nothing is exchanged but tensors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganglion.core.paths import written_aside


def process_count() -> int:
    """Processes of this run, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_number() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return process_number() == 0


def wait_for_all() -> None:
    """Return when every process has come here."""
    if process_count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def join(cpu: bool) -> None:
    """Make this process one of the run's; needed once, before any of the others is waited for."""
    if process_count() > 1:
        from accelerate import PartialState

        if cpu:  # it would say cpu:0, a place that torch.load does not know: no checkpoint could be gone on from
            os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        PartialState(cpu=cpu)


@contextmanager
def main_first() -> Iterator[None]:
    """Run the body in the main process, then in the others; if the main one fails, `torchrun` ends the others."""
    if not is_main():
        wait_for_all()
    yield
    if is_main():
        wait_for_all()


@contextmanager
def written_aside_by_all(path: Path) -> Iterator[Path]:
    """As `ganglion.core.paths.written_aside`, with every process writing into one folder that ends up at `path`."""
    if process_count() == 1:
        with written_aside(path) as aside:
            yield aside
        return
    room = path.with_name(f".{path.name}.together")
    if is_main():
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(parents=True)
    wait_for_all()
    yield room / path.name
    wait_for_all()
    if is_main():
        with written_aside(path) as aside:
            os.replace(room / path.name, aside)
        shutil.rmtree(room, ignore_errors=True)
    wait_for_all()
