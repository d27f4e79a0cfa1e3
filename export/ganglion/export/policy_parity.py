"""How far the exported policy is from the trained one, on fresh inputs.

trained (torch, whole windows) -> onnx (streamed hop by hop); and the stream against the window by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ganglion.core.manifest import ParityRow
from ganglion.export.sessions import open_onnx
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import Context, context_fields
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.policy.sensor_encoder import SensorEncoder

Array = npt.NDArray[np.float32]
STREAMS = 4
_WINDOWS = 4  # length of each stream, in windows
_EVERY = 7  # frames between decisions that are compared
_DECISIONS = 8  # of a policy without a sensor, for each stream


@dataclass(frozen=True)
class VlPair:
    """VL features (1, T, width) of one image and instruction, from torch and from vl_encoder.onnx."""

    trained: Array
    onnx: Array


@dataclass(frozen=True)
class _Moment:
    """What the expert reads at one moment by field of Context, (1, ...) each: as torch has it, and as the graphs do."""

    trained: Mapping[str, Array]
    onnx: Mapping[str, Array]


def policy_parity(
    network: PolicyNetwork, folder: Path, vl: Sequence[VlPair], *, stage: str = "onnx"
) -> list[ParityRow]:
    """The rows for the ONNX files in `folder`.

    The stage's row compares normalized actions, from image, samples and state to chunk, where the robot would ask for
    them. "stream" compares the frames that the expert reads, carried hop by hop against recomputed on the full window.

    Args:
        network: as trained.
        folder: holds action_head.onnx, and sensor_stream.onnx where a sensor is read.
        vl: features of fresh images for a policy with cameras, else empty.
        stage: what the graphs are called.
    """
    head, random = open_onnx(folder / "action_head.onnx"), np.random.default_rng(20)
    apart, frames_apart = [0.0], [0.0]
    fields = context_fields(network.config)
    for moment in _moments(network, folder, vl, random):
        chunk = (1, network.config.horizon, network.config.action_dim)
        noise = random.standard_normal(chunk, np.float32) if network.config.head == "flow" else None
        with torch.no_grad():
            context = Context(**{name: torch.from_numpy(moment.trained[name]) for name in fields})
            trained = network.expert(context, *([] if noise is None else [torch.from_numpy(noise)])).numpy()
        feeds = {name: moment.onnx[name] for name in fields}
        (onnx,) = head.run(None, feeds if noise is None else {**feeds, "noise": noise})
        apart.append(float(np.abs(trained - onnx).max()))
        if "frames" in fields:
            frames_apart.append(float(np.abs(moment.trained["frames"] - moment.onnx["frames"]).max()))
    metrics = {"vl_features_max_abs": max(float(np.abs(p.trained - p.onnx).max()) for p in vl)} if vl else {}
    rows = [ParityRow("policy", stage, "trained", len(apart) - 1, max(apart), metrics)]
    if "frames" in fields:
        rows.append(ParityRow("policy", "stream", "window", len(frames_apart) - 1, max(frames_apart)))
    return rows


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


def _moments(
    network: PolicyNetwork, folder: Path, vl: Sequence[VlPair], random: np.random.Generator
) -> Iterator[_Moment]:
    for stream in range(STREAMS):
        pair = vl[stream % len(vl)] if vl else None
        for trained_frames, onnx_frames in _frames(network, folder, random):
            other = _drawn(network.config, pair, known=stream > 0, random=random)
            trained = {**other, **({"vl_features": pair.trained} if pair else {}), **trained_frames}
            yield _Moment(trained, {**other, **({"vl_features": pair.onnx} if pair else {}), **onnx_frames})


def _frames(
    network: PolicyNetwork, folder: Path, random: np.random.Generator
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """Frames and what of them was recorded, all along one random stream, by torch and by the graph."""
    config, encoder = network.config, network.encoder
    if encoder is None:
        yield from [({}, {})] * _DECISIONS
        return
    hop, window = config.hop_samples, config.hop_samples * config.window_frames
    present = np.ones((1, config.read_frames, len(config.channel_groups)), np.float32)
    samples = random.standard_normal((1, _WINDOWS * window, config.channels), np.float32)
    frames = streamed_frames(encoder, folder, samples, hop)
    for end in range(config.window_frames, _WINDOWS * config.window_frames + 1, _EVERY):
        with torch.no_grad():
            recent = torch.from_numpy(samples[:, end * hop - window : end * hop])
            whole = encoder(recent)[:, -config.read_frames :].numpy()
        read = frames[:, end - config.read_frames : end]
        yield {"frames": whole, "present": present}, {"frames": read, "present": present}


def _drawn(config: PolicyConfig, pair: VlPair | None, known: bool, random: np.random.Generator) -> dict[str, Array]:
    """What else a policy reads; `known`: whether there is a state."""
    fields = {
        "state": random.standard_normal((1, config.state_dim), np.float32),
        "state_known": np.full(1, known, np.float32),
        "vl_age_s": random.uniform(0.0, 0.2, 1).astype(np.float32),
    }
    if pair:
        fields["vl_mask"] = np.ones(pair.trained.shape[:2], np.float32)
    return {name: value for name, value in fields.items() if name in context_fields(config)}
