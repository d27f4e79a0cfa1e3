"""PolicyNetwork: sensor encoder and action expert as one model, everything normalized.

The backbone that makes VL features is not part of it: it runs at camera rate, this at hop rate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganglion.model.policy.action_expert import ActionExpert
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import Context
from ganglion.model.policy.sensor_encoder import SensorEncoder


class PolicyNetwork(nn.Module):
    """Samples, VL features and state -> normalized action chunk. `encoder` is None where no sensor is read."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SensorEncoder(config) if config.channel_groups else None
        self.expert = ActionExpert(config)

    def forward(
        self, samples: Tensor | None, present: Tensor | None, context: Context, noise: Tensor | None = None
    ) -> Tensor:
        """Encode whole windows and decide at their end.

        Args:
            samples: (B, T, channels); T must cover at least `config.receptive_frames` hops for the answer to be that of
                a long stream. None where no sensor is read, as is the next.
            present: (B, N, groups), see SensorEncoder.stream.
            context: the rest of what the policy reads; its frames and present are filled in here.
            noise: as for ActionExpert.

        Returns:
            (B, horizon, action_dim) normalized.
        """
        if samples is not None and present is not None:
            felt = (present > 0).flatten(1).any(dim=1)
            frames, present = self.encode(samples[felt], present[felt], felt)
            count = self.config.read_frames
            context = context._replace(frames=frames[:, -count:], present=present[:, -count:])
        actions: Tensor = self.expert(context, noise)
        return actions

    def encode(self, samples: Tensor, present: Tensor, felt: Tensor) -> tuple[Tensor, Tensor]:
        """Windows of the rows that have any -> frames (B, N, width) and present (B, N, groups) of all rows.

        Those in which nothing was recorded are encoded once for all.

        Args:
            samples: (S, T, channels) of the rows where `felt`, in their order.
            present: (S, N, groups) of the same.
            felt: (B,) bool, S of them True.
        """
        assert self.encoder is not None
        if bool(felt.all()):
            return self.encoder(samples, present), present
        place = torch.where(felt, felt.cumsum(0) - 1, len(samples))
        nothing = samples.new_zeros(1, *samples.shape[1:]), present.new_zeros(1, *present.shape[1:])
        frames = self.encoder(*nothing)
        if len(samples):
            frames = torch.cat([self.encoder(samples, present), frames])
        return frames[place], torch.cat([present, nothing[1]])[place]
