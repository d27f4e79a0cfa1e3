"""The action expert: from what the sensor, the cameras and the robot itself say to one action chunk.

Two heads. `regression` says the chunk at once. `flow` (flow matching, Lipman et al. 2023) brings it about from noise in
some Euler steps, all of which read the same worked-out context. The network says the chunk it is heading for, not the
velocity: the velocity follows, and the last step lands on what the network said (Li and He 2025 give the reasons).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import Context, context_fields
from ganglion.model.policy.fusion import Concat, Cross, Memory
from ganglion.model.policy.transformer import draw_weights

_TIME_WAVES = 16


class ActionExpert(nn.Module):
    """See the module."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.fusion: Concat | Cross = Concat(config) if config.fusion == "concat" else Cross(config)
        # As large as what a flow adds to it: at 0.02 rows were told apart so late that 32 moments had 0.06 of their
        # first loss left after 400 steps, where they have less than 0.01 now.
        self.query = nn.Parameter(torch.randn(config.horizon, width))
        if config.head == "flow":
            self.noisy = nn.Linear(config.action_dim, width)
            self.time = nn.Sequential(nn.Linear(2 * _TIME_WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.action_dim)
        self.apply(draw_weights)

    def forward(self, context: Context, noise: Tensor | None = None) -> Tensor:
        """Decide what to do.

        Args:
            context: of B rows, with all that the policy reads.
            noise: (B, horizon, action_dim) float32 that a flow head starts from; drawn where it is None.

        Returns:
            (B, horizon, action_dim) float32, normalized.

        Raises:
            ValueError: the context lacks something or holds what the policy does not read.
        """
        memory = self.remember(context)
        if self.config.head == "regression":
            return self.decide(memory, self._batch(context))
        if noise is None:
            shape = (self._batch(context), self.config.horizon, self.config.action_dim)
            noise = torch.randn(shape, device=self.query.device, dtype=self.query.dtype)
        chunk, steps = noise, self.config.flow_steps
        for step in range(steps):
            time = noise.new_full((noise.shape[0],), step / steps)
            chunk = chunk + (self.decide(memory, noise.shape[0], chunk, time) - chunk) / (steps - step)
        return chunk

    def remember(self, context: Context) -> Memory:
        """Work a context out, for any number of `decide`.

        Raises:
            ValueError: as `forward`.
        """
        self.fusion.tokens.check(context)
        memory: Memory = self.fusion.remember(context, self._batch(context))
        return memory

    def decide(self, memory: Memory, batch: int, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """The chunk that the network says: (B, horizon, action_dim) normalized.

        Args:
            memory: from `remember`.
            batch: B, its rows.
            noisy: (B, horizon, action_dim), a flow's chunk so far: time * chunk + (1 - time) * noise. None in
                regression, as is the next.
            time: (B,) from 0, all noise, to 1.
        """
        tokens = self.query.expand(batch, -1, -1)
        if noisy is not None and time is not None:
            tokens = tokens + self.noisy(noisy) + self.time(_waves(time))[:, None]
        actions: Tensor = self.out(self.norm(self.fusion(tokens, memory)))
        return actions

    def _batch(self, context: Context) -> int:
        first: Any = getattr(context, context_fields(self.config)[0])
        # While a graph is exported the size is a symbol, which int() would fix.
        return int(first.shape[0]) if not torch.compiler.is_exporting() else first.shape[0]


def _waves(time: Tensor) -> Tensor:
    """Times (B,) in 0 to 1 as sines and cosines of geometrically growing frequency, (B, 2 * _TIME_WAVES)."""
    frequency = torch.exp(torch.linspace(0.0, math.log(100.0), _TIME_WAVES, device=time.device, dtype=time.dtype))
    angle = time[:, None] * frequency * (math.pi / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)
