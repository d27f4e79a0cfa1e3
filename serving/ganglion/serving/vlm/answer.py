"""Answering a task's examples with a served VLM, as they would be asked one by one, each with its earlier turns."""

from __future__ import annotations

from collections.abc import Sequence

from tqdm import tqdm

from ganglion.core.tasks import Example, Task
from ganglion.serving.vlm.engine import VlmEngine


def answer_examples(
    engine: VlmEngine, task: Task, examples: Sequence[Example], *, constrained: bool = True, progress: bool = True
) -> list[str]:
    """One answer for each example, in order.

    Args:
        engine: the VLM to ask.
        task: gives the schema and the length of answers.
        examples: images and prompts, and their history with the answers that it holds.
        constrained: decode within the task's schema.
        progress: show a bar where standard error is a terminal.
    """
    schema = task.schema if constrained else None
    bar = tqdm(examples, desc=task.name, unit="answer", disable=None if progress else True)
    return [
        engine.generate(
            example.images,
            example.prompt,
            schema=schema,
            max_new_tokens=task.max_new_tokens,
            history=example.history,
        ).text
        for example in bar
    ]
