"""The stages of a VLM, each asked alone in memory and held against the one before it.

trained -> merged -> onnx -> onnx int4          for ONNX Runtime and Triton
trained -> merged -> checkpoint bfloat16        for transformers and vLLM
trained -> beside its base                      not merged
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.manifest import ParityRow
from ganglion.core.tasks import get_task, unrolled
from ganglion.export.config import ExportConfig
from ganglion.export.gates import gated
from ganglion.export.merge import Adapter
from ganglion.export.onnx_runner import OnnxVlm
from ganglion.export.parity import Ask, Trace, ask_onnx, ask_torch, compare, take_traces
from ganglion.export.prompts import Prompt, fresh_cases, make_prompts, position_ids, task_prompts
from ganglion.export.release import release
from ganglion.export.scoring import Evaluation, with_scores
from ganglion.export.targets import Precision

Report = Callable[[str], None]


class Stages:
    """Each stage against the one before it; the first is what was trained.

    rows       of the parity table so far
    positions  position ids of what the processor made
    prompts    what every stage is asked
    trained    what the first stage made of them, `last` what the newest one did
    """

    def __init__(self, config: ExportConfig, adapter: Adapter, skeleton: Any, processor: Any, report: Report) -> None:
        self.rows: list[ParityRow] = []
        self.positions = functools.partial(position_ids, skeleton)
        self.prompts: list[Prompt] = make_prompts(skeleton, processor, fresh_cases(config.parity_samples))
        self.trained: list[Trace] = []
        self.last: list[Trace] = []
        self._processor, self._report, self._at = processor, report, "trained"
        self._evaluation = _evaluation(config, adapter)
        if self._evaluation:
            rows = self._evaluation.examples[: config.parity_samples]
            self.prompts += task_prompts(skeleton, processor, rows)
        self._scored: Mapping[str, float] = {}

    def begin(self, model: Any) -> None:
        """Ask the trained model."""
        self._report("ask the trained model")
        self.trained = self.last = take_traces(ask_torch(model), self.prompts)
        self._scored = self._scores(model)

    def compare_with(self, traces: list[Trace], name: str = "trained") -> None:
        """Hold the next stage against these, not against the newest one."""
        self.last, self._at = traces, name

    def follow(self, model: Any, stage: str, precision: Precision) -> None:
        """Ask the next stage: a model of the library's, or graphs, which compute in `precision`."""
        self._report(f"compare {stage} and {self._at}")
        ask: Ask = ask_onnx(model) if isinstance(model, OnnxVlm) else ask_torch(model)
        row, self.last = compare(ask, self.prompts, self.last, stage=stage, against=self._at)
        task = self._evaluation.task if self._evaluation else None
        if task:
            row = with_scores(row, task, self._scores(model), self._scored)
        self.rows.append(gated(row, precision, task))
        self._at = stage
        del ask, model
        release()

    def _scores(self, model: Any) -> Mapping[str, float]:
        return self._evaluation.score(model, self._processor, self._at) if self._evaluation else {}


def _evaluation(config: ExportConfig, adapter: Adapter) -> Evaluation | None:
    if config.data is None:
        return None
    task = get_task(adapter.run["task"])
    examples = unrolled(read_datafile(config.data, task))
    return Evaluation(task, examples[: config.data_limit])
