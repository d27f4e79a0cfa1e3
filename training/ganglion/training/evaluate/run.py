"""`ganglion evaluate ADAPTER DATA`: score an adapter's answers on a data file, with the untuned base beside it."""

from __future__ import annotations

from contextlib import nullcontext

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.tasks import get_task
from ganglion.training.evaluate.adapter import load_tuned, read_run
from ganglion.training.evaluate.config import EvaluateConfig
from ganglion.training.evaluate.report import score, table, write_report


def run(config: EvaluateConfig) -> None:
    """Evaluate, print the metrics and where the files are."""
    metrics = evaluate(config)
    print(table(metrics))
    print(f"predictions.csv, metrics.json and details.jsonl in {config.out or config.adapter / 'evaluation'}")


def evaluate(config: EvaluateConfig) -> dict[str, dict[str, float]]:
    """Answer, score and write the three files; returns {"adapter": metrics, "base": metrics}.

    Raises:
        InputError: an option or a row is bad, or the adapter or its base can't be used.
    """
    for name in ("limit", "base_limit", "batch_size", "max_new_tokens", "threads"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}", remedy="give 1 or more")
    trained = read_run(config.adapter)
    task = get_task(trained["task"])
    examples = read_datafile(config.data, task)[: config.limit]

    import torch

    from ganglion.training.evaluate.answers import write_answers

    if config.threads:
        torch.set_num_threads(config.threads)
    model, processor = load_tuned(config.adapter, trained)
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
    write_report(config.out or config.adapter / "evaluation", task, examples, answers, metrics)
    return metrics
