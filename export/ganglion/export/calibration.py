"""What GPTQ measures layers' inputs on: rows of the task as the model reads them, prompt and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganglion.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ganglion.export.prompts import Prompt

# Of the offline Qwen2-VL, 128 wide, the logits' error in int4 falls from 0.094 (no rows) by 0.065 (1), 0.042 (2) and
# 0.036 (4) to 0.034 (8 rows, 400 tokens), and then no more. Wider models need more: tokens are to outnumber inputs.
MIN_ROWS = 16
MAX_ROWS = 512  # what a layer reads of all of them is in memory at once
MAX_TOKENS = 4096  # of a row
_REMEDY = "give 128 or so rows of the task's training data"


def calibration_rows(model: Any, prompts: Sequence[Prompt]) -> list[dict[str, Tensor]]:
    """What a model is called with, one row each: a prompt and the answer that is expected, positions and images.

    Args:
        model: whose prompts they are; may be a skeleton.
        prompts: of `task_prompts`.
    """
    import torch

    from ganglion.export.prompts import position_ids

    rows = []
    for prompt in prompts:
        answer = torch.tensor([prompt.answer or ()], dtype=torch.long)
        inputs = dict(prompt.inputs)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        positions = position_ids(model, inputs)
        inputs["position_ids"] = positions if hasattr(model.config, "vision_config") else positions[0]
        rows.append(inputs)
    return rows


def check_rows(rows: Sequence[Mapping[str, Tensor]]) -> None:
    """Refuse rows that can't be calibrated on.

    Raises:
        InputError: too few or too many, too long, not one at a time, or some with images and some without.
    """
    if not MIN_ROWS <= len(rows) <= MAX_ROWS:
        raise InputError(f"gptq has {len(rows)} rows to calibrate on, not {MIN_ROWS} to {MAX_ROWS}", remedy=_REMEDY)
    for number, row in enumerate(rows, 1):
        batch, length = row["input_ids"].shape
        if batch != 1:
            raise InputError(f"holds {batch} rows", where=f"calibration row {number}", remedy="give each by itself")
        if length > MAX_TOKENS:
            raise InputError(
                f"is {length} tokens long, over {MAX_TOKENS}",
                where=f"calibration row {number}",
                remedy="give shorter ones: memory and time go with their length",
            )
        if set(row) != set(rows[0]):  # the first is what the model's graph is traced with
            odd = sorted(set(row) ^ set(rows[0]))[0]
            raise InputError(
                f"differs from the first: only one of them has {odd!r}",
                where=f"calibration row {number}",
                remedy="give rows that all have images, or none",
            )
