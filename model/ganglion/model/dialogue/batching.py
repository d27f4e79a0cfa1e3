"""Rows to batches: padded, or, for text only, packed without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ganglion.model.dialogue.encoding import UNLABELED, Encoded


def collate(rows: Sequence[Encoded], pad_token_id: int, *, side: str) -> dict[str, torch.Tensor]:
    """A batch of B rows padded to the longest, T tokens.

    Args:
        rows: at least one.
        pad_token_id: fills the rest; masked and never labeled.
        side: "left" so that all rows end together, as generation needs it, or "right".

    Returns:
        input_ids, attention_mask, labels: (B, T) int64; for a model with images mm_token_type_ids: (B, T) int64; and
        where any row has an image, pixel_values: (patches of all, values) float32; image_grid_thw: (images of all, 3)
        int64.
    """
    longest = max(len(row.text) for row in rows)

    def padded(parts: list[torch.Tensor], fill: int) -> torch.Tensor:
        whole = torch.full((len(rows), longest), fill, dtype=torch.long)
        for line, part in zip(whole, parts, strict=True):
            start = longest - len(part) if side == "left" else 0
            line[start : start + len(part)] = part
        return whole

    batch = {
        "input_ids": padded([row.text.ids for row in rows], pad_token_id),
        "attention_mask": padded([torch.ones(len(row.text), dtype=torch.long) for row in rows], 0),
        "labels": padded([row.text.labels for row in rows], UNLABELED),
    }
    if rows[0].text.image_token is not None:
        batch["mm_token_type_ids"] = padded([row.text.token_types for row in rows], 0)
    if images := [image for row in rows for image in row.images]:
        batch["pixel_values"] = torch.cat([image.pixel_values for image in images]).float()
        batch["image_grid_thw"] = torch.stack([image.image_grid_thw for image in images])
    return batch


def training_batch(rows: Sequence[Encoded], pad_token_id: int) -> dict[str, Any]:
    """A batch to learn from: `collate` on the left, so that all answers end together at the end.

    The output head then runs over what lies after the first answer's start only: at full size, logits of a whole
    prompt (tokens x 150 000) would be the largest tensor of a training step.

    Returns:
        as `collate`, but labels (B, K) for the last K tokens, and "logits_to_keep": K, "use_cache": False.
    """
    batch = collate(rows, pad_token_id, side="left")
    # The token before an answer predicts its first.
    kept = max(len(row.text) - row.text.answers[0][0] for row in rows) + 1
    return {**batch, "labels": batch["labels"][:, -kept:], "logits_to_keep": kept, "use_cache": False}


def packed_batch(packs: Sequence[Sequence[Encoded]], pad_token_id: int, positions: int) -> dict[str, Any]:
    """A batch of B packs, each of several text rows behind one another, with no row seeing another.

    There is no attention mask: positions start at 0 with each row, which is what transformers tells rows apart by; but
    it does so only where nothing is cached.

    Args:
        packs: at least one, each of at least one row without images.
        pad_token_id: fills what is left; never labeled.
        positions: kinds of position ids that the model takes: 1, or 4 for Qwen-VL (text, time, height, width).

    Returns:
        input_ids, labels: (B, T) int64; position_ids: (B, T) or (4, B, T) int64; "use_cache": False; "rows": how many
        rows these are, not for the model.
    """
    longest = max(sum(len(row.text) for row in pack) for pack in packs)
    ids = torch.full((len(packs), longest), pad_token_id, dtype=torch.long)
    labels, place = torch.full_like(ids, UNLABELED), torch.zeros_like(ids)
    for k, pack in enumerate(packs):
        end = 0
        for row in pack:
            start, end = end, end + len(row.text)
            ids[k, start:end], labels[k, start:end] = row.text.ids, row.text.labels
            place[k, start:end] = torch.arange(end - start)
        place[k, end:] = torch.arange(longest - end)
    every = place.expand(positions, -1, -1) if positions > 1 else place
    return {"input_ids": ids, "labels": labels, "position_ids": every, "use_cache": False, "rows": sum(map(len, packs))}
