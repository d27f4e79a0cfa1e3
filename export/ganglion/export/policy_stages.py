"""A policy at one stage of its export, asked: what it makes of samples, and what it decides.

Two of them: as it was trained (torch, whole windows), and as graphs (ONNX Runtime, streamed hop by hop).

N frames, C channels, G channel groups, K read frames, D frame width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ganglion.export.sessions import open_onnx
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import Context, context_fields
from ganglion.model.policy.network import PolicyNetwork

Array = npt.NDArray[np.float32]


class PolicyStage(Protocol):
    """What stages have in common.

    features  VL features (1, tokens, width) that this stage makes of some images; empty without cameras
    """

    features: Sequence[Array]

    def frames(self, samples: Array, present: Array, ends: Sequence[int]) -> list[Array]:
        """The frames (1, K, D) that the expert reads at each of `ends`, frames counted from the start.

        Args:
            samples: (1, N * hop, C) normalized, N hops from a fresh state.
            present: (1, N, G) of 1 and 0.
            ends: at least a window each.
        """

    def decide(self, fields: Mapping[str, Array], noise: Array | None) -> Array:
        """Fields of Context, (1, ...) each, to actions (1, horizon, dim), normalized."""


class TrainedPolicy:
    """The network as it was trained: each window is encoded anew."""

    def __init__(self, network: PolicyNetwork, features: Sequence[Array] = ()) -> None:
        self._network, self._config, self.features = network, network.config, features

    @torch.no_grad()
    def frames(self, samples: Array, present: Array, ends: Sequence[int]) -> list[Array]:
        """See PolicyStage."""
        encoder, config = self._network.encoder, self._config
        assert encoder is not None
        found = []
        for first, last in ((end - config.window_frames, end) for end in ends):
            window = torch.from_numpy(samples[:, first * config.hop_samples : last * config.hop_samples])
            frames = encoder(window, torch.from_numpy(present[:, first:last]))
            found.append(frames[:, -config.read_frames :].numpy())
        return found

    @torch.no_grad()
    def decide(self, fields: Mapping[str, Array], noise: Array | None) -> Array:
        """See PolicyStage."""
        context = Context(**{name: torch.from_numpy(value) for name, value in fields.items()})
        actions: Array = self._network.expert(context, None if noise is None else torch.from_numpy(noise)).numpy()
        return actions


class GraphPolicy:
    """The graphs of a folder, as a host runs them.

    config  of the policy

    Args:
        folder: holds action_head.onnx, and sensor_stream.onnx where a sensor is read.
        config: of the policy.
        features: what its vl_encoder.onnx makes of some images.
    """

    def __init__(self, folder: Path, config: PolicyConfig, features: Sequence[Array] = ()) -> None:
        self.config, self.features = config, features
        self._stream = open_onnx(folder / "sensor_stream.onnx") if config.channel_groups else None
        self._head = open_onnx(folder / "action_head.onnx")

    def frames(self, samples: Array, present: Array, ends: Sequence[int]) -> list[Array]:
        """See PolicyStage."""
        frames = self.stream(samples, present, 1)
        return [frames[:, end - self.config.read_frames : end] for end in ends]

    def windows(self, samples: Array, present: Array, ends: Sequence[int]) -> list[Array]:
        """What `frames` gives, of whole windows in one call each, as the trained network reads them."""
        config, found = self.config, []
        for first, last in ((end - config.window_frames, end) for end in ends):
            window = samples[:, first * config.hop_samples : last * config.hop_samples]
            frames = self.stream(window, present[:, first:last], config.window_frames)
            found.append(frames[:, -config.read_frames :])
        return found

    def stream(self, samples: Array, present: Array, hops: int) -> Array:
        """Frames (B, N, D) of samples given `hops` hops at a time, from a fresh state that is carried."""
        assert self._stream is not None
        frames, state = [], self._fresh_state(len(samples))
        for first in range(0, present.shape[1], hops):
            last, hop = first + hops, self.config.hop_samples
            piece = {"samples": samples[:, first * hop : last * hop], "present": present[:, first:last]}
            new, *after = self._stream.run(None, {**piece, **state})
            state = dict(zip(state, after, strict=True))
            frames.append(new)
        return np.concatenate(frames, axis=1)

    def feeds(self, samples: Array, present: Array) -> dict[str, npt.NDArray[Any]]:
        """What sensor_stream.onnx is fed with for samples from a fresh state, in one call."""
        return {"samples": samples, "present": present, **self._fresh_state(len(samples))}

    def _fresh_state(self, batch: int) -> dict[str, npt.NDArray[Any]]:
        assert self._stream is not None
        return {
            value.name: np.zeros((batch, *value.shape[1:]), np.int64 if value.name == "seen" else np.float32)
            for value in self._stream.get_inputs()
            if value.name not in ("samples", "present")
        }

    def decide(self, fields: Mapping[str, Array], noise: Array | None) -> Array:
        """See PolicyStage."""
        feeds = {name: fields[name].astype(np.float32) for name in context_fields(self.config)}
        (actions,) = self._head.run(None, feeds if noise is None else {**feeds, "noise": noise})
        return np.asarray(actions)
