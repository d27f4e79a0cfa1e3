"""How far each stage of a VLM is from the one before it.

trained (4-bit base + adapter) -> merged (float32) -> onnx (float32) -> onnx in the precision asked for

Each stage is asked in turn and alone in memory: what it answered is kept, and the next one goes the same way, token by
token, so that logits are compared as far as an answer goes, whether or not both would have chosen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ganglion.core.manifest import ParityRow
from ganglion.export.onnx_runner import OnnxVlm
from ganglion.export.prompts import Prompt

GREEDY_TOKENS = 64
PROMPT_LOGITS = 32  # of a prompt, those of its last tokens are compared
Floats = npt.NDArray[np.float32]
Ask = Callable[[Prompt, Sequence[int] | None, int], Iterator[Floats]]
"""(prompt, tokens to go on with or None for the likeliest, how many) -> logits of the prompt's end, (T, V), then of
each token, (1, V)."""


@dataclass(frozen=True)
class Trace:
    """What a stage made of one prompt.

    logits  (K, V), of the prompt's last tokens and then of each token of the answer
    tokens  (S,) of the answer
    greedy  they are what the stage found likeliest
    """

    logits: Floats
    tokens: tuple[int, ...]
    greedy: bool


def ask_torch(model: Any) -> Ask:
    """Ask a model of the library's, in whatever precision it computes."""

    @torch.no_grad()
    def ask(prompt: Prompt, tokens: Sequence[int] | None, steps: int) -> Iterator[Floats]:
        positions = prompt.position_ids
        inputs: dict[str, Any] = {**prompt.inputs, "logits_to_keep": PROMPT_LOGITS, "use_cache": True}
        inputs.pop("attention_mask", None)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        for step in range(steps + 1):
            output = model(**inputs, position_ids=_as_read(model, positions))
            yield output.logits[0].float().numpy()
            positions = positions.amax((0, 2), keepdim=True).expand(3, -1, -1) + 1
            chosen = output.logits[:, -1:].argmax(-1) if tokens is None else torch.tensor([tokens[step : step + 1]])
            inputs = {"input_ids": chosen, "past_key_values": output.past_key_values, "use_cache": True}

    return ask


def ask_onnx(onnx: OnnxVlm) -> Ask:
    """Ask exported graphs."""

    def ask(prompt: Prompt, tokens: Sequence[int] | None, steps: int) -> Iterator[Floats]:
        inputs = {name: value.numpy() for name, value in prompt.inputs.items()}
        for logits in onnx.logits(inputs, prompt.position_ids.numpy(), steps, tokens, last=PROMPT_LOGITS):
            yield logits[0]

    return ask


def take_traces(ask: Ask, prompts: Sequence[Prompt], steps: int = GREEDY_TOKENS) -> list[Trace]:
    """What a stage makes of each prompt: of its answer, or of `steps` of the likeliest tokens; no end ends it."""
    return [_trace(ask, prompt, prompt.answer, steps) for prompt in prompts]


def compare(
    ask: Ask, prompts: Sequence[Prompt], reference: Sequence[Trace], *, stage: str, against: str
) -> tuple[ParityRow, list[Trace]]:
    """The row of a stage against the one that `reference` was taken from, and its own traces.

    Metrics: max_rel, the largest difference of any logit as a share of the largest logit; argmax_agreement, the share
    of tokens at which both find the same one likeliest; greedy_equal, both would have written the same.
    """
    traces, agreed, equal = list[Trace](), [], True
    apart, sizes = list[float](), list[float]()
    for prompt, before in zip(prompts, reference, strict=True):
        found = _trace(ask, prompt, before.tokens, len(before.tokens))
        # row by row: rows are as wide as the vocabulary
        apart += [float(np.abs(now - then).max()) for now, then in zip(found.logits, before.logits, strict=True)]
        sizes += [float(np.abs(then).max()) for then in before.logits]
        same = found.logits.argmax(-1) == before.logits.argmax(-1)
        agreed.append(same)
        if before.greedy:
            equal = equal and bool(same[-len(before.tokens) - 1 :].all())
        traces.append(Trace(found.logits, before.tokens, before.greedy))
    largest = float(np.max(apart))  # NaN where a logit is: no limit lets that pass, while max() might not see it
    metrics: dict[str, float | bool] = {
        "max_rel": largest / float(np.max(sizes)),
        "argmax_agreement": float(np.concatenate(agreed).mean()),
    }
    if any(trace.greedy for trace in reference):
        metrics["greedy_equal"] = equal
    return ParityRow("vlm", stage, against, len(prompts), largest, metrics), traces


def _trace(ask: Ask, prompt: Prompt, tokens: Sequence[int] | None, steps: int) -> Trace:
    count = steps if tokens is None else len(tokens)
    asked = ask(prompt, tokens, count)
    first = next(asked)
    logits = np.empty((len(first) + count, first.shape[1]), np.float32)  # of many megabytes: held once
    for row, step in enumerate(asked, len(first)):
        logits[row] = step[0]
    logits[: len(first)] = first
    chosen = logits[len(first) - 1 : -1].argmax(-1).tolist() if tokens is None else tokens
    return Trace(logits, tuple(chosen), tokens is None)


def _as_read(model: Any, positions: torch.Tensor) -> torch.Tensor:
    """A language model reads one row of positions."""
    return positions if hasattr(model.config, "vision_config") else positions[0]
