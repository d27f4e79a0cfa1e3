"""The VLM half of a bundle: from an adapter folder to vlm/ and its rows of the parity table."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganglion.core.datafile import read_datafile
from ganglion.core.manifest import ParityRow, VlmPart
from ganglion.core.tasks import get_task, unrolled
from ganglion.export.calibration import calibration_rows, check_rows
from ganglion.export.compress import PRECISIONS as COMPRESSED
from ganglion.export.compress import compress_checkpoint, load_compressed
from ganglion.export.config import ExportConfig
from ganglion.export.merge import Adapter, load_beside, load_merged, load_trained, merged_weights, open_adapter
from ganglion.export.onnx_file import OPSET
from ganglion.export.onnx_runner import OnnxVlm
from ganglion.export.onnx_vlm import check_family, export_vlm
from ganglion.export.prompt_files import write_prompt_files
from ganglion.export.prompts import task_prompts
from ganglion.export.references import write_references
from ganglion.export.stages import Report, Stages
from ganglion.export.targets import FLOAT32, FORMS, Precision
from ganglion.export.text_graph import image_token_id
from ganglion.export.vllm_files import write_video_settings
from ganglion.export.vlm_checkpoint import copy_adapter, load_checkpoint, write_merged
from ganglion.export.weights import make_skeleton, reader
from ganglion.model.checkpoint import checkpoint_folder
from ganglion.model.processor import image_settings, load_processor

_ROWS = 128  # of the training data, to calibrate on
_MERGED = {"exact": "merged", "original": "merged original"}


def add_vlm(config: ExportConfig, adapter_folder: Path, out: Path, report: Report) -> tuple[VlmPart, list[ParityRow]]:
    """Merge, export and measure an adapter's VLM; write it into `out`/vlm, what it was asked into `out`/parity.

    Args:
        config: names its base, target and precisions, and what to measure on.
        adapter_folder: what `ganglion train sft` wrote.
        out: the bundle in the making.
        report: told what is being done.

    Raises:
        InputError: the adapter, its base or the data can't be used.
    """
    adapter = open_adapter(adapter_folder, config.base)
    skeleton = make_skeleton(checkpoint_folder(adapter.base))
    check_family(skeleton)
    processor = load_processor(adapter.base, adapter.run.get("max_pixels"))
    stages = Stages(config, adapter, skeleton, processor, report)
    stages.begin(load_trained(adapter).get_base_model())
    form = "adapter" if config.merge == "none" else FORMS[config.target]
    write = {"onnx": _as_graphs, "checkpoint": _as_checkpoint, "adapter": _as_adapter}[form]
    write(config, adapter, skeleton, processor, out / "vlm", stages, report)
    write_references(out / "parity" / "vlm.npz", stages)
    return _describe(config, adapter, skeleton, processor, form), stages.rows


def _as_graphs(
    config: ExportConfig, adapter: Adapter, skeleton: Any, processor: Any, folder: Path, stages: Stages, report: Report
) -> None:
    precision = config.resolved_precision
    stages.follow(load_merged(adapter, config.merge), _MERGED[config.merge], FLOAT32)
    _write_graphs(config, adapter, skeleton, folder, FLOAT32, report)
    stages.follow(OnnxVlm(folder, stages.positions), "onnx", FLOAT32)
    if precision.vlm != FLOAT32.vlm:
        shutil.rmtree(folder)
        _write_graphs(config, adapter, skeleton, folder, precision, report)
        stages.follow(OnnxVlm(folder, stages.positions), f"onnx {precision.label}", precision)
    write_prompt_files(processor, folder)


def _write_graphs(
    config: ExportConfig, adapter: Adapter, skeleton: Any, folder: Path, precision: Precision, report: Report
) -> None:
    report(f"write ONNX, {precision.label}")
    read = reader(skeleton, merged_weights(adapter, config.merge))
    export_vlm(skeleton, folder, read=read, language=precision.language, vision=precision.vision)


def _as_checkpoint(
    config: ExportConfig, adapter: Adapter, skeleton: Any, processor: Any, folder: Path, stages: Stages, report: Report
) -> None:
    precision = config.resolved_precision
    rows = _calibration(config, adapter, skeleton, processor)
    stages.follow(load_merged(adapter, config.merge), _MERGED[config.merge], FLOAT32)
    if precision.language not in COMPRESSED:
        write_merged(adapter, config.merge, processor, folder, precision.vision, report)
        stages.follow(load_checkpoint(folder), f"checkpoint {precision.label}", precision)
    else:
        with tempfile.TemporaryDirectory(dir=folder.parent) as room:
            whole = Path(room) / "whole"
            write_merged(adapter, config.merge, processor, whole, precision.vision, report)
            method = "gptq" if rows else "rtn"
            compress_checkpoint(
                whole, folder, precision=precision.language, method=method, calibration=rows, report=report
            )
        stages.follow(load_compressed(folder, torch.float32), f"checkpoint {precision.label}", precision)
    if config.target == "vllm":
        write_video_settings(folder)


def _calibration(config: ExportConfig, adapter: Adapter, skeleton: Any, processor: Any) -> list[dict[str, Any]]:
    if config.calibration is None:
        return []
    examples = unrolled(read_datafile(config.calibration, get_task(adapter.run["task"])))
    chosen = [examples[at] for at in np.linspace(0, len(examples) - 1, min(_ROWS, len(examples))).astype(int)]
    rows = calibration_rows(skeleton, task_prompts(skeleton, processor, chosen))
    check_rows(rows)
    return rows


def _as_adapter(
    config: ExportConfig, adapter: Adapter, skeleton: Any, processor: Any, folder: Path, stages: Stages, report: Report
) -> None:
    precision = config.resolved_precision
    copy_adapter(adapter, folder)
    model = load_beside(adapter, precision).get_base_model()
    stages.follow(model, f"adapter beside {precision.label}", precision)


def _describe(config: ExportConfig, adapter: Adapter, skeleton: Any, processor: Any, form: str) -> VlmPart:
    ends = skeleton.generation_config.eos_token_id
    known = [*(ends if isinstance(ends, list) else [ends]), processor.tokenizer.eos_token_id]
    return VlmPart(
        task=adapter.run["task"],
        model_type=skeleton.config.model_type,
        base_id=adapter.base_id,
        base_hash=adapter.base_hash,
        adapter_hash=adapter.hash,
        image_token_id=image_token_id(skeleton),
        eos_token_ids=tuple(sorted({end for end in known if end is not None})),
        context_tokens=skeleton.config.get_text_config().max_position_embeddings,
        image_processor=image_settings(processor) if processor.image_token else {},
        precision=config.resolved_precision.vlm,
        opset=OPSET if form == "onnx" else None,
        form=form,
        merge=config.merge,
    )
