"""`ganglion evaluate --adapter DIR --data FILE`: score its answers, with the untuned base beside them."""

from __future__ import annotations

from contextlib import nullcontext

from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import get_task
from ganglion.training.evaluate.adapter import load_tuned, read_run
from ganglion.training.evaluate.config import EvaluateConfig, checked
from ganglion.training.evaluate.report import score, table, write_report


def run(config: EvaluateConfig) -> None:
    """Evaluate, print the metrics and where the files are."""
    metrics = evaluate(config)
    print(table(metrics))
    print(f"predictions.csv, metrics.json and details.jsonl in {checked(config)[2]}")


def evaluate(config: EvaluateConfig) -> dict[str, dict[str, float]]:
    """Answer, score and write the three files; returns {"adapter": metrics, "base": metrics}.

    Raises:
        InputError: an option or a row is bad, or the adapter or its base can't be used.
    """
    adapter, data, out = checked(config)
    trained = read_run(adapter)
    task = get_task(trained["task"])
    examples = read_datafile(data, task)[: config.limit]

    import torch

    from ganglion.training.evaluate.answers import write_answers

    if config.threads:
        torch.set_num_threads(config.threads)
    model, processor = load_tuned(adapter, trained)
    rows = {"adapter": examples, "base": examples[: config.base_limit]}
    answers = {}
    for name in rows if config.with_base else ["adapter"]:
        with model.disable_adapter() if name == "base" else nullcontext():
            answers[name] = write_answers(
                model,
                processor,
                rows[name],
                batch_size=config.batch_size,
                max_new_tokens=config.max_new_tokens or task.max_new_tokens,
                label=f"evaluating {name}",
            )
    metrics = score(task, examples, answers)
    write_report(out, task, examples, answers, metrics)
    return metrics
