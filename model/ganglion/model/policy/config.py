"""Every number that shapes a policy, checked before a weight exists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec

Fusion = Literal["concat", "cross_attention", "gated", "none"]
Head = Literal["regression", "flow"]
Size = Literal["tiny", "slim", "small", "base"]
FUSIONS, HEADS, SIZES = get_args(Fusion), get_args(Head), get_args(Size)


@dataclass(frozen=True)
class PolicyConfig:
    """The shape of a PolicyNetwork.

    channel_groups    channels of each group of one sensor sample, in order; empty where no sensor is read
    hop_samples       samples per encoder frame: the stride of the causal convolution
    window_frames     frames in one sensor window; what the expert reads must depend on no more than these
    horizon           rows of an action chunk
    action_dim        dimensions of an action
    width             features of an encoder frame, and of every token in the expert
    layers            attention layers of the encoder
    heads             attention heads, in encoder and expert
    attention_frames  W: frames a layer of the encoder sees, the newest included
    read_frames       K: newest frames that the expert reads
    expert_layers     transformer blocks of the expert
    fusion            how sensor frames meet the rest of the context; see action_expert.py. "none": no sensor is read
    head              "regression" says the chunk at once, "flow" brings it about from noise by flow matching
    flow_steps        Euler steps from noise to chunk
    vl_width          features of a VL token, 0 for a robot without cameras
    vl_positions      VL tokens that get a position of their own; later ones share the last
    state_dim         dimensions of the robot's state, 0 for a robot that reports none

    Raises:
        InputError: the numbers contradict each other.
    """

    channel_groups: tuple[int, ...]
    hop_samples: int
    window_frames: int
    horizon: int
    action_dim: int
    width: int
    layers: int
    heads: int
    attention_frames: int
    read_frames: int
    expert_layers: int
    fusion: Fusion = "concat"
    head: Head = "regression"
    flow_steps: int = 10
    vl_width: int = 0
    vl_positions: int = 128
    state_dim: int = 0

    def __post_init__(self) -> None:
        where = "policy config"
        object.__setattr__(self, "channel_groups", tuple(self.channel_groups))  # JSON knows lists only
        if not all(isinstance(n, int) and n >= 1 for n in self.channel_groups):
            raise InputError(f"channel_groups is {self.channel_groups}", where=where, remedy="give channels per group")
        for field in fields(self):
            value, low = getattr(self, field.name), 0 if field.name in ("vl_width", "state_dim") else 1
            if field.name not in ("channel_groups", "fusion", "head") and not (isinstance(value, int) and value >= low):
                raise InputError(
                    f"{field.name} is {value!r}", where=where, remedy=f"give a whole number of at least {low}"
                )
        if self.width % self.heads:
            raise InputError(f"width {self.width} is not divisible by {self.heads} heads", where=where)
        if self.attention_frames < 2:
            raise InputError("attention_frames is 1", where=where, remedy="let a layer see at least 2 frames")
        for name, value, known in (("fusion", self.fusion, FUSIONS), ("head", self.head, HEADS)):
            if value not in known:
                raise InputError(f"{name} is {value!r}", where=where, remedy=f"use one of {', '.join(known)}")
        if (self.fusion == "none") != (not self.channel_groups):
            raise InputError(
                f"fusion {self.fusion!r} contradicts channel_groups {list(self.channel_groups)}",
                where=where,
                remedy="give a fusion for a policy that reads a sensor, and 'none' for one that doesn't",
            )
        if not (self.channel_groups or self.vl_width or self.state_dim):
            raise InputError("reads nothing", where=where, remedy="give it a sensor, a camera or a state")
        if self.channel_groups and self.receptive_frames > self.window_frames:
            raise InputError(
                f"{self.read_frames} read frames, {self.layers} layers of {self.attention_frames} frames and the"
                f" convolution reach back {self.receptive_frames} frames, a window holds {self.window_frames}",
                where=where,
                remedy="lower read_frames, layers or attention_frames so that K + L*(W-1) + 1 fits",
            )

    @property
    def channels(self) -> int:
        """Channels of one sensor sample."""
        return sum(self.channel_groups)

    @property
    def receptive_frames(self) -> int:
        """Frames on which what the expert reads depends: K + L*(W-1), and one for the convolution's look-back."""
        return self.read_frames + self.layers * (self.attention_frames - 1) + 1

    @property
    def head_width(self) -> int:
        """Features of one attention head."""
        return self.width // self.heads


# Encoder parameters at 1026 channels: tiny 0.3 M (tests), slim 0.4 M, small 3 M, base 33 M.
_SHAPES: Mapping[Size, Mapping[str, int]] = {
    "tiny": {"width": 64, "layers": 2, "heads": 4, "attention_frames": 11, "expert_layers": 2},
    "slim": {"width": 64, "layers": 4, "heads": 4, "attention_frames": 11, "expert_layers": 2},
    "small": {"width": 192, "layers": 4, "heads": 4, "attention_frames": 11, "expert_layers": 2},
    "base": {"width": 576, "layers": 6, "heads": 8, "attention_frames": 7, "expert_layers": 4},
}


def policy_config(
    robot: RobotSpec,
    size: Size = "small",
    *,
    vl_width: int = 0,
    fusion: Fusion = "concat",
    head: Head = "regression",
    flow_steps: int = 10,
    read_frames: int = 8,
) -> PolicyConfig:
    """The config of a named size for a robot.

    Args:
        robot: its sensor, state and actions give the shapes.
        size: of encoder and expert.
        vl_width: features of a VL token; 0 for a robot without cameras.
        fusion: with "none" a sensor that the robot has is not read; a robot without one needs it.
        head: how chunks come about.
        flow_steps: of a flow head.
        read_frames: newest encoder frames that the expert reads.

    Raises:
        InputError: unknown size, more than one sensor, or a window too short for the size.
    """
    if size not in SIZES:
        raise InputError(f"size is {size!r}", where="policy config", remedy=f"use one of {', '.join(SIZES)}")
    if len(robot.sensors) > 1:
        raise InputError(
            f"has {len(robot.sensors)} sensors",
            where=f"robot {robot.name}",
            remedy="declare one, with what is sampled together as its channel groups",
        )
    sensor = robot.sensors[0] if robot.sensors and fusion != "none" else None
    return PolicyConfig(
        channel_groups=tuple(group.channels for group in sensor.groups) if sensor else (),
        hop_samples=sensor.hop_samples if sensor else 1,
        window_frames=sensor.window_frames if sensor else 1,
        horizon=robot.actions.horizon,
        action_dim=robot.actions.dim,
        read_frames=read_frames,
        fusion=fusion,
        head=head,
        flow_steps=flow_steps,
        vl_width=vl_width,
        state_dim=robot.state.dim if robot.state else 0,
        **_SHAPES[size],
    )


def config_to_dict(config: PolicyConfig) -> dict[str, Any]:
    """The config as plain JSON data."""
    return asdict(config)


def read_config(path: Path) -> PolicyConfig:
    """Read a config.json.

    Raises:
        InputError: the file is missing, not JSON, or not a policy's config.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return PolicyConfig(**data)
    except FileNotFoundError:
        raise InputError("is missing", where=path, remedy="give a folder that 'ganglion train policy' wrote") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"is no policy config ({error})", where=path, remedy="train the policy again") from None
