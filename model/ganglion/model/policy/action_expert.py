"""The action expert: the newest sensor frames and the VL features become one action chunk by regression."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.transformer import MASKED, Block, draw_weights

_AGE_SCALE_S = 0.1  # about one camera frame and a backbone pass: ages come out of order one


class ActionExpert(nn.Module):
    """Concat fusion: K sensor frames, the VL tokens and one query per row of the chunk mix in transformer blocks.

    VL tokens carry a learned position (the backbone's hidden states hold only relative ones) and an embedding of their
    age, so that the expert can discount what the camera saw long ago. The position is added and also multiplied in:
    then even uniform attention says where something was. Pointing at a mark, after 150 steps on the offline base, the
    error is 0.33 with it and 0.76 without, the mean's being 0.82.
    With fusion "none" there are no VL tokens.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.frame_position = nn.Parameter(0.02 * torch.randn(config.read_frames, width))
        self.query = nn.Parameter(0.02 * torch.randn(config.horizon, width))
        if config.fusion == "concat":
            self.vl_norm = nn.LayerNorm(config.vl_width)
            self.vl_project = nn.Linear(config.vl_width, width)
            self.vl_position = nn.Parameter(0.02 * torch.randn(config.vl_positions, width))
            self.vl_position_gain = nn.Parameter(torch.randn(config.vl_positions, width))
            self.vl_age = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.expert_layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.action_dim)
        self.apply(draw_weights)

    def forward(
        self,
        frames: Tensor,
        vl_features: Tensor | None = None,
        vl_mask: Tensor | None = None,
        vl_age_s: Tensor | None = None,
    ) -> Tensor:
        """Decide what to do.

        Args:
            frames: (B, read_frames, width), the encoder's newest frames, oldest first.
            vl_features: (B, T, vl_width) float32; with fusion "concat" only, as are the two below.
            vl_mask: (B, T) bool or float, nonzero where a token is real.
            vl_age_s: (B,) float32, seconds from the frame's exposure to the newest sample.

        Returns:
            (B, horizon, action_dim) float32, normalized.

        Raises:
            ValueError: VL inputs are missing though the fusion needs them, or given though it has none.
        """
        batch, horizon = frames.shape[0], self.config.horizon
        tokens = [frames + self.frame_position]
        scores = None
        given = [value is not None for value in (vl_features, vl_mask, vl_age_s)]
        if self.config.fusion == "none":
            if any(given):
                raise ValueError("this policy has no cameras: give frames only")
        elif vl_features is None or vl_mask is None or vl_age_s is None:
            raise ValueError("this policy needs vl_features, vl_mask and vl_age_s")
        else:
            tokens.append(self._vl_tokens(vl_features, vl_age_s))
            scores = self._scores(vl_mask)
        tokens.append(self.query.expand(batch, -1, -1))
        mixed = torch.cat(tokens, dim=1)
        for block in self.blocks:
            mixed, _ = block(mixed, scores)
        actions: Tensor = self.out(self.norm(mixed[:, -horizon:]))
        return actions

    def _vl_tokens(self, vl_features: Tensor, vl_age_s: Tensor) -> Tensor:
        index = torch.arange(vl_features.shape[1], device=vl_features.device)
        index = index.clamp(max=self.config.vl_positions - 1)
        age = self.vl_age(vl_age_s[:, None] / _AGE_SCALE_S)
        seen = self.vl_project(self.vl_norm(vl_features)) * self.vl_position_gain[index]
        tokens: Tensor = seen + self.vl_position[index] + age[:, None]
        return tokens

    def _scores(self, vl_mask: Tensor) -> Tensor:
        """(B, 1, 1, K + T + horizon): nobody looks at VL tokens that are padding."""
        vl = torch.where(vl_mask > 0, 0.0, MASKED)
        before = vl.new_zeros(vl.shape[0], self.config.read_frames)
        after = vl.new_zeros(vl.shape[0], self.config.horizon)
        return torch.cat([before, vl, after], dim=1)[:, None, None]
