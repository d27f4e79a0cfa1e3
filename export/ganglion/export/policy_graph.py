"""The sensor policy as graphs: the encoder with its state as inputs and outputs, and the action expert.

B sequences, N frames, C channels, G channel groups, D frame width, L layers, W attention frames, K read frames, T VL
tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from ganglion.export.onnx_file import write_onnx
from ganglion.model.policy.action_expert import ActionExpert
from ganglion.model.policy.context import Context, context_fields
from ganglion.model.policy.sensor_encoder import SensorEncoder, SensorState

_BATCH = {0: "batch"}


class SensorStreamGraph(nn.Module):
    """Whole hops of normalized samples, and the state before them -> frames, and the state after them.

    samples (B, N * hop, C), present (B, N, G) float32 of 1 and 0, conv_state (B, D), kv_state
    (B, L * 2 * heads, W - 1, D / heads), seen (B,) int64 -> frames (B, N, D), conv_state_out, kv_state_out, seen_out.
    A fresh stream starts from zeros.
    """

    def __init__(self, encoder: SensorEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, samples: Tensor, present: Tensor, conv_state: Tensor, kv_state: Tensor, seen: Tensor
    ) -> tuple[Tensor, ...]:
        """See the class."""
        frames, state = self.encoder.stream(samples, present, SensorState(conv_state, kv_state, seen))
        return frames, *state


class ActionHeadGraph(nn.Module):
    """The fields of Context that a policy reads, in their order -> actions (B, horizon, dim), normalized.

    A flow head has one input more, noise (B, horizon, dim).
    """

    def __init__(self, expert: ActionExpert) -> None:
        super().__init__()
        self.expert, self.fields = expert, context_fields(expert.config)

    def forward(self, *values: Tensor) -> Tensor:
        """See the class."""
        count = len(self.fields)
        context = Context(**dict(zip(self.fields, values[:count], strict=True)))
        actions: Tensor = self.expert(context, *values[count:])
        return actions


def write_sensor_stream(encoder: SensorEncoder, path: Path, precision: str = "float32") -> None:
    """Write sensor_stream.onnx; `precision` is that of its products, see ganglion.export.packing."""
    config = encoder.config
    example = torch.zeros(2, 3 * config.hop_samples, config.channels)
    present = torch.ones(2, 3, len(config.channel_groups))
    frames = Dim("frames", min=1, max=4096)
    write_onnx(
        SensorStreamGraph(encoder),
        (example, present, *encoder.fresh_state(2)),
        path,
        inputs=("samples", "present", "conv_state", "kv_state", "seen"),
        outputs=("frames", "conv_state_out", "kv_state_out", "seen_out"),
        dynamic=(
            {0: Dim("batch"), 1: config.hop_samples * frames},
            {0: Dim("batch"), 1: frames},
            *[{0: Dim("batch")}] * 3,
        ),
        precision=precision,
    )


def write_action_head(expert: ActionExpert, path: Path, precision: str = "float32") -> None:
    """Write action_head.onnx: what the policy reads -> actions (B, horizon, dim), normalized.

    `precision` is that of its products with weights, see ganglion.export.packing.

    Inputs are the fields of Context that it reads, all float32 ("present", "vl_mask" and "state_known" of 1 and 0), and
    "noise" with a flow head.
    """
    config = expert.config
    tokens = {0: "batch", 1: "tokens"}
    examples = {
        "frames": (torch.zeros(2, config.read_frames, config.width), _BATCH),
        "present": (torch.ones(2, config.read_frames, len(config.channel_groups)), _BATCH),
        "vl_features": (torch.zeros(2, 5, config.vl_width), tokens),
        "vl_mask": (torch.ones(2, 5), tokens),
        "vl_age_s": (torch.zeros(2), _BATCH),
        "state": (torch.zeros(2, config.state_dim), _BATCH),
        "state_known": (torch.ones(2), _BATCH),
        "noise": (torch.zeros(2, config.horizon, config.action_dim), _BATCH),
    }
    names = [*context_fields(config), *(["noise"] if config.head == "flow" else [])]
    write_onnx(
        ActionHeadGraph(expert),
        tuple(examples[name][0] for name in names),
        path,
        inputs=names,
        outputs=("actions",),
        dynamic=(tuple(examples[name][1] for name in names),),
        precision=precision,
    )
