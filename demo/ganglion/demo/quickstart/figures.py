"""Collects what the stages wrote into the figures of report.json."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.manifest import Manifest, ParityRow
from ganglion.core.tasks import get_task
from ganglion.demo.quickstart.plan import TASK, Layout

_PACKAGES = ("ganglion", "torch", "transformers", "peft", "bitsandbytes", "onnxruntime", "numpy")


def machine() -> dict[str, Any]:
    """The hardware and versions that the figures were measured with."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def exo_figures(at: Layout) -> dict[str, Any]:
    """Metrics of the served model at the top level; beside them those of the trained adapter and the untuned base."""
    task = get_task(TASK)
    examples = read_datafile(at.eval_data / "data.json", task)
    answers = served_answers(at)
    served = task.metrics(examples, [answers[index] for index in range(len(examples))])
    evaluated = read_json(at.evaluation / "metrics.json")
    base = evaluated["base"]
    return {
        **served,
        "n": int(served["n"]),
        "base_terrain_accuracy": base["terrain_accuracy"],
        "served": served,
        "trained": evaluated["adapter"],
        "base": base,
    }


def served_answers(at: Layout) -> dict[int, str]:
    """The served model's answer to each row of the evaluation data, by row."""
    parts = sorted(at.answers(0).parent.glob("answers-*.json"))
    return {int(index): answer for part in parts for index, answer in read_json(part).items()}


def parity_figures(manifest: Manifest) -> dict[str, Any]:
    """The parity table, and the rows that the whole line stands on under short names."""
    table = manifest.parity
    figures: dict[str, Any] = {"table": [asdict(row) for row in table]}
    if manifest.vlm:
        onnx = _row(table, "vlm", "onnx")
        figures["merge_max_abs"] = _row(table, "vlm", "merged").max_abs
        figures["vlm_onnx_max_abs"] = onnx.max_abs
        figures["vlm_greedy_equal"] = bool(onnx.metrics["greedy_equal"])
    if manifest.policy:
        figures["policy_onnx_max_abs"] = _row(table, "policy", "onnx").max_abs
        figures["stream_vs_window_max_abs"] = _row(table, "policy", "stream").max_abs
    return figures


def read_json(path: Path) -> Any:
    """Parsed JSON of a file a stage wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def _row(table: Iterable[ParityRow], part: str, stage: str) -> ParityRow:
    return next(row for row in table if (row.part, row.stage) == (part, stage))


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
