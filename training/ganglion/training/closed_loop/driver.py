"""Driver: a policy that drives B robots at once, hop by hop, each with its own sensor stream, sight and goal.

The numbers are those of VLAPolicy.predict; what is done once per hop, per frame and per robot is done once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.images import ImageLike
from ganglion.model.policy.context import Context
from ganglion.model.policy.policy import VLAPolicy

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class Driver:
    """One policy at B robots.

    Args:
        policy: with its backbone, if it has cameras.
        robots: B.
        window: encode the whole window anew for each hop instead of streaming; the same numbers, for comparison.
        seed: of the noise that a flow head starts from.
    """

    def __init__(self, policy: VLAPolicy, robots: int, *, window: bool = False, seed: int = 0) -> None:
        self._policy, self._network, self._count = policy, policy.network, robots
        self._config = config = policy.network.config
        self._noise = np.random.default_rng([seed, 8])
        self._streams = not window
        self._features: list[Tensor | None] = [None] * robots
        groups = len(config.channel_groups)
        if self._network.encoder is not None:
            self._state = self._network.encoder.fresh_state(robots)
            self._frames = torch.zeros(robots, config.read_frames, config.width)
            frames = config.read_frames if self._streams else config.window_frames
            self._present = torch.zeros(robots, frames, groups, dtype=torch.bool)
            if window:
                self._window = torch.zeros(robots, config.window_frames * config.hop_samples, config.channels)

    @property
    def feels(self) -> bool:
        """Whether the policy reads a sensor."""
        return self._network.encoder is not None

    @property
    def sees(self) -> bool:
        """Whether it looks through cameras."""
        return bool(self._config.vl_width)

    @torch.no_grad()
    def feel(self, samples: Array, present: npt.NDArray[np.bool_]) -> None:
        """Take in a hop of each robot.

        Args:
            samples: (B, hop_samples, channels) in units.
            present: (B, groups), which channel groups were recorded.
        """
        encoder, norm = self._network.encoder, self._policy.norm.sensor
        assert encoder is not None and norm is not None
        there = torch.as_tensor(present)[:, None]
        # The bridge sends half precision, and so were the demonstrations recorded.
        normal = torch.as_tensor(norm.normalize(samples.astype(np.float16).astype(np.float32)))
        self._present = torch.cat([self._present, there], dim=1)[:, 1:]
        if self._streams:
            frames, self._state = encoder.stream(normal, there, self._state)
            self._frames = torch.cat([self._frames, frames], dim=1)[:, 1:]
        else:
            self._window = torch.cat([self._window, normal], dim=1)[:, self._config.hop_samples :]

    @torch.no_grad()
    def look(self, rows: Sequence[int], images: Sequence[Mapping[str, ImageLike]], goals: Sequence[str]) -> None:
        """See what the cameras of some robots show; it stays what they know until they look again."""
        backbone = self._policy.backbone
        assert backbone is not None
        cameras = [camera.name for camera in self._policy.robot.cameras]
        shown = [[view[name] for name in cameras if name in view] for view in images]
        features, mask = backbone.features(shown, goals)
        for row, found, there in zip(rows, features, mask, strict=True):
            self._features[row] = found[there]

    @torch.no_grad()
    def decide(self, state: Floats | None, ages_s: Floats) -> Array:
        """What each robot should do from now on, (B, horizon, action dim) in units.

        Args:
            state: (B, state dim) in units; None where it is not known.
            ages_s: (B,) seconds since the exposure of what each saw last.
        """
        context = self._context()
        if self.sees:
            context = self._with_sight(context, ages_s)
        if self._policy.norm.state is not None and self._config.state_dim:
            known = np.zeros((self._count, self._config.state_dim), np.float32) if state is None else state
            normal = torch.as_tensor(self._policy.norm.state.normalize(known.astype(np.float32)))
            there = torch.full((self._count,), state is not None)
            context = context._replace(state=normal, state_known=there)
        start = None
        if self._config.head == "flow":
            shape = (self._count, self._config.horizon, self._config.action_dim)
            start = torch.as_tensor(self._noise.standard_normal(shape, dtype=np.float32))
        chunks = self._network.expert(context, start).float().numpy()
        return self._policy.norm.action.denormalize(chunks)

    def _context(self) -> Context:
        if self._network.encoder is None:
            return Context()
        count = self._config.read_frames
        frames = self._frames if self._streams else self._network.encoder(self._window, self._present)[:, -count:]
        return Context(frames=frames, present=self._present[:, -count:])

    def _with_sight(self, context: Context, ages_s: Floats) -> Context:
        empty = torch.zeros(0, self._config.vl_width)
        rows = [empty if found is None else found for found in self._features]
        features = torch.zeros(self._count, max(1, *(len(row) for row in rows)), self._config.vl_width)
        mask = torch.zeros(features.shape[:2], dtype=torch.bool)
        for index, row in enumerate(rows):
            features[index, : len(row)] = row
            mask[index, : len(row)] = True
        ages = torch.as_tensor(ages_s, dtype=torch.float32)
        return context._replace(vl_features=features, vl_mask=mask, vl_age_s=ages)
