"""`ganglion evaluate --adapter DIR --data FILE`: score its answers, with the untuned base beside them.

`--image FILE --feedback TEXT --previous N` instead of `--data` answers one case of exo_assist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import Example, Task, get_task, unrolled
from ganglion.training.evaluate.case import answer_case
from ganglion.training.evaluate.config import Case, EvaluateConfig, checked
from ganglion.training.evaluate.kept_answers import KeptAnswers
from ganglion.training.evaluate.members import BASE, Member, read_members, with_vote
from ganglion.training.evaluate.models import ask_each
from ganglion.training.evaluate.report import score, table, write_report


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
    is scored, with the true turns before it.

    Raises:
        InputError: an option or a row is bad, or an adapter or its base can't be used.
    """
    adapter, subject, out = checked(config)
    members = read_members(adapter)
    task = get_task(members[0].run["task"])
    if isinstance(subject, Case):
        return answer_case(config, members, subject)
    rows = read_datafile(subject, task)[: config.limit]
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
    examples = unrolled(rows)
    asked = {member.name: examples for member in members}
    if config.with_base:
        asked[BASE] = unrolled(rows[: config.base_limit])
    kept = _kept(config, members, task, asked, out)
    answers = _answers(config, members, task, asked, kept)
    answers = with_vote(task, members, examples, answers)
    metrics = score(task, examples, answers)
    write_report(out, task, examples, answers, metrics)
    for answers_on_disk in kept.values():
        answers_on_disk.remove()
    return metrics


def _length(config: EvaluateConfig, task: Task) -> int:
    return config.max_new_tokens or task.max_new_tokens


def _kept(
    config: EvaluateConfig, members: Sequence[Member], task: Task, asked: Mapping[str, Sequence[Example]], out: Path
) -> dict[str, KeptAnswers]:
    identities = {member.name: member.identity() for member in members} | {BASE: members[0].identity(tuned=False)}
    return {
        name: KeptAnswers(out / f"answers-{name}.jsonl", f"{identities[name]} {_length(config, task)}", examples)
        for name, examples in asked.items()
    }


def _answers(
    config: EvaluateConfig,
    members: Sequence[Member],
    task: Task,
    asked: Mapping[str, Sequence[Example]],
    kept: Mapping[str, KeptAnswers],
) -> dict[str, list[str]]:
    answers: dict[str, list[str]] = {}

    def ask(name: str, model: Any, processor: Any) -> None:
        from ganglion.training.evaluate.answers import write_answers

        answers[name] = write_answers(
            model,
            processor,
            asked[name],
            batch_size=config.batch_size,
            max_new_tokens=_length(config, task),
            label=f"evaluating {name}",
            known=kept[name].known,
            keep=kept[name].keep,
        )

    ask_each(members, config.with_base, ask)
    return answers
