"""An evaluation's three files: metrics.json, predictions.csv (a table to look at), details.jsonl (all there is)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ganglion.core.paths import write_json, written_aside
from ganglion.core.tasks import Example, Task, by_row, read_by_task
from ganglion.training.data.episodes import episodes

METRICS_FILE, PREDICTIONS_FILE, DETAILS_FILE = "metrics.json", "predictions.csv", "details.jsonl"


def score(task: Task, examples: Sequence[Example], answers: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Metrics by model. A model may have answered only the first rows; its own "n" says how many."""
    return {name: task.metrics(examples[: len(texts)], texts) for name, texts in answers.items()}


def write_report(
    out: Path,
    task: Task,
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[str]],
    metrics: Mapping[str, Mapping[str, float]],
    asked: Mapping[str, Sequence[Example]] | None = None,
) -> None:
    """Write the three files into `out`, each atomically.

    Args:
        out: folder.
        task: whose examples these are.
        examples: unrolled: each answer has its row and turn, and for a task with steps its task and step.
        answers: by model.
        metrics: by model.
        asked: by model, the examples as it was asked, where their prompts differ; they go into the details.
    """
    places = _places(task, examples)
    write_json(out / METRICS_FILE, metrics)
    with written_aside(out / PREDICTIONS_FILE) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*places[0], "images", "prompt", "expected", *answers])
        for index, (place, example) in enumerate(zip(places, examples, strict=True)):
            images = " ".join(str(path) for path in example.images)
            given = [texts[index] if index < len(texts) else "" for texts in answers.values()]
            table.writerow([*place.values(), images, example.prompt, example.answer, *given])
    with written_aside(out / DETAILS_FILE) as aside, aside.open("w", encoding="utf-8") as file:
        for index, place in enumerate(places):
            detail = {**place, **_detail(task, index, examples[index], answers, asked or {})}
            file.write(json.dumps(detail, ensure_ascii=False) + "\n")


def _places(task: Task, examples: Sequence[Example]) -> list[dict[str, object]]:
    """Where each example belongs, all counted from 0."""
    if task.sequential:
        return [
            {"row": index, "task": number, "step": step}
            for number, steps in enumerate(episodes(task, examples))
            for step, index in enumerate(steps)
        ]
    return [{"row": row, "turn": turn} for row, turns in enumerate(by_row(examples)) for turn in range(len(turns))]


def _detail(
    task: Task,
    index: int,
    example: Example,
    answers: Mapping[str, Sequence[str]],
    asked: Mapping[str, Sequence[Example]],
) -> dict[str, object]:
    """One answer: what was expected and, by model, its text and what was read from it; for JSON also the wrong keys."""
    expected = read_by_task(task, example, example.answer)
    detail: dict[str, object] = {"input": dict(example.row), "expected": expected}
    for name, texts in answers.items():
        if index < len(texts):
            got = read_by_task(task, example, texts[index])
            found = {"text": texts[index], "answer": got, "valid": got is not None, "right": got == expected}
            if isinstance(expected, dict):
                found["wrong"] = [key for key in expected if got is None or got.get(key) != expected[key]]
            if name in asked:
                found["prompt"] = asked[name][index].prompt
            detail[name] = found
    return detail


def table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The metrics as text, a column per model; empty where a model has no such figure."""
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    width, wide = max(map(len, names)), max(8, *map(len, metrics))
    lines = [f"{'':<{width}}" + "".join(f"  {model:>{wide}}" for model in metrics)]
    for name in names:
        figures = (f"{values[name]:.4g}" if name in values else "" for values in metrics.values())
        lines.append(f"{name:<{width}}" + "".join(f"  {figure:>{wide}}" for figure in figures))
    return "\n".join(line.rstrip() for line in lines)
