"""`ganglion evaluate --adapter DIR --data FILE`: score its answers, with the untuned base beside them.

`--image FILE` with the options of the task instead of `--data` answers one case: `--feedback TEXT --previous N` of
exo_assist, `--goal TEXT --memory FILE` of gui_step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, Task, get_task, unrolled
from ganglion.training.data.episodes import chosen
from ganglion.training.evaluate.case import answer_case
from ganglion.training.evaluate.config import Case, EvaluateConfig, checked
from ganglion.training.evaluate.kept_answers import KeptAnswers
from ganglion.training.evaluate.members import BASE, Member, read_members, with_vote
from ganglion.training.evaluate.models import ask_each
from ganglion.training.evaluate.report import score, table, write_report
from ganglion.training.evaluate.steps import Asked, answer_steps, check_memories, columns


def run(config: EvaluateConfig) -> None:
    """Evaluate and print the metrics and where the files are; of one case, print the answers as JSON."""
    found = evaluate(config)
    _, subject, out = checked(config)
    if isinstance(subject, Case):
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    print(table(found))
    print(f"predictions.csv, metrics.json and details.jsonl in {out}")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Answer, score and write the three files; returns metrics by model, or for one case what `answer_case` does.

    Models are "adapter" and "base"; of an ensemble, its members by name, "vote" and "base". Every answer of a dialogue
    is scored, with the true turns before it. Of a task with steps each model has three columns, one for each kind of
    memory, as `steps` says.

    Raises:
        InputError: an option or a row is bad, or an adapter or its base can't be used.
    """
    adapter, subject, out = checked(config)
    members = read_members(adapter)
    task = get_task(members[0].run["task"])
    if isinstance(subject, Case):
        return answer_case(config, members, subject)
    rows = chosen(
        task, read_datafile(subject, task), config.task_start, config.task_end, config.max_tasks, config.limit
    )
    of_base = chosen(task, rows, rows=config.base_limit) if config.with_base else []
    if task.sequential:
        _check_steps(task, members, rows, adapter, subject)
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
    asked = {member.name: unrolled(rows) for member in members} | ({BASE: unrolled(of_base)} if of_base else {})
    return _Evaluation(config, task, members, out).report(asked)


def _check_steps(task: Task, members: Sequence[Member], rows: Sequence[Example], adapter: Path, data: Path) -> None:
    if len(members) > 1:
        raise InputError(
            f"an ensemble can't be scored on {task.name}, where each answer goes into the next prompt",
            where=adapter,
            remedy="evaluate its members one by one",
        )
    try:
        check_memories(task, rows)
    except InputError as error:
        raise InputError(error.what, where=data, remedy=error.remedy) from None


class _Evaluation:
    """One evaluation of a file: answers by column, kept on disk while it runs."""

    def __init__(self, config: EvaluateConfig, task: Task, members: Sequence[Member], out: Path) -> None:
        self._config, self._task, self._members, self._out = config, task, members, out
        self._length = config.max_new_tokens or task.max_new_tokens
        self._identities = {member.name: member.identity() for member in members}
        self._identities[BASE] = members[0].identity(tuned=False)
        self._kept: dict[str, KeptAnswers] = {}

    def report(self, asked: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, float]]:
        """Ask each model its examples, write the three files, and give the metrics."""
        answers, prompts = self._answers(asked)
        examples = max(asked.values(), key=len)
        metrics = score(self._task, examples, answers)
        write_report(self._out, self._task, examples, answers, metrics, prompts)
        for kept in self._kept.values():
            kept.remove()
        return metrics

    def _answers(
        self, asked: Mapping[str, Sequence[Example]]
    ) -> tuple[dict[str, list[str]], dict[str, Sequence[Example]]]:
        """Answers by column, and for a task with steps each column's examples as they were asked."""
        answers: dict[str, list[str]] = {}
        steps: dict[str, Asked] = {}

        def ask(name: str, model: Any, processor: Any) -> None:
            if self._task.sequential is None:
                answers[name] = self._write(name, name, model, processor, asked[name])
                return
            from ganglion.training.evaluate.room import room_for

            room = room_for(model, processor, self._length)
            steps.update(
                answer_steps(
                    self._task,
                    name,
                    asked[name],
                    lambda column, examples: self._write(name, column, model, processor, examples),
                    room,
                )
            )

        ask_each(self._members, BASE in asked, ask)
        if self._task.sequential is None:
            return with_vote(self._task, self._members, asked[self._members[0].name], answers), {}
        order = [column for name in asked for column in columns(name)]
        return {name: steps[name].texts for name in order}, {name: steps[name].examples for name in order}

    def _write(self, name: str, column: str, model: Any, processor: Any, examples: Sequence[Example]) -> list[str]:
        from ganglion.model.dialogue.answers import write_answers

        identity = f"{self._identities[name]} {self._length}"
        kept = self._kept[column] = KeptAnswers(self._out / f"answers-{column}.jsonl", identity, examples)
        return write_answers(
            model,
            processor,
            examples,
            batch_size=self._config.batch_size,
            max_new_tokens=self._length,
            label=f"evaluating {column}",
            known=kept.known,
            keep=kept.keep,
        )
