"""The sensor policy as graphs: the encoder with its state as inputs and outputs, and the action expert.

B sequences, N frames, C channels, D frame width, L layers, W attention frames, K read frames, T VL tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from ganglion.export.onnx_file import write_onnx
from ganglion.model.policy.policy import VLAPolicy
from ganglion.model.policy.sensor_encoder import SensorEncoder, SensorState

_BATCH = {0: "batch"}


class SensorStreamGraph(nn.Module):
    """Whole hops of normalized samples, and the state before them -> frames, and the state after them.

    samples (B, N * hop, C), conv_state (B, hop, D), kv_state (B, L, 2, heads, W - 1, D / heads), seen (B,) int64
    -> frames (B, N, D), conv_state_out, kv_state_out, seen_out. A fresh stream starts from zeros.
    """

    def __init__(self, encoder: SensorEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, samples: Tensor, conv_state: Tensor, kv_state: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        frames, state = self.encoder.stream(samples, SensorState(conv_state, kv_state, seen))
        return frames, *state


def write_sensor_stream(policy: VLAPolicy, path: Path) -> None:
    """Write sensor_stream.onnx."""
    config = policy.config
    example = torch.zeros(2, 3 * config.hop_samples, config.channels)
    frames = Dim("frames", min=1, max=4096)
    write_onnx(
        SensorStreamGraph(policy.encoder),
        (example, *policy.encoder.fresh_state(2)),
        path,
        inputs=("samples", "conv_state", "kv_state", "seen"),
        outputs=("frames", "conv_state_out", "kv_state_out", "seen_out"),
        dynamic=({0: Dim("batch"), 1: config.hop_samples * frames}, *[{0: Dim("batch")}] * 3),
    )


def write_action_head(policy: VLAPolicy, path: Path) -> None:
    """Write action_head.onnx: frames (B, K, D) -> actions (B, horizon, dim), normalized.

    With cameras also vl_features (B, T, vl_width) float32, vl_mask (B, T) float32 and vl_age_s (B,) float32.
    """
    config = policy.config
    names, dynamic = ["frames"], [_BATCH]
    args: list[Tensor] = [torch.zeros(2, config.read_frames, config.width)]
    if config.fusion != "none":
        names += ["vl_features", "vl_mask", "vl_age_s"]
        args += [torch.zeros(2, 5, config.vl_width), torch.ones(2, 5), torch.zeros(2)]
        dynamic += [{0: "batch", 1: "tokens"}, {0: "batch", 1: "tokens"}, _BATCH]
    write_onnx(policy.expert, tuple(args), path, inputs=names, outputs=("actions",), dynamic=dynamic)
