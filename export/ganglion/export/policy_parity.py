"""How far the exported policy is from the trained one, on fresh inputs.

trained (torch, whole windows) -> onnx (streamed hop by hop); and the stream against the window by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ganglion.core.manifest import ParityRow
from ganglion.export.onnx_runner import open_onnx
from ganglion.model.policy.context import Context
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.policy.sensor_encoder import SensorEncoder

Array = npt.NDArray[np.float32]
_WINDOWS = 4  # length of each stream, in windows


@dataclass(frozen=True)
class VlPair:
    """VL features (1, T, width) of one image and instruction, from torch and from vl_encoder.onnx."""

    trained: Array
    onnx: Array


def policy_parity(network: PolicyNetwork, folder: Path, vl: Sequence[VlPair], *, streams: int = 4) -> list[ParityRow]:
    """The rows for the ONNX files in `folder`.

    "onnx" compares normalized actions, from image and samples to chunk, where the robot would ask for them.
    "stream" compares the frames that the expert reads, carried hop by hop against recomputed on the full window.

    Args:
        network: as trained, reading a sensor and at most pictures beside it.
        folder: holds sensor_stream.onnx and action_head.onnx.
        vl: features of fresh images for a policy with cameras, else empty.
        streams: how many random streams of several windows.
    """
    config, random, encoder = network.config, np.random.default_rng(20), network.encoder
    assert encoder is not None
    recorded = torch.ones(1, config.read_frames, len(config.channel_groups))
    head = open_onnx(folder / "action_head.onnx")
    hop, window = config.hop_samples, config.hop_samples * config.window_frames
    actions_apart, frames_apart, compared = [0.0], [0.0], 0
    for stream in range(streams):
        samples = random.standard_normal((1, _WINDOWS * window, config.channels), np.float32)
        frames = streamed_frames(encoder, folder, samples, hop)
        pair = vl[stream % len(vl)] if vl else None
        age = random.uniform(0.0, 0.2, 1).astype(np.float32)
        for end in range(config.window_frames, _WINDOWS * config.window_frames + 1, 7):
            recent = samples[:, end * hop - window : end * hop]
            with torch.no_grad():
                whole = encoder(torch.from_numpy(recent))[:, -config.read_frames :]
                trained = network.expert(Context(whole, recorded, *_vl_tensors(pair, age))).numpy()
            read = frames[:, end - config.read_frames : end]
            (onnx,) = head.run(None, {"frames": read, "present": recorded.numpy(), **_vl_feeds(pair, age)})
            actions_apart.append(float(np.abs(trained - onnx).max()))
            frames_apart.append(float(np.abs(whole.numpy() - read).max()))
            compared += 1
    metrics = {"vl_features_max_abs": max(float(np.abs(p.trained - p.onnx).max()) for p in vl)} if vl else {}
    return [
        ParityRow("policy", "onnx", "trained", compared, max(actions_apart), metrics),
        ParityRow("policy", "stream", "window", compared, max(frames_apart)),
    ]


def streamed_frames(encoder: SensorEncoder, folder: Path, samples: Array, step: int) -> Array:
    """Frames (1, N, D) of sensor_stream.onnx fed `step` samples (whole hops) at a time, its state carried."""
    graph, names = open_onnx(folder / "sensor_stream.onnx"), ("conv_state", "kv_state", "seen")
    state = dict(zip(names, (part.numpy() for part in encoder.fresh_state(1)), strict=True))
    groups, frames = len(encoder.config.channel_groups), []
    for first in range(0, samples.shape[1], step):
        piece = samples[:, first : first + step]
        present = np.ones((1, piece.shape[1] // encoder.config.hop_samples, groups), np.float32)
        new, *after = graph.run(None, {"samples": piece, "present": present, **state})
        state = dict(zip(names, after, strict=True))
        frames.append(new)
    return np.concatenate(frames, axis=1)


def _vl_tensors(pair: VlPair | None, age: Array) -> list[torch.Tensor]:
    if pair is None:
        return []
    return [torch.from_numpy(pair.trained), torch.ones(pair.trained.shape[:2]), torch.from_numpy(age)]


def _vl_feeds(pair: VlPair | None, age: Array) -> dict[str, Array]:
    if pair is None:
        return {}
    return {"vl_features": pair.onnx, "vl_mask": np.ones(pair.onnx.shape[:2], np.float32), "vl_age_s": age}
