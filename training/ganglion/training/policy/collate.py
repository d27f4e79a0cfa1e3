"""Moments of recorded episodes -> Batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.normalization import Normalization
from ganglion.training.demonstrations.cutting import SensorWindow
from ganglion.training.policy.batch import Batch, Pictures
from ganglion.training.policy.cutting import Moment, Sight
from ganglion.training.policy.source import tensor


def collate(moments: Sequence[Moment], weight: npt.NDArray[np.floating], norm: Normalization) -> Batch:
    """Sequences that are read once, at their end.

    Args:
        moments: B of one robot, cut alike: what one has, all have.
        weight: (B,) what the loss of each counts.
        norm: scales what they hold.
    """
    batch = Batch(
        actions=tensor(norm.action.normalize(np.stack([moment.chunk for moment in moments])))[:, None],
        real=torch.as_tensor(np.stack([moment.real for moment in moments]))[:, None],
        weight=tensor(weight),
        last_action=tensor(norm.action.normalize(np.stack([moment.last for moment in moments])))[:, None],
    )
    windows = [moment.window for moment in moments if moment.window is not None]
    if windows:
        batch = _with_windows(batch, windows, torch.tensor([moment.felt for moment in moments]), norm)
    states = [moment.state for moment in moments if moment.state is not None]
    if states:
        assert norm.state is not None
        known = torch.tensor([moment.state_known for moment in moments])[:, None]
        batch = replace(batch, state=tensor(norm.state.normalize(np.stack(states)))[:, None], state_known=known)
    sights = [moment.sight for moment in moments if moment.sight is not None]
    return _with_sights(batch, sights) if sights else batch


def _with_windows(batch: Batch, windows: Sequence[SensorWindow], felt: Tensor, norm: Normalization) -> Batch:
    assert norm.sensor is not None
    mean, std = torch.as_tensor(norm.sensor.mean), torch.as_tensor(norm.sensor.std)
    samples = torch.empty(int(felt.sum()), *windows[0].samples.shape)
    present = torch.zeros(len(samples), *windows[0].present.shape, dtype=torch.bool)
    for place, row in enumerate(felt.nonzero()[:, 0].tolist()):
        # Window by window and in place, within the processor's cache. A copy: what is mapped can't be written.
        samples[place] = torch.tensor(windows[row].samples).to(samples.dtype).sub_(mean).div_(std)
        present[place] = torch.tensor(windows[row].present)
    return replace(batch, felt=felt, samples=samples, present=present, ends=(present.shape[1],))


def _with_sights(batch: Batch, sights: Sequence[Sight]) -> Batch:
    batch = replace(batch, vl_age_s=tensor([sight.age_s for sight in sights])[:, None])
    rows = [sight.features for sight in sights if sight.features is not None]
    if not rows:
        pictures = Pictures([sight.images for sight in sights], [sight.instruction for sight in sights])
        return replace(batch, pictures=pictures)
    features = torch.zeros(len(rows), 1, max(len(row) for row in rows), rows[0].shape[1])
    mask = torch.zeros(features.shape[:3], dtype=torch.bool)
    for index, row in enumerate(rows):
        features[index, 0, : len(row)] = row
        mask[index, 0, : len(row)] = True
    return replace(batch, vl_features=features, vl_mask=mask)
