"""A bundle's policy graphs in the place of the trained network, so that the same driver drives both in closed loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganglion.core.bundle import open_bundle
from ganglion.core.images import ImageLike
from ganglion.export.prompts import Prompt, position_ids, vl_feeds
from ganglion.export.sessions import open_onnx
from ganglion.model.policy.context import Context, context_fields
from ganglion.model.policy.policy import VLAPolicy
from ganglion.model.policy.sensor_encoder import SensorState


def with_graphs(policy: VLAPolicy, bundle: Path) -> VLAPolicy:
    """The policy, its numbers coming from the graphs in `bundle`."""
    folder = open_bundle(bundle).path("policy")
    backbone = _Backbone(policy.backbone, folder) if policy.backbone else None
    return replace(policy, network=_Network(policy.network, folder), backbone=backbone)  # type: ignore[arg-type]  # same calls


class _Network:
    """What a driver asks of PolicyNetwork: config, encoder and expert."""

    def __init__(self, network: Any, folder: Path) -> None:
        self.config = network.config
        self.encoder = _Encoder(network.encoder, folder) if network.encoder is not None else None
        self._head, self._fields = open_onnx(folder / "action_head.onnx"), context_fields(network.config)

    def expert(self, context: Context, noise: Tensor | None = None) -> Tensor:
        feeds = {name: getattr(context, name).numpy().astype(np.float32) for name in self._fields}
        if noise is not None:
            feeds["noise"] = noise.numpy()
        return torch.from_numpy(self._head.run(None, feeds)[0])


class _Encoder:
    """The stream of SensorEncoder."""

    def __init__(self, encoder: Any, folder: Path) -> None:
        self.fresh_state = encoder.fresh_state
        self._stream = open_onnx(folder / "sensor_stream.onnx")

    def stream(self, samples: Tensor, present: Tensor, state: SensorState) -> tuple[Tensor, SensorState]:
        feeds = {"samples": samples.numpy(), "present": present.float().numpy()}
        feeds |= {"conv_state": state.conv.numpy(), "kv_state": state.kv.numpy(), "seen": state.seen.numpy()}
        frames, *after = (torch.from_numpy(found) for found in self._stream.run(None, feeds))
        return frames, SensorState(*after)


class _Backbone:
    """The features of Backbone, one view after the other, as a server makes them."""

    def __init__(self, backbone: Any, folder: Path) -> None:
        self._backbone, self._encoder = backbone, open_onnx(folder / "vl_encoder.onnx")

    def features(self, images: Sequence[Sequence[ImageLike]], goals: Sequence[str]) -> tuple[Tensor, Tensor]:
        found = [self._one(list(shown), goal) for shown, goal in zip(images, goals, strict=True)]
        longest = max(len(one) for one in found)
        features = torch.zeros(len(found), longest, found[0].shape[1])
        mask = torch.zeros(len(found), longest, dtype=torch.bool)
        for row, one in enumerate(found):
            features[row, : len(one)], mask[row, : len(one)] = one, True
        return features, mask

    def _one(self, shown: list[ImageLike], goal: str) -> Tensor:
        inputs = self._backbone.encode([shown], [goal]).inputs
        if not inputs:
            return torch.zeros(0, self._backbone.facts.vl_width)
        prompt = Prompt(inputs, position_ids(self._backbone.model, inputs))
        return torch.from_numpy(self._encoder.run(None, vl_feeds([prompt]))[0][0])
