"""Every number that shapes a policy, checked before a weight exists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec

Fusion = Literal["concat", "none"]
Size = Literal["tiny", "slim", "small", "base"]


@dataclass(frozen=True)
class PolicyConfig:
    """The shape of a VLAPolicy.

    channel_groups    channels of each group of one sensor sample, in order
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
    fusion            "concat": VL tokens join the expert's sequence; "none": a robot without cameras
    vl_width          features of a VL token, 0 without fusion
    vl_positions      VL tokens that get a position of their own; later ones share the last

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
    vl_width: int = 0
    vl_positions: int = 128

    def __post_init__(self) -> None:
        where = "policy config"
        object.__setattr__(self, "channel_groups", tuple(self.channel_groups))  # JSON knows lists only
        if not self.channel_groups or not all(isinstance(n, int) and n >= 1 for n in self.channel_groups):
            raise InputError(f"channel_groups is {self.channel_groups}", where=where, remedy="give channels per group")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("channel_groups", "fusion", "vl_width") and not (
                isinstance(value, int) and value >= 1
            ):
                raise InputError(f"{field.name} is {value!r}", where=where, remedy="give a whole number of at least 1")
        if self.width % self.heads:
            raise InputError(f"width {self.width} is not divisible by {self.heads} heads", where=where)
        if self.attention_frames < 2:
            raise InputError("attention_frames is 1", where=where, remedy="let a layer see at least 2 frames")
        if self.fusion not in ("concat", "none"):
            raise InputError(f"fusion is {self.fusion!r}", where=where, remedy="use 'concat' or 'none'")
        if (self.fusion == "none") != (self.vl_width == 0):
            raise InputError(
                f"fusion {self.fusion!r} contradicts vl_width {self.vl_width}",
                where=where,
                remedy="give the backbone's width with 'concat' and 0 with 'none'",
            )
        if self.receptive_frames > self.window_frames:
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
_SIZES: Mapping[Size, Mapping[str, int]] = {
    "tiny": {"width": 64, "layers": 2, "heads": 4, "attention_frames": 11, "expert_layers": 2},
    "slim": {"width": 64, "layers": 4, "heads": 4, "attention_frames": 11, "expert_layers": 2},
    "small": {"width": 192, "layers": 4, "heads": 4, "attention_frames": 11, "expert_layers": 2},
    "base": {"width": 576, "layers": 6, "heads": 8, "attention_frames": 7, "expert_layers": 4},
}


def policy_config(robot: RobotSpec, size: Size = "small", *, vl_width: int = 0, read_frames: int = 8) -> PolicyConfig:
    """The config of a named size for a robot; `vl_width` 0 means no fusion with VL features.

    Raises:
        InputError: unknown size, not exactly one sensor, or a window too short for the size.
    """
    if size not in _SIZES:
        raise InputError(f"unknown policy size {size!r}", remedy=f"use one of {list(_SIZES)}")
    if len(robot.sensors) != 1:
        raise InputError(f"has {len(robot.sensors)} sensors", where=f"robot {robot.name}", remedy="declare exactly one")
    sensor = robot.sensors[0]
    return PolicyConfig(
        channel_groups=tuple(group.channels for group in sensor.groups),
        hop_samples=sensor.hop_samples,
        window_frames=sensor.window_frames,
        horizon=robot.actions.horizon,
        action_dim=robot.actions.dim,
        read_frames=read_frames,
        fusion="concat" if vl_width else "none",
        vl_width=vl_width,
        **_SIZES[size],
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
