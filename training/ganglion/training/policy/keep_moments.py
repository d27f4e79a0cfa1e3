"""Real moments for a finished policy's folder, of data that it was not trained on (ganglion.model.policy.kept_moments).

Those set aside to choose weights by, or where there are none those to score on; spread evenly over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.kept_moments import KeptMoments, write_moments
from ganglion.training.policy.batch import Batch
from ganglion.training.policy.learner import Learner

MOST, FEWEST, BYTES = 64, 16, 32_000_000  # as many as fit into so much: about 24 at 1026 channels and 1 s at 650 Hz
_Row = dict[str, Tensor]


@torch.no_grad()
def keep_moments(learner: Learner, folder: Path) -> None:
    """Write moments.safetensors; nothing where nothing was held back, or no moment has the sensor that is read.

    Raises:
        GanglionError: the disk is full or the folder can't be written.
    """
    learner.learn(False)
    for part in ("validation", "test"):
        if rows := spread(_rows(learner, part)):
            write_moments(folder, KeptMoments(**_stack(rows)))
            return


def spread(rows: Iterable[_Row]) -> list[_Row]:
    """At most MOST of them, evenly, fewer where they are large; never many more than that are in memory."""
    kept: list[_Row] = []
    step = 1
    for number, row in enumerate(rows):
        if number % step == 0:
            kept.append(row)
        if len(kept) == 2 * MOST:
            kept, step = kept[::2], 2 * step
    if not kept:
        return kept
    size = max(sum(value.nbytes for value in row.values()) for row in kept)
    count = min(len(kept), MOST, max(FEWEST, BYTES // size))
    return [kept[index * len(kept) // count] for index in range(count)]


def _rows(learner: Learner, part: str) -> Iterator[_Row]:
    for batch in learner.source.held_back(part):
        yield from _moments(learner.see(batch.to(learner.device)).to(torch.device("cpu")), learner.network.config)


def _moments(batch: Batch, config: PolicyConfig) -> Iterator[_Row]:
    """Each read of a batch, as KeptMoments has it, one row each; without those that lack the sensor that is read."""
    felt = torch.ones(len(batch.actions), dtype=torch.bool) if batch.felt is None else batch.felt
    place = felt.cumsum(0) - 1
    for sequence in felt.nonzero()[:, 0].tolist():
        for read in range(batch.actions.shape[1]):
            names = ("actions", "real", "vl_features", "vl_mask", "vl_age_s", "state", "state_known")
            found = {name: value[sequence, read] for name in names if (value := getattr(batch, name)) is not None}
            if "vl_features" in found:
                found["vl_features"] = _half(found["vl_features"])
            if batch.samples is not None and batch.present is not None:
                last, hop = batch.ends[read], config.hop_samples
                first = last - config.window_frames
                index = int(place[sequence])
                found["samples"] = _half(batch.samples[index, first * hop : last * hop])
                found["present"] = batch.present[index, first:last]
            yield {name: value.clone() for name, value in found.items()}


def _half(values: Tensor) -> Tensor:
    """In 16 bits and finite, also where nothing was recorded."""
    largest = torch.finfo(torch.float16).max
    return torch.nan_to_num(values.float(), nan=0.0).clamp(-largest, largest).half()


def _stack(rows: list[_Row]) -> _Row:
    """One tensor of each; VL tokens that a moment has fewer of are masked out."""
    if "vl_mask" in rows[0]:
        tokens = max(len(row["vl_mask"]) for row in rows)
        rows = [
            row
            | {
                name: torch.cat([v, v.new_zeros(tokens - len(v), *v.shape[1:])])
                for name, v in row.items()
                if name in ("vl_features", "vl_mask")
            }
            for row in rows
        ]
    return {name: torch.stack([row[name] for row in rows]).contiguous() for name in rows[0]}
