"""The forms that a VLM takes in a bundle, each written and then asked: graphs, a checkpoint, an adapter as it is."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import get_task, unrolled
from ganglion.export.calibration import calibration_rows, check_rows
from ganglion.export.compress import PRECISIONS as COMPRESSED
from ganglion.export.compress import compress_checkpoint, load_compressed
from ganglion.export.config import ExportConfig
from ganglion.export.merge import Adapter, load_beside, load_merged, merged_once
from ganglion.export.onnx_runner import OnnxVlm
from ganglion.export.onnx_vlm import VlmGraphs
from ganglion.export.prompt_files import write_prompt_files
from ganglion.export.prompts import task_prompts
from ganglion.export.release import release
from ganglion.export.stages import Report, Stages
from ganglion.export.targets import FLOAT32, Precision
from ganglion.export.vllm_files import write_video_settings
from ganglion.export.vlm_checkpoint import copy_adapter, load_checkpoint, write_merged
from ganglion.export.weights import CheckpointWeights, reader

_ROWS = 128  # of the training data, to calibrate on
_MERGED = {"exact": "merged", "original": "merged original"}


@dataclass(frozen=True)
class VlmWork:
    """An adapter's VLM on its way into a bundle.

    skeleton   of its base
    processor  as training used it
    stages     what was asked so far
    report     told what is being done
    """

    config: ExportConfig
    adapter: Adapter
    skeleton: Any
    processor: Any
    stages: Stages
    report: Report

    @property
    def precision(self) -> Precision:
        """What it is to compute in."""
        return self.config.resolved_precision


def write_graphs(work: VlmWork, folder: Path) -> None:
    """ONNX graphs: in float32, held against the merged model; then in the precision asked for, held against those."""
    with _merged(work, folder) as weights:
        work.report("trace")
        read = reader(work.skeleton, weights)
        stages = {"onnx": FLOAT32}
        if work.precision.vlm != FLOAT32.vlm:
            stages[f"onnx {work.precision.label}"] = work.precision
        traced = [VlmGraphs(work.skeleton)] * len(stages)
        for stage, precision in stages.items():
            work.report(f"write {stage}")
            shutil.rmtree(folder, ignore_errors=True)
            # popped: the last graphs, whose kernels take a copy of the weights, are asked without what was traced
            traced.pop().write(folder, read=read, language=precision.language, vision=precision.vision)
            release()
            work.stages.follow(OnnxVlm(folder, work.stages.positions, precision), stage, precision)
    write_prompt_files(work.processor, folder)


def write_checkpoint(work: VlmWork, folder: Path) -> None:
    """A merged checkpoint, whole or in fewer bits, and what its target needs beside it."""
    rows, language = _calibration(work), work.precision.language
    with tempfile.TemporaryDirectory(dir=folder.parent) as room:
        whole = Path(room) / "whole" if language in COMPRESSED else folder
        with _merged(work, folder) as weights:
            write_merged(work.adapter, weights, work.processor, whole, work.precision.vision, work.report)
        if language in COMPRESSED:
            method = "gptq" if rows else "rtn"
            compress_checkpoint(whole, folder, precision=language, method=method, calibration=rows, report=work.report)
    model = load_compressed(folder, torch.float32) if language in COMPRESSED else load_checkpoint(folder)
    work.stages.follow(model, f"checkpoint {work.precision.label}", work.precision)
    if work.config.target == "vllm":
        write_video_settings(folder)


def write_adapter(work: VlmWork, folder: Path) -> None:
    """The adapter as training left it, asked on its base as a server reads it."""
    copy_adapter(work.adapter, folder)
    model = load_beside(work.adapter, work.precision).get_base_model()
    work.stages.follow(model, f"adapter beside {work.precision.label}", work.precision)


FORMS = {"onnx": write_graphs, "checkpoint": write_checkpoint, "adapter": write_adapter}


@contextlib.contextmanager
def _merged(work: VlmWork, folder: Path) -> Iterator[CheckpointWeights]:
    """The merged weights, which have been asked, in files beside `folder`."""
    merge = work.config.merge
    work.report("merge")
    with merged_once(work.adapter, merge, folder.parent) as weights:
        work.stages.follow(load_merged(weights), _MERGED[merge], FLOAT32)
        yield weights


def _calibration(work: VlmWork) -> list[dict[str, Any]]:
    """Rows for GPTQ, spread over the training data; none where none is given."""
    if work.config.calibration is None:
        return []
    examples = unrolled(read_datafile(work.config.calibration, get_task(work.adapter.run["task"])))
    chosen = [examples[at] for at in np.linspace(0, len(examples) - 1, min(_ROWS, len(examples))).astype(int)]
    rows = calibration_rows(work.skeleton, task_prompts(work.skeleton, work.processor, chosen))
    check_rows(rows)
    return rows
