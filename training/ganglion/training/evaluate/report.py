"""An evaluation's three files: metrics.json, predictions.csv (a table to look at), details.jsonl (all there is)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ganglion.core.paths import write_json, written_aside
from ganglion.core.tasks import Example, Task, read_by_task

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
) -> None:
    """Write the three files into `out`, each atomically."""
    write_json(out / METRICS_FILE, metrics)
    with written_aside(out / PREDICTIONS_FILE) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["row", "images", "prompt", "expected", *answers])
        for index, example in enumerate(examples):
            images = " ".join(str(path) for path in example.images)
            given = [texts[index] if index < len(texts) else "" for texts in answers.values()]
            table.writerow([index, images, example.prompt, example.answer, *given])
    with written_aside(out / DETAILS_FILE) as aside, aside.open("w", encoding="utf-8") as file:
        for index, example in enumerate(examples):
            file.write(json.dumps(_detail(task, index, example, answers), ensure_ascii=False) + "\n")


def _detail(task: Task, index: int, example: Example, answers: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """One answer: what was expected and, by model, its text and what was read from it; for JSON also the wrong keys."""
    expected = read_by_task(task, example, example.answer)
    detail: dict[str, object] = {"row": index, "input": dict(example.row), "expected": expected}
    for name, texts in answers.items():
        if index < len(texts):
            got = read_by_task(task, example, texts[index])
            found = {"text": texts[index], "answer": got, "valid": got is not None, "right": got == expected}
            if isinstance(expected, dict):
                found["wrong"] = [key for key in expected if got is None or got.get(key) != expected[key]]
            detail[name] = found
    return detail


def table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The metrics as text, a column per model."""
    names = list(next(iter(metrics.values())))
    width = max(map(len, names))
    lines = [f"{'':<{width}}" + "".join(f"  {model:>8}" for model in metrics)]
    for name in names:
        lines.append(f"{name:<{width}}" + "".join(f"  {values[name]:>8.4g}" for values in metrics.values()))
    return "\n".join(lines)
