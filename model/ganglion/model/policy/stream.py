"""SensorStream: one robot's samples as they arrive, in pieces of any length, with what the expert reads of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ganglion.model.policy.sensor_encoder import SensorEncoder


class SensorStream:
    """Carries an encoder's state from piece to piece.

    `frames` (1, K, width) and `present` (1, K, groups) are the newest that there are, zeros and False before the first.
    """

    def __init__(self, encoder: SensorEncoder) -> None:
        self._encoder, self._config = encoder, encoder.config
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first."""
        config, like = self._config, self._encoder.project.weight
        self._state = self._encoder.fresh_state(1)
        self._waiting = like.new_zeros(1, 0, config.channels)
        self._recorded = torch.ones(len(config.channel_groups), dtype=torch.bool, device=like.device)
        self.frames = like.new_zeros(1, config.read_frames, config.width)
        self.present = torch.zeros(1, config.read_frames, len(self._recorded), dtype=torch.bool, device=like.device)

    @torch.no_grad()
    def push(self, samples: Tensor, present: Tensor | None = None) -> int:
        """Take samples and encode the hops that are whole now.

        Args:
            samples: (n, channels) normalized, n >= 0.
            present: (groups,) bool, which channel groups these were recorded of; None for all. A hop counts as recorded
                where all of its samples are.

        Returns:
            how many new frames there are.
        """
        hop, new = self._config.hop_samples, 0
        given = torch.ones_like(self._recorded) if present is None else present
        while len(samples):
            room = hop - self._waiting.shape[1]
            # Whole hops go together where nothing waits; what is left of one waits alone.
            count = len(samples) // hop * hop if room == hop and len(samples) >= hop else min(room, len(samples))
            self._waiting = torch.cat([self._waiting, samples[None, :count]], dim=1)
            self._recorded, samples = self._recorded & given, samples[count:]
            if self._waiting.shape[1] % hop == 0:
                new += self._encode(self._waiting.shape[1] // hop)
        return new

    def _encode(self, hops: int) -> int:
        present = self._recorded.expand(1, hops, -1)
        frames, self._state = self._encoder.stream(self._waiting, present, self._state)
        keep = self._config.read_frames
        self.frames = torch.cat([self.frames, frames], dim=1)[:, -keep:]
        self.present = torch.cat([self.present, present], dim=1)[:, -keep:]
        self._waiting, self._recorded = self._waiting[:, :0], torch.ones_like(self._recorded)
        return hops
