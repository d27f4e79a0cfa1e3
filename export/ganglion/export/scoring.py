"""A task's metrics at each stage: what drift costs, in the only currency that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganglion.core.manifest import ParityRow
from ganglion.core.tasks import Example, Task
from ganglion.model.dialogue.answers import write_answers

BATCH = 8


@dataclass(frozen=True)
class Evaluation:
    """Rows that every stage answers.

    examples  each answer of a dialogue is one
    """

    task: Task
    examples: Sequence[Example]

    def score(self, model: Any, processor: Any, stage: str) -> Mapping[str, float]:
        """The task's metrics of greedy answers, with no constraint on the text.

        Args:
            model: the library's, or an `OnnxVlm`.
            processor: from load_processor.
            stage: what the progress bar says.
        """
        answers = write_answers(
            model,
            processor,
            self.examples,
            batch_size=BATCH,
            max_new_tokens=self.task.max_new_tokens,
            label=f"{self.task.name}, {stage}",
        )
        return self.task.metrics(self.examples, answers)


def with_scores(row: ParityRow, task: Task, found: Mapping[str, float], trained: Mapping[str, float]) -> ParityRow:
    """The row with the task's headline metric at this stage, and by how much it differs from the trained model's."""
    name = task.headline
    if name is None or name not in found:
        return row
    change = found[name] - trained[name]
    return replace(row, metrics={**row.metrics, name: found[name], f"{name}_change": change})
