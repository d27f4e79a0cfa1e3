"""VLAPolicy: what a robot sees, feels and is told to do becomes an action chunk, in real units; saved as one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.core.images import ImageLike
from ganglion.core.normalization import Normalization, write_normalization
from ganglion.core.paths import write_json
from ganglion.core.specs import RobotSpec, to_dict
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.tuned import TUNED, save_tuned
from ganglion.model.policy.config import config_to_dict
from ganglion.model.policy.context import Context
from ganglion.model.policy.folder import (
    CONFIG,
    NORM,
    ROBOT,
    VL,
    WEIGHTS,
    check_parts,
    load_backbone,
    load_network,
    read_norm,
    read_robot,
    read_vl,
)
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.tensor_file import write_tensors


@dataclass(frozen=True)
class VLAPolicy:
    """A policy and what its numbers mean.

    network   encoder and expert
    robot     whose cameras, sensor, state and actions it knows
    norm      between the robot's units and the network's
    vl        with cameras: the backbone's facts (ganglion.model.backbone), "instruction" and "age_ms", the goal it was
              trained to follow where none is named and the range of ages it knows; else None
    backbone  the loaded backbone, None without cameras, where it was left out, or where features came from a cache
    """

    network: PolicyNetwork
    robot: RobotSpec
    norm: Normalization
    vl: Mapping[str, Any] | None = None
    backbone: Backbone | None = None

    @torch.no_grad()
    def predict(
        self,
        images: Sequence[Mapping[str, ImageLike]] | None,
        instruction: str | Sequence[str] | None = None,
        sensors: npt.NDArray[np.floating] | None = None,
        state: npt.NDArray[np.floating] | None = None,
        *,
        present: npt.NDArray[np.bool_] | None = None,
        vl_age_s: float | Sequence[float] = 0.0,
        noise: npt.NDArray[np.floating] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Decide for B rows.

        Args:
            images: for each row the frame of each camera that has one, by the camera's name: image, array or bytes.
            instruction: the goal in words, one for all rows or one each; None takes the one it was trained to follow.
            sensors: (B, window_samples, channels) in units; None, or NaN all over a row, where nothing was recorded.
            state: (B, state dim) in units; None, or NaN all over a row, where there is none.
            present: (B, window_frames, groups) where only part was recorded; None takes all that is not NaN.
            vl_age_s: seconds from the exposure of the frames to now.
            noise: (B, horizon, action dim) standard normal, from which a flow head starts; None draws it.

        Returns:
            (B, horizon, action dim) in the units of the robot's actions.

        Raises:
            InputError: what the policy reads is missing, has another shape, or is given though it reads none.
        """
        rows = self._rows(images, sensors, state)
        device = next(self.network.parameters()).device
        context = Context()
        if self.network.config.vl_width:
            context = self._see(context, images or [{}] * rows, instruction, vl_age_s)
        if self.network.config.state_dim:
            context = self._know(context, rows, state)
        samples, recorded = self._feel(rows, sensors, present)
        if noise is not None:
            _check_shape("noise", noise, (rows, self.robot.actions.horizon, self.robot.actions.dim))
        start = None if noise is None else torch.as_tensor(noise, dtype=torch.float32, device=device)
        context = Context(*(None if value is None else value.to(device) for value in context))
        moved = (None if value is None else value.to(device) for value in (samples, recorded))
        actions = self.network(*moved, context, start)
        return self.norm.action.denormalize(actions.float().cpu().numpy())

    def save_pretrained(self, folder: Path) -> None:
        """Write the folder (folder.py), each file atomically.

        Raises:
            GanglionError: the disk is full or the folder can't be written.
        """
        write_tensors(folder / WEIGHTS, self.network.state_dict())
        write_json(folder / CONFIG, config_to_dict(self.network.config))
        write_json(folder / ROBOT, to_dict(self.robot))
        write_normalization(folder / NORM, self.norm)
        if self.backbone is not None:
            save_tuned(self.backbone, folder / TUNED)
        if self.vl is not None:
            learned = self.backbone.tuned.mode if self.backbone else self.vl.get("finetune", "none")
            write_json(folder / VL, {**self.vl, "finetune": learned})

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        *,
        device: torch.device | str = "cpu",
        backbone: bool = True,
        vl_precision: str | None = None,
    ) -> VLAPolicy:
        """Load what save_pretrained wrote, in evaluation mode.

        Args:
            folder: the folder.
            device: where it goes.
            backbone: False leaves the backbone out: then `predict` is only for policies without cameras.
            vl_precision: of the backbone; None for the one that the policy was trained with.

        Raises:
            InputError: a file is missing or damaged, what its backbone learned too; files disagree; or the base is not
                the one that the policy was trained on.
        """
        folder = Path(folder)
        network = load_network(folder)
        robot, norm = read_robot(folder), read_norm(folder)
        check_parts(network.config, robot, norm, folder)
        vl = read_vl(folder) if network.config.vl_width else None
        seen = load_backbone(folder, vl, device, vl_precision) if vl is not None and backbone else None
        return cls(network.to(device).eval(), robot, norm, vl, seen)

    def _rows(
        self,
        images: Sequence[Mapping[str, ImageLike]] | None,
        sensors: npt.NDArray[np.floating] | None,
        state: npt.NDArray[np.floating] | None,
    ) -> int:
        """How many rows there are, the same of all that is given."""
        config = self.network.config
        given = {"images": images, "sensors": sensors, "state": state}
        reads = {"images": config.vl_width, "sensors": config.channel_groups, "state": config.state_dim}
        for name, value in given.items():
            if value is not None and not reads[name]:
                raise InputError(f"this policy reads no {name}", where=f"robot {self.robot.name}", remedy="give none")
        counts = {name: len(value) for name, value in given.items() if value is not None}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise InputError(f"has rows {counts}", where="policy input", remedy="give as many of each, at least one")
        return next(iter(counts.values()))

    def _see(
        self,
        context: Context,
        images: Sequence[Mapping[str, ImageLike]],
        instruction: str | Sequence[str] | None,
        vl_age_s: float | Sequence[float],
    ) -> Context:
        if self.backbone is None or self.vl is None:
            raise InputError(
                "was loaded without its backbone", where=f"policy of {self.robot.name}", remedy="load it with backbone"
            )
        cameras, rows = [camera.name for camera in self.robot.cameras], len(images)
        for row, shown in enumerate(images):
            if unknown := sorted(set(shown) - set(cameras)):
                raise InputError(f"row {row} has a camera {unknown[0]!r}", where="images", remedy=f"use {cameras}")
        ordered = [[shown[name] for name in cameras if name in shown] for shown in images]
        goal: str | Sequence[str] = self.vl["instruction"] if instruction is None else instruction
        goals = [goal] * rows if isinstance(goal, str) else list(goal)
        ages_s = np.full(rows, vl_age_s, np.float32) if np.ndim(vl_age_s) == 0 else np.asarray(vl_age_s, np.float32)
        if len(goals) != rows:
            raise InputError(f"has {len(goals)} texts", where="instruction", remedy=f"give one, or {rows}")
        _check_shape("vl_age_s", ages_s, (rows,))
        features, mask = self.backbone.features(ordered, goals)
        return context._replace(vl_features=features, vl_mask=mask, vl_age_s=torch.as_tensor(ages_s))

    def _know(self, context: Context, rows: int, state: npt.NDArray[np.floating] | None) -> Context:
        assert self.norm.state is not None and self.robot.state is not None
        values = np.full((rows, self.robot.state.dim), np.nan) if state is None else np.asarray(state)
        _check_shape("state", values, (rows, self.robot.state.dim))
        known = torch.as_tensor(~np.isnan(values).any(axis=1))
        normal = torch.as_tensor(self.norm.state.normalize(np.nan_to_num(values)))
        return context._replace(state=normal, state_known=known)

    def _feel(
        self, rows: int, sensors: npt.NDArray[np.floating] | None, present: npt.NDArray[np.bool_] | None
    ) -> tuple[Tensor | None, Tensor | None]:
        config = self.network.config
        if not config.channel_groups:
            return None, None
        assert self.norm.sensor is not None
        shape = (rows, config.window_frames * config.hop_samples, config.channels)
        groups = len(config.channel_groups)
        if sensors is None:
            return torch.zeros(shape), torch.zeros(rows, config.window_frames, groups, dtype=torch.bool)
        _check_shape("sensors", sensors, shape)
        normal = torch.as_tensor(self.norm.sensor.normalize(sensors))
        hops = ~torch.isnan(normal).reshape(rows, -1, config.hop_samples, config.channels)
        recorded = torch.stack(
            [part.flatten(2).all(2) for part in torch.split(hops, list(config.channel_groups), dim=3)], dim=2
        )
        if present is not None:
            _check_shape("present", present, tuple(recorded.shape))
            recorded &= torch.as_tensor(present)
        return normal, recorded


def _check_shape(name: str, values: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InputError(f"has shape {values.shape}", where=name, remedy=f"give {shape}")
