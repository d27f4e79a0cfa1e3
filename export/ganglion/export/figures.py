"""What each ONNX file of a bundle costs on this machine: size, time to load, time to run, memory.

Measured in a process of its own, one file after the other, on what the bundle was asked when it was made:

    python -m ganglion.export.figures BUNDLE
"""

from __future__ import annotations

import contextlib
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError
from ganglion.core.manifest import FileFigures
from ganglion.export.graph_cases import read_cases
from ganglion.export.references import read_references
from ganglion.export.sessions import open_onnx

_RUNS = 5
Feeds = Mapping[str, npt.NDArray[Any]]


def figures_of(folder: Path) -> dict[str, FileFigures]:
    """Figures of every ONNX file in a bundle in the making, by its path in it.

    Raises:
        GanglionError: a file can't be run.
    """
    command = [sys.executable, "-m", "ganglion.export.figures", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
        raise GanglionError(f"can't be run: {reason:.200}", where=folder, remedy="free memory and export again")
    return {name: FileFigures(**found) for name, found in json.loads(done.stdout).items()}


def machine() -> str:
    """What the figures are of: processor, cores, system."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, one thread, {platform.system()}"


def _measure(folder: Path) -> dict[str, FileFigures]:
    found = {}
    for name, feeds, of in _calls(folder):
        path = folder / name
        before = _resident_mb()
        _forget_peak()
        begun = time.perf_counter()
        session = open_onnx(path)
        loaded = time.perf_counter()
        times = []
        for _ in range(_RUNS):
            at = time.perf_counter()
            session.run(None, feeds)
            times.append(time.perf_counter() - at)
        found[name] = FileFigures(
            bytes=sum(file.stat().st_size for file in (path, path.with_name(path.name + ".data")) if file.is_file()),
            load_ms=round(1e3 * (loaded - begun), 3),
            run_ms=round(1e3 * statistics.median(times), 3),
            peak_mb=round(max(_peak_mb() - before, 0.0), 1),
            of=of,
        )
        del session
        gc.collect()
    return found


def _calls(folder: Path) -> Iterator[tuple[str, Feeds, str]]:
    """Each file with what it is fed, and what that is."""
    if (folder / "vlm" / "decoder.onnx").is_file():
        yield from _vlm_calls(folder)
    if (folder / "policy").is_dir():
        first = {case.graph: case for case in reversed(read_cases(folder / "parity" / "policy.npz"))}
        for graph, case in sorted(first.items()):
            yield f"policy/{graph}.onnx", case.feeds, case.of


def _vlm_calls(folder: Path) -> Iterator[tuple[str, Feeds, str]]:
    inputs = read_references(folder / "parity" / "vlm.npz")[0].inputs
    ids = inputs["input_ids"]
    length = ids.shape[1]
    if "pixel_values" in inputs:
        image = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
        yield "vlm/vision.onnx", image, f"an image of {len(image['pixel_values'])} patches"
    embed = {item.name: item for item in open_onnx(folder / "vlm/embed.onnx").get_inputs()}
    none = np.zeros((0, embed["image_features"].shape[1]), np.float32)
    yield "vlm/embed.onnx", {"input_ids": ids[:, -1:], "image_features": none}, "one token"
    decoder = {item.name: item for item in open_onnx(folder / "vlm/decoder.onnx").get_inputs()}
    feeds: dict[str, npt.NDArray[Any]] = {
        "inputs_embeds": np.zeros((1, 1, decoder["inputs_embeds"].shape[2]), np.float32),
        "attention_mask": np.ones((1, length + 1), np.int64),
        "position_ids": np.full((3, 1, 1), length, np.int64),
        "logits_at": np.zeros(1, np.int64),
    }
    for name, item in decoder.items():
        if name.startswith("past."):
            kind = np.float16 if "float16" in item.type else np.float32
            feeds[name] = np.zeros((1, item.shape[1], length, item.shape[3]), kind)
    yield "vlm/decoder.onnx", feeds, f"one token after {length}"


def _resident_mb() -> float:
    return _status("VmRSS")


def _peak_mb() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise GanglionError(f"no {name}", where="/proc/self/status", remedy="export on Linux")


def _forget_peak() -> None:
    """Start the kernel's record of the largest resident size anew; where it forbids that, the figure is too large."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    print(json.dumps({name: asdict(found) for name, found in _measure(Path(sys.argv[1])).items()}))
