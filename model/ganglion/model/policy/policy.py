"""VLAPolicy: what a robot sees, feels and is told to do becomes an action chunk, in real units; saved as one folder.

model.safetensors  config.json    encoder and expert (network.py)
robot.json  norm.json             what its numbers mean
vl.json  backbone/                with cameras: which backbone, and what of it was learned
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.errors import BundleError, InputError
from ganglion.core.images import ImageLike
from ganglion.core.normalization import Normalization, Scale, read_normalization, write_normalization
from ganglion.core.paths import read_json, write_json
from ganglion.core.specs import RobotSpec, robot_from_dict, to_dict
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import read_facts
from ganglion.model.backbone.tuned import TUNED, load_tuned, save_tuned
from ganglion.model.checkpoint import base_hash, resolve_base
from ganglion.model.policy.config import PolicyConfig, config_to_dict, read_config
from ganglion.model.policy.context import Context
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.tensor_file import open_tensors, write_tensors

WEIGHTS, CONFIG, ROBOT, NORM, VL = "model.safetensors", "config.json", "robot.json", "norm.json", "vl.json"
_TRAINED = "give a folder that 'ganglion train policy' wrote"
_COPY = "copy the folder again or train the policy again"


@dataclass(frozen=True)
class VLAPolicy:
    """A policy and what its numbers mean.

    network   encoder and expert
    robot     whose cameras, sensor, state and actions it knows
    norm      between the robot's units and the network's
    vl        with cameras: the backbone's facts (ganglion.model.backbone), "instruction" and "age_ms", the goal it was
              trained to follow where none is named and the range of ages it knows; else None
    backbone  the loaded backbone, None without cameras or where it was left out
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
            assert self.norm.state is not None and self.robot.state is not None
            values = np.full((rows, self.robot.state.dim), np.nan) if state is None else np.asarray(state)
            _check_shape("state", values, (rows, self.robot.state.dim))
            known = ~np.isnan(values).any(axis=1)
            values = self.norm.state.normalize(np.nan_to_num(values))
            context = context._replace(state=torch.as_tensor(values), state_known=torch.as_tensor(known))
        samples, recorded = self._feel(rows, sensors, present)
        start = None if noise is None else torch.as_tensor(noise, dtype=torch.float32, device=device)
        context = Context(*(None if value is None else value.to(device) for value in context))
        moved = (None if value is None else value.to(device) for value in (samples, recorded))
        actions = self.network(*moved, context, start)
        return self.norm.action.denormalize(actions.float().cpu().numpy())

    def save_pretrained(self, folder: Path) -> None:
        """Write the folder, each file atomically."""
        write_tensors(folder / WEIGHTS, self.network.state_dict())
        write_json(folder / CONFIG, config_to_dict(self.network.config))
        write_json(folder / ROBOT, to_dict(self.robot))
        write_normalization(folder / NORM, self.norm)
        if self.vl is not None:
            write_json(folder / VL, dict(self.vl))
        if self.backbone is not None:
            save_tuned(self.backbone, folder / TUNED)

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
            InputError: a file is missing or damaged, weights and config disagree, or the base is not the one that the
                policy was trained on.
        """
        folder = Path(folder)
        network = load_network(folder)
        robot = robot_from_dict(read_json(folder / ROBOT, _TRAINED), folder / ROBOT)
        vl = read_json(folder / VL, _TRAINED) if network.config.vl_width else None
        norm = _read_norm(folder / NORM)
        _check_robot(network.config, robot, norm, folder)
        seen = _load_backbone(folder, vl, device, vl_precision) if vl is not None and backbone else None
        return cls(network.to(device).eval(), robot, norm, vl, seen)

    def _rows(self, images: Any, sensors: Any, state: Any) -> int:
        config = self.network.config
        given = {"images": images, "sensors": sensors, "state": state}
        reads = {"images": config.vl_width, "sensors": config.channel_groups, "state": config.state_dim}
        for name, value in given.items():
            if value is not None and not reads[name]:
                raise InputError(f"this policy reads no {name}", where=f"robot {self.robot.name}", remedy="give none")
        counts = {name: len(value) for name, value in given.items() if value is not None}
        if not counts or len(set(counts.values())) != 1:
            raise InputError(f"has rows {counts}", where="policy input", remedy="give as many of each, at least one")
        return next(iter(counts.values()))

    def _see(
        self, context: Context, images: Sequence[Mapping[str, ImageLike]], instruction: Any, vl_age_s: Any
    ) -> Context:
        if self.backbone is None or self.vl is None:
            raise InputError("was loaded without its backbone", where=f"policy of {self.robot.name}")
        cameras = [camera.name for camera in self.robot.cameras]
        for row, shown in enumerate(images):
            if unknown := sorted(set(shown) - set(cameras)):
                raise InputError(f"row {row} has a camera {unknown[0]!r}", where="images", remedy=f"use {cameras}")
        ordered = [[shown[name] for name in cameras if name in shown] for shown in images]
        goal = self.vl["instruction"] if instruction is None else instruction
        goals = [goal] * len(images) if isinstance(goal, str) else list(goal)
        features, mask = self.backbone.features(ordered, goals)
        ages = torch.as_tensor(np.broadcast_to(np.asarray(vl_age_s, np.float32), (len(images),)).copy())
        return context._replace(vl_features=features, vl_mask=mask, vl_age_s=ages)

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


def load_network(folder: Path) -> PolicyNetwork:
    """Encoder and expert alone, of a policy's folder.

    Raises:
        InputError: a file is missing or damaged, or weights and config disagree.
    """
    network, where = PolicyNetwork(read_config(folder / CONFIG)), folder / WEIGHTS
    tensors, _ = open_tensors(where)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"doesn't fit {CONFIG} ({reason})", where=where, remedy=_COPY) from None
    return network


def _load_backbone(folder: Path, vl: Mapping[str, Any], device: torch.device | str, precision: str | None) -> Backbone:
    facts, where = read_facts(vl, folder / VL), folder / VL
    if missing := [name for name in ("instruction", "age_ms") if name not in vl]:
        raise InputError(f"has no key {missing[0]!r}", where=where, remedy="train the policy again")
    if (found := base_hash(resolve_base(facts.base))) != facts.base_hash:
        raise InputError(
            f"was trained on another base: {facts.base!r} has hash {found[:12]}, the policy wants"
            f" {facts.base_hash[:12]}",
            where=folder,
            remedy="restore that base, or train the policy again",
        )
    backbone = Backbone(replace(facts, vl_precision=precision or facts.vl_precision), device)
    if (folder / TUNED).is_dir():
        load_tuned(backbone, folder / TUNED)
    return backbone.eval()


def _read_norm(path: Path) -> Normalization:
    try:
        return read_normalization(path)
    except BundleError as error:
        raise InputError(error.what, where=path, remedy=_COPY) from None


def _check_robot(config: PolicyConfig, robot: RobotSpec, norm: Normalization, folder: Path) -> None:
    """See that network, robot and scales are of one size."""
    sensor = robot.sensors[0] if robot.sensors else None
    groups = tuple(group.channels for group in sensor.groups) if sensor else ()
    sizes = {
        "action dimensions": (config.action_dim, robot.actions.dim, len(norm.action.mean)),
        "state dimensions": (config.state_dim, robot.state.dim if robot.state else 0, _length(norm.state)),
        "sensor channels": (config.channels, sum(groups) if config.channel_groups else 0, _length(norm.sensor)),
        "channel groups": (len(config.channel_groups), len(groups) if config.channel_groups else 0),
        "cameras": (bool(config.vl_width), bool(robot.cameras)),
    }
    for name, found in sizes.items():
        if len(set(found)) > 1:
            raise InputError(
                f"{CONFIG}, {ROBOT} and {NORM} disagree on {name} ({', '.join(map(str, found))})",
                where=folder,
                remedy="train the policy for this robot",
            )


def _length(scale: Scale | None) -> int:
    return 0 if scale is None else len(scale.mean)


def _check_shape(name: str, values: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InputError(f"has shape {values.shape}", where=name, remedy=f"give {shape}")
