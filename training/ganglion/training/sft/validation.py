"""Scoring a model in training on rows it does not learn from, and what follows: which step was best, when to stop."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, Task, unrolled
from ganglion.model.dialogue.answers import write_answers
from ganglion.model.dialogue.batching import training_batch
from ganglion.training.data.rows import EncodedRows
from ganglion.training.sft.config import ValidationOptions

PREFIX = "eval_"  # transformers' own, for what is logged
LOSS = "loss"
History = Sequence[Mapping[str, Any]]


class Validation:
    """The rows to validate on, and how; scores are deterministic and draw no random numbers."""

    def __init__(
        self,
        options: ValidationOptions,
        task: Task,
        examples: Sequence[Example],
        rows: EncodedRows,
        processor: Any,
        batch_size: int,
    ) -> None:
        self._options, self._task, self._processor, self._batch_size = options, task, processor, batch_size
        self._examples, self._rows = unrolled(examples)[: options.rows], rows

    def score(self, model: Any) -> dict[str, float]:
        """The loss over all answer tokens, and the task's metrics where one of them decides.

        Raises:
            InputError: the task has no such metric.
        """
        with _evaluating(model):
            scores = {LOSS: self._loss(model)}
            if self._options.metric != LOSS:
                answers = write_answers(
                    model,
                    self._processor,
                    self._examples,
                    batch_size=4 * self._batch_size,
                    max_new_tokens=self._task.max_new_tokens,
                    label="validating",
                )
                scores |= self._task.metrics(self._examples, answers)
        if self._options.metric not in scores:
            raise InputError(
                f"--validation.metric is {self._options.metric!r}", remedy=f"use one of {', '.join(sorted(scores))}"
            )
        return scores

    @torch.no_grad()
    def _loss(self, model: Any) -> float:
        pad, total, count = self._processor.tokenizer.pad_token_id, 0.0, 0
        order = sorted(range(len(self._rows)), key=self._rows.lengths.__getitem__)
        batch_of = functools.partial(training_batch, pad_token_id=pad)
        for start in range(0, len(order), self._batch_size):
            batch = batch_of([self._rows[k] for k in order[start : start + self._batch_size]])
            labels = batch.pop("labels").to(model.device)
            batch = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            if "pixel_values" in batch:
                batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
            logits = model(**batch).logits[:, :-1].float()
            total += float(
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
            )
            count += int((labels[:, 1:] >= 0).sum())
        return total / max(count, 1)


def validations(history: History) -> list[Mapping[str, Any]]:
    """The entries of a training log that are validations."""
    return [entry for entry in history if PREFIX + LOSS in entry]


def best_step(history: History, options: ValidationOptions) -> int | None:
    """The step that validated best, the first of equals; None before any validation."""
    scored = [(_goodness(entry, options), entry["step"]) for entry in validations(history)]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def should_stop(history: History, options: ValidationOptions) -> bool:
    """Whether the last `patience` validations were none of them better than those before."""
    if options.patience is None:
        return False
    steps = [entry["step"] for entry in validations(history)]
    best = best_step(history, options)
    return best is not None and len(steps) - 1 - steps.index(best) >= options.patience


def _goodness(entry: Mapping[str, Any], options: ValidationOptions) -> float:
    value = float(entry[PREFIX + options.metric])
    if math.isnan(value):
        return -math.inf
    return -value if options.metric == LOSS else value


@contextmanager
def _evaluating(model: Any) -> Any:
    """In eval mode, then as before; a model that was training goes back to it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
