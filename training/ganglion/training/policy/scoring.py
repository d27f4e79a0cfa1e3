"""The policy's error on data it never saw, per action dimension, beside that of always predicting the training mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.policy.source import Source, predict


@torch.no_grad()
def score(policy: VLAPolicy, source: Source) -> dict[str, Any]:
    """What metrics.json says.

    Returns:
        n                 reads scored
        mae, mean_mae     mean absolute error of the policy and of predicting the training mean, in standard deviations
                          of the training data, over the dimensions that move
        dimensions        the same two for each dimension, in its unit
    """
    policy.eval()
    errors, means = [], []
    for batch in source.held_back():
        errors.append((predict(policy, batch) - batch.actions).abs().mean(dim=2).flatten(0, 1).numpy())
        means.append(batch.actions.abs().mean(dim=2).flatten(0, 1).numpy())  # the mean is 0 where all is normalized
    error, mean = np.concatenate(errors), np.concatenate(means)
    spec, std = source.robot.actions, source.norm.action.std
    moves = mean.mean(0) > 0.01
    return {
        "n": len(error),
        "mae": float(error[:, moves].mean()),
        "mean_mae": float(mean[:, moves].mean()),
        "dimensions": {
            name: {
                "unit": unit,
                "mae": float(error[:, i].mean() * std[i]),
                "mean_mae": float(mean[:, i].mean() * std[i]),
            }
            for i, (name, unit) in enumerate(zip(spec.names, spec.units, strict=True))
        },
    }
