"""The folder of a policy: what each file is, read and checked against the others.

model.safetensors  config.json    encoder and expert (network.py)
robot.json  norm.json             what its numbers mean
vl.json                           with cameras: which backbone, the goal, the ages of features, and what of it learned
backbone/                         where any of it did (ganglion.model.backbone.tuned)
moments.safetensors               real moments, where training kept any (kept_moments.py)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ganglion.core.errors import BundleError, InputError
from ganglion.core.normalization import Normalization, Scale, read_normalization
from ganglion.core.paths import read_json
from ganglion.core.specs import RobotSpec, robot_from_dict
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import read_facts
from ganglion.model.backbone.tuned import TUNED, load_tuned
from ganglion.model.checkpoint import base_hash, resolve_base
from ganglion.model.policy.config import PolicyConfig, read_config
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.tensor_file import open_tensors

WEIGHTS, CONFIG, ROBOT, NORM, VL = "model.safetensors", "config.json", "robot.json", "norm.json", "vl.json"
_TRAINED = "give a folder that 'ganglion train policy' wrote"
_COPY = "copy the folder again or train the policy again"


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


def read_robot(folder: Path) -> RobotSpec:
    """The robot a policy is for.

    Raises:
        InputError: the file is missing or damaged.
    """
    return robot_from_dict(read_json(folder / ROBOT, _TRAINED), folder / ROBOT)


def read_norm(folder: Path) -> Normalization:
    """The scales between the robot's units and the network's.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return read_normalization(folder / NORM)
    except BundleError as error:
        raise InputError(error.what, where=folder / NORM, remedy=_COPY) from None


def read_vl(folder: Path) -> dict[str, Any]:
    """What a policy with cameras knows of its backbone, see VLAPolicy; and "finetune", what of it learned.

    Raises:
        InputError: the file is missing or damaged.
    """
    vl = read_json(folder / VL, _TRAINED)
    if missing := [name for name in ("instruction", "age_ms", "finetune") if name not in vl]:
        raise InputError(f"has no key {missing[0]!r}", where=folder / VL, remedy="train the policy again")
    return vl


def tuned_folder(folder: Path, vl: Mapping[str, Any]) -> Path | None:
    """Where that lies which a policy's backbone learned; None if it was frozen.

    Args:
        folder: of the policy.
        vl: from `read_vl`.

    Raises:
        InputError: it isn't there. Without it the policy would decide by features that it never saw.
    """
    if vl["finetune"] == "none":
        return None
    if not (folder / TUNED).is_dir():
        raise InputError(f"is missing: the backbone learned ({vl['finetune']})", where=folder / TUNED, remedy=_COPY)
    return folder / TUNED


def load_backbone(
    folder: Path, vl: Mapping[str, Any], device: torch.device | str = "cpu", precision: str | None = None
) -> Backbone:
    """The backbone of a policy with all it learned, in evaluation mode.

    Args:
        folder: of the policy.
        vl: from `read_vl`.
        device: where it goes.
        precision: of its weights; None for that of training.

    Raises:
        InputError: the base is another one than in training, or what was learned is missing or damaged.
    """
    facts, tuned = read_facts(vl, folder / VL), tuned_folder(folder, vl)
    if (found := base_hash(resolve_base(facts.base))) != facts.base_hash:
        raise InputError(
            f"was trained on another base: {facts.base!r} has hash {found[:12]}, the policy wants"
            f" {facts.base_hash[:12]}",
            where=folder,
            remedy="restore that base, or train the policy again",
        )
    backbone = Backbone(replace(facts, vl_precision=precision or facts.vl_precision), device)
    if tuned is not None:
        load_tuned(backbone, tuned)
    return backbone.eval()


def check_parts(config: PolicyConfig, robot: RobotSpec, norm: Normalization, folder: Path) -> None:
    """See that network, robot and scales are of one size.

    Raises:
        InputError: naming what they disagree on.
    """
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
