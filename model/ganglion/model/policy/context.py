"""What the action expert reads, as tokens of one width: sensor frames, VL tokens, and the robot's state.

B rows, K read frames, G channel groups, T VL tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.transformer import MASKED

_AGE_SCALE_S = 0.1  # about one camera frame and a backbone pass: ages come out of order one


class Context(NamedTuple):
    """Everything that is known when a chunk is decided; None for what the policy does not read.

    frames        (B, K, width) float32, the encoder's newest frames, oldest first
    present       (B, K, G) bool or float, nonzero where the hop of that frame was recorded, by channel group
    vl_features   (B, T, vl_width) float32
    vl_mask       (B, T) bool or float, nonzero where a token is real; a row without any has no picture
    vl_age_s      (B,) float32, seconds from the frame's exposure to the newest sample
    state         (B, state_dim) float32, normalized
    state_known   (B,) bool or float, nonzero where there is one
    """

    frames: Tensor | None = None
    present: Tensor | None = None
    vl_features: Tensor | None = None
    vl_mask: Tensor | None = None
    vl_age_s: Tensor | None = None
    state: Tensor | None = None
    state_known: Tensor | None = None


def context_fields(config: PolicyConfig) -> tuple[str, ...]:
    """Names of the fields of Context that a policy reads, in their order."""
    fields: tuple[str, ...] = ()
    if config.channel_groups:
        fields += ("frames", "present")
    if config.vl_width:
        fields += ("vl_features", "vl_mask", "vl_age_s")
    if config.state_dim:
        fields += ("state", "state_known")
    return fields


class ContextTokens(nn.Module):
    """Context -> tokens.

    Sensor frames carry a position and what of them was recorded. VL tokens carry a learned position (the backbone's
    hidden states hold only relative ones) and an embedding of their age, so that the expert can discount what the
    camera saw long ago. The position is added and also multiplied in: then even uniform attention says where something
    was. Pointing at a mark, after 150 steps on the offline base, the error is 0.33 with it and 0.76 without, the mean's
    being 0.82. One token is always there: the state, or what stands for its absence.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        if config.channel_groups:
            self.frame_position = nn.Parameter(0.02 * torch.randn(config.read_frames, width))
            self.present = nn.Parameter(0.02 * torch.randn(len(config.channel_groups), width))
        if config.vl_width:
            self.vl_norm = nn.LayerNorm(config.vl_width)
            self.vl_project = nn.Linear(config.vl_width, width)
            self.vl_position = nn.Parameter(0.02 * torch.randn(config.vl_positions, width))
            self.vl_position_gain = nn.Parameter(torch.randn(config.vl_positions, width))
            self.vl_age = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        if config.state_dim:
            self.state = nn.Linear(config.state_dim, width)
        self.no_state = nn.Parameter(0.02 * torch.randn(width))

    def ignore_age(self) -> None:
        """Let ages make no difference, now and after training: to see what they are worth."""
        for parameter in self.vl_age[-1].parameters():
            nn.init.zeros_(parameter)
        self.vl_age.requires_grad_(False)

    def check(self, context: Context) -> None:
        """See that a context holds what the policy reads, and nothing else.

        Raises:
            ValueError: naming the field.
        """
        for name in Context._fields:
            given, read = getattr(context, name) is not None, name in context_fields(self.config)
            if given != read:
                raise ValueError(f"this policy {'needs' if read else 'does not read'} {name}")

    def sensor(self, context: Context) -> Tensor:
        """Tokens of the sensor frames: (B, K, width)."""
        assert context.frames is not None and context.present is not None
        recorded = (context.present > 0).to(self.present.dtype) @ self.present
        tokens: Tensor = context.frames + self.frame_position + recorded
        return tokens

    def others(self, context: Context, batch: int) -> tuple[Tensor, Tensor]:
        """Tokens of state and picture: (B, 1 + T, width), and what to add to attention scores, (B, 1, 1, 1 + T)."""
        tokens = self.no_state.expand(batch, 1, -1)
        if context.state is not None and context.state_known is not None:
            known = (context.state_known > 0)[:, None, None]
            tokens = torch.where(known, self.state(torch.where(known[:, 0], context.state, 0.0))[:, None], tokens)
        scores = tokens.new_zeros(batch, 1)
        if context.vl_features is not None and context.vl_mask is not None and context.vl_age_s is not None:
            tokens = torch.cat([tokens, self._vl(context.vl_features, context.vl_age_s)], dim=1)
            scores = torch.cat([scores, torch.where(context.vl_mask > 0, 0.0, MASKED)], dim=1)
        return tokens, scores[:, None, None]

    def _vl(self, features: Tensor, age_s: Tensor) -> Tensor:
        index = torch.arange(features.shape[1], device=features.device).clamp(max=self.config.vl_positions - 1)
        age = self.vl_age(age_s[:, None] / _AGE_SCALE_S)
        seen = self.vl_project(self.vl_norm(features)) * self.vl_position_gain[index]
        tokens: Tensor = seen + self.vl_position[index] + age[:, None]
        return tokens
