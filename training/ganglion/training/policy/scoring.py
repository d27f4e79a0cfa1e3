"""The policy's error on data it never saw, per action dimension, beside two that need no policy.

They are: always predicting the training mean, and doing again what was done last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.training.policy.batch import Batch, predict
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.policy.learner import Learner
from ganglion.training.policy.loop import prepared

_NOISE = 16  # stream of random numbers
_RESTS = 0.01  # mean distance from the mean, in standard deviations, below which a dimension doesn't move


@torch.no_grad()
def score(learner: Learner, config: PolicyTrainConfig) -> dict[str, Any]:
    """What metrics.json says.

    Args:
        learner: as it has learned.
        config: of the run.

    Returns:
        n                 reads scored
        mae, mean_mae     mean absolute error of the policy and of predicting the training mean, in standard deviations
                          of the training data, over the dimensions that move, or all if none does
        last_mae          the same of doing again what was done last; not there where that means nothing
        dimensions        the same for each dimension, in its unit

    of which run.py keeps the same of the weights that validated best under "best", with their step.
    """
    learner.learn(False)
    errors: dict[str, list[npt.NDArray[np.float32]]] = {"mae": [], "mean_mae": [], "last_mae": []}
    for number, batch in enumerate(learner.source.held_back()):
        batch = learner.see(prepared(batch, config, (config.seed, _NOISE, number)).to(learner.device))
        errors["mae"].append(_errors(predict(learner.network, batch), batch))
        errors["mean_mae"].append(_errors(torch.zeros_like(batch.actions), batch))  # 0 is the mean, normalized
        if batch.last_action is not None:
            errors["last_mae"].append(_errors(batch.last_action[:, :, None].expand_as(batch.actions), batch))
    if not errors["mae"]:
        return {"n": 0, "dimensions": {}}
    found = {name: np.concatenate(parts) for name, parts in errors.items() if parts}
    spec, std = learner.source.robot.actions, learner.source.norm.action.std
    moves = np.nanmean(found["mean_mae"], axis=0) > _RESTS
    moves |= not moves.any()
    return {
        "n": len(found["mae"]),
        **{name: float(np.nanmean(values[:, moves])) for name, values in found.items()},
        "dimensions": {
            name: {"unit": unit, **{kind: float(np.nanmean(v[:, i]) * std[i]) for kind, v in found.items()}}
            for i, (name, unit) in enumerate(zip(spec.names, spec.units, strict=True))
        },
    }


def error_columns(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What `score` found, by who decided: the error of each dimension in its unit, and of "all" in deviations."""
    best = {"best": (metrics["best"], "mae")} if "best" in metrics else {}
    found = {"policy": (metrics, "mae"), **best, "mean": (metrics, "mean_mae"), "last action": (metrics, "last_mae")}
    return {
        name: {"all": part[kind], **{dimension: each[kind] for dimension, each in part["dimensions"].items()}}
        for name, (part, kind) in found.items()
        if kind in part
    }


def error_table(metrics: Mapping[str, Any]) -> list[str]:
    """The same as lines for the terminal."""
    columns = error_columns(metrics)
    units = {"all": "standard deviations", **{name: found["unit"] for name, found in metrics["dimensions"].items()}}
    return [f"  {'':<12}" + "".join(f"{name:>12}" for name in columns)] + [
        f"  {name:<12}" + "".join(f"{column[name]:12.4f}" for column in columns.values()) + f"  {unit}"
        for name, unit in units.items()
    ]


def _errors(predicted: Tensor, batch: Batch) -> npt.NDArray[np.float32]:
    """Mean absolute error of each read over the real rows of its chunk: (B * R, dim)."""
    off = (predicted.float() - batch.actions).abs().masked_fill(~batch.real[..., None], float("nan"))
    errors: npt.NDArray[np.float32] = off.nanmean(dim=2).flatten(0, 1).cpu().numpy()
    return errors
