"""moments.safetensors: real moments that a policy was not trained on, kept in its folder.

What changes a policy's arithmetic afterwards, as an export in fewer bits does, has real inputs to calibrate on and the
demonstrated actions to be judged by.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import context_fields
from ganglion.model.tensor_file import open_tensors, write_tensors

MOMENTS = "moments.safetensors"
_REMEDY = "train the policy again, or remove the file: without it no calibration and no action error"


@dataclass(frozen=True)
class KeptMoments:
    """M moments, normalized; all that the policy reads in each, and what was done. None for what it does not read.

    actions      (M, horizon, dim) float32, demonstrated
    real         (M, horizon) bool, rows that were commanded
    samples      (M, T, channels) float16, a window up to the moment, finite also where nothing was recorded
    present      (M, N, groups) bool, hops of the window that were recorded
    vl_features  (M, tokens, vl_width) float16
    vl_mask      (M, tokens) bool
    vl_age_s     (M,) float32
    state        (M, state_dim) float32
    state_known  (M,) bool
    """

    actions: Tensor
    real: Tensor
    samples: Tensor | None = None
    present: Tensor | None = None
    vl_features: Tensor | None = None
    vl_mask: Tensor | None = None
    vl_age_s: Tensor | None = None
    state: Tensor | None = None
    state_known: Tensor | None = None

    def __len__(self) -> int:
        """M."""
        return len(self.actions)

    def part(self, rows: slice) -> KeptMoments:
        """Some of them."""
        return KeptMoments(**{name: value[rows] for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


def write_moments(folder: Path, moments: KeptMoments) -> None:
    """Write them into a policy's folder, atomically.

    Raises:
        GanglionError: the disk is full or the folder can't be written.
    """
    write_tensors(folder / MOMENTS, moments.tensors())


def read_moments(folder: Path, config: PolicyConfig) -> KeptMoments | None:
    """Those of a policy's folder; None where training left none.

    Raises:
        InputError: the file is damaged, of another policy, or holds a value that is not finite.
    """
    path = folder / MOMENTS
    if not path.is_file():
        return None
    tensors, _ = open_tensors(path)
    wanted = _shapes(config)
    if tensors.keys() != wanted.keys():
        raise InputError(f"holds {sorted(tensors)}, the policy wants {sorted(wanted)}", where=path, remedy=_REMEDY)
    count, tokens = len(tensors["actions"]), tensors["vl_mask"].shape[-1] if "vl_mask" in tensors else 0
    for name, (shape, dtype) in wanted.items():
        expected = (count, *(tokens if size < 0 else size for size in shape))
        found = tensors[name]
        if tuple(found.shape) != expected or found.dtype != dtype:
            raise InputError(
                f"{name} is {found.dtype} {tuple(found.shape)}, the policy wants {dtype} {expected}",
                where=path,
                remedy=_REMEDY,
            )
        if dtype.is_floating_point and not bool(torch.isfinite(found).all()):
            raise InputError(f"{name} has values that are not finite", where=path, remedy=_REMEDY)
    return KeptMoments(**tensors)


def _shapes(config: PolicyConfig) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape of one moment, -1 for VL tokens, and type of each tensor of a policy's moments."""
    frames = config.window_frames
    known: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "samples": ((frames * config.hop_samples, config.channels), torch.float16),
        "present": ((frames, len(config.channel_groups)), torch.bool),
        "vl_features": ((-1, config.vl_width), torch.float16),
        "vl_mask": ((-1,), torch.bool),
        "vl_age_s": ((), torch.float32),
        "state": ((config.state_dim,), torch.float32),
        "state_known": ((), torch.bool),
    }
    read = {"samples" if name == "frames" else name for name in context_fields(config)}
    return {
        "actions": ((config.horizon, config.action_dim), torch.float32),
        "real": ((config.horizon,), torch.bool),
        **{name: found for name, found in known.items() if name in read},
    }
