"""Answering and scoring a task's rows again with what a bundle holds."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganglion.core.bundle import Bundle
from ganglion.core.datafile import read_datafile
from ganglion.core.manifest import ParityRow, VlmPart
from ganglion.core.tasks import get_task, unrolled
from ganglion.export.onnx_runner import OnnxVlm
from ganglion.export.prompts import position_ids
from ganglion.export.scoring import Evaluation
from ganglion.export.weights import make_skeleton
from ganglion.model.checkpoint import checkpoint_folder, resolve_base
from ganglion.model.processor import load_processor


def scored(row: ParityRow, bundle: Bundle, part: VlmPart, model: Any, data: Path, limit: int | None) -> ParityRow:
    """The row with the headline metric here, its change since training, and the limit that the export gave it.

    Raises:
        InputError: the data or the base can't be read.
    """
    task = get_task(part.task)
    assert task.headline is not None
    folder = bundle.path("vlm") if part.form == "checkpoint" else checkpoint_folder(resolve_base(part.base_id))
    processor = load_processor(folder, part.image_processor.get("max_pixels"))
    if part.form == "onnx":
        model = OnnxVlm(bundle.path("vlm"), functools.partial(position_ids, make_skeleton(folder)))
    found = Evaluation(task, unrolled(read_datafile(data, task))[:limit]).score(model, processor, "here")
    change = f"{task.headline}_change"
    metrics, limits = {**row.metrics, task.headline: found[task.headline]}, dict(row.limits)
    last = [before for before in bundle.manifest.parity if before.part == "vlm"][-1]
    if change in last.metrics:
        metrics[change] = found[task.headline] - (last.metrics[task.headline] - last.metrics[change])
        limits |= {name: limit for name, limit in last.limits.items() if name == change}
    return replace(row, metrics=metrics, limits=limits)
