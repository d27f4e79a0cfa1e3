"""The VLM half of a bundle: from an adapter folder to vlm/ and its rows of the parity table.

One stage is in memory at a time: the trained model, the merged one, then each set of graphs.
"""

from __future__ import annotations

import functools
import gc
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.manifest import ParityRow, VlmPart
from ganglion.core.tasks import get_task, unrolled
from ganglion.export.config import ExportConfig, PrecisionOptions
from ganglion.export.gates import gated
from ganglion.export.merge import Adapter, load_merged, load_trained, merged_weights, open_adapter
from ganglion.export.onnx_file import OPSET
from ganglion.export.onnx_runner import OnnxVlm
from ganglion.export.onnx_vlm import check_family, export_vlm
from ganglion.export.parity import Ask, Trace, ask_onnx, ask_torch, compare, take_traces
from ganglion.export.prompt_files import write_prompt_files
from ganglion.export.prompts import fresh_cases, make_prompts, position_ids, task_prompts
from ganglion.export.scoring import Evaluation, with_scores
from ganglion.export.text_graph import image_token_id
from ganglion.export.weights import make_skeleton, reader
from ganglion.model.checkpoint import checkpoint_folder
from ganglion.model.processor import image_settings, load_processor

Report = Callable[[str], None]
_FLOAT32 = PrecisionOptions()


def add_vlm(config: ExportConfig, folder: Path, report: Report) -> tuple[VlmPart, list[ParityRow]]:
    """Merge, export and measure the adapter's VLM; write it into `folder`/vlm.

    Args:
        config: names the adapter, its base, precisions, and what to measure on.
        folder: the bundle in the making.
        report: told what is being done.

    Raises:
        InputError: the adapter, its base or the data can't be used.
    """
    assert config.adapter is not None
    adapter = open_adapter(config.adapter, config.base)
    skeleton = make_skeleton(checkpoint_folder(adapter.base))
    check_family(skeleton)
    processor = load_processor(adapter.base, adapter.run.get("max_pixels"))
    stages = _Stages(config, adapter, skeleton, processor, report)
    stages.begin(load_trained(adapter).get_base_model())
    stages.follow(load_merged(adapter), "merged", _FLOAT32)
    graphs = folder / "vlm"
    _write_graphs(skeleton, adapter, graphs, _FLOAT32, report)
    stages.follow(OnnxVlm(graphs, stages.positions), "onnx", _FLOAT32)
    if config.precision != _FLOAT32:
        shutil.rmtree(graphs)
        _write_graphs(skeleton, adapter, graphs, config.precision, report)
        stages.follow(OnnxVlm(graphs, stages.positions), _name(config.precision), config.precision)
    write_prompt_files(processor, graphs)
    return _describe(adapter, skeleton, processor, config.precision), stages.rows


class _Stages:
    """Each stage against the one before it; the first is what was trained.

    rows       of the parity table so far
    positions  position ids of what the processor made
    """

    def __init__(self, config: ExportConfig, adapter: Adapter, skeleton: Any, processor: Any, report: Report) -> None:
        self.rows: list[ParityRow] = []
        self.positions = functools.partial(position_ids, skeleton)
        self._processor, self._report, self._at = processor, report, "trained"
        self._prompts = make_prompts(skeleton, processor, fresh_cases(config.parity_samples))
        self._evaluation = _evaluation(config, adapter)
        if self._evaluation:
            rows = self._evaluation.examples[: config.parity_samples]
            self._prompts += task_prompts(skeleton, processor, rows)
        self._traces: list[Trace] = []
        self._trained: Mapping[str, float] = {}

    def begin(self, model: Any) -> None:
        """Ask the trained model."""
        self._report("ask the trained model")
        self._traces = take_traces(ask_torch(model), self._prompts)
        self._trained = self._scores(model)

    def follow(self, model: Any, stage: str, precision: PrecisionOptions) -> None:
        """Ask the next stage: a model of the library's, or graphs."""
        self._report(f"compare {stage} and {self._at}")
        ask: Ask = ask_onnx(model) if isinstance(model, OnnxVlm) else ask_torch(model)
        row, self._traces = compare(ask, self._prompts, self._traces, stage=stage, against=self._at)
        task = self._evaluation.task if self._evaluation else None
        if task:
            row = with_scores(row, task, self._scores(model), self._trained)
        self.rows.append(gated(row, precision, task))
        self._at = stage
        gc.collect()

    def _scores(self, model: Any) -> Mapping[str, float]:
        return self._evaluation.score(model, self._processor, self._at) if self._evaluation else {}


def _evaluation(config: ExportConfig, adapter: Adapter) -> Evaluation | None:
    if config.data is None:
        return None
    task = get_task(adapter.run["task"])
    examples = unrolled(read_datafile(config.data, task))
    return Evaluation(task, examples[: config.data_limit])


def _write_graphs(skeleton: Any, adapter: Adapter, folder: Path, precision: PrecisionOptions, report: Report) -> None:
    report(f"write ONNX, {precision.language}")
    read = reader(skeleton, merged_weights(adapter))
    export_vlm(skeleton, folder, read=read, language=precision.language, vision=precision.vision)


def _name(precision: PrecisionOptions) -> str:
    vision = "" if precision.vision == precision.language else f", vision {precision.vision}"
    return f"onnx {precision.language}{vision}"


def _describe(adapter: Adapter, skeleton: Any, processor: Any, precision: PrecisionOptions) -> VlmPart:
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
        precision=precision.language,
        opset=OPSET,
    )
