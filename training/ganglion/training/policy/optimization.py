"""Parameter groups with rates of their own, and one optimizer step over any number of batches and processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from ganglion.core.errors import GanglionError
from ganglion.model.policy.network import PolicyNetwork
from ganglion.training.policy.config import OptimOptions
from ganglion.training.policy.schedule import Schedule
from ganglion.training.processes import process_count

EXPERT, SENSOR = "action_expert", "sensor_encoder"
Groups = Mapping[str, list[nn.Parameter]]


def trainable(network: PolicyNetwork, backbone: Groups) -> dict[str, list[nn.Parameter]]:
    """What learns, by the name of its group; groups without a parameter are left out."""
    encoder = list(network.encoder.parameters()) if network.encoder is not None else []
    expert = [parameter for parameter in network.expert.parameters() if parameter.requires_grad]
    groups = {EXPERT: expert, SENSOR: encoder, **backbone}
    return {name: group for name, group in groups.items() if group}


def peaks(options: OptimOptions) -> dict[str, float]:
    """Peak learning rate of each group."""
    text = {"vl": options.lr_vl, "vl_lora": options.lr_vl}  # as ganglion.model.backbone.finetune names them
    return {EXPERT: options.lr, SENSOR: options.lr_sensor, **text, "vision": options.lr_vision}


def make_optimizer(groups: Groups, options: OptimOptions) -> torch.optim.AdamW:
    """AdamW; biases, norms and embeddings without weight decay. Each parameter group knows its name."""
    parts = []
    for name, group in groups.items():
        matrices, others = [p for p in group if p.ndim >= 2], [p for p in group if p.ndim < 2]
        parts += [{"params": matrices, "weight_decay": options.weight_decay, "name": name}] if matrices else []
        parts += [{"params": others, "weight_decay": 0.0, "name": name}] if others else []
    return torch.optim.AdamW(parts, lr=options.lr, betas=options.betas)


def set_rates(
    optimizer: torch.optim.Optimizer, options: OptimOptions, schedule: Schedule, step: int, resumed: int | None
) -> dict[str, float]:
    """Set each group's rate for a step; returns them by the group's name."""
    rates = {name: schedule.rate(peak, step, resumed) for name, peak in peaks(options).items()}
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def take_step(optimizer: torch.optim.Optimizer, loss: float, max_norm: float) -> float:
    """Add up the gradients of all processes, clip them, and step; returns their norm before.

    Args:
        optimizer: its parameters hold the gradients of this process's part of the loss.
        loss: of the step, over all processes.
        max_norm: 0 leaves gradients as they are.

    Raises:
        GanglionError: loss or gradients are no longer finite; the weights were left as they were.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:  # what this process's batches did not touch, those of another may have
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    add_up([parameter.grad for parameter in parameters if parameter.grad is not None])
    norm = float(nn.utils.clip_grad_norm_(parameters, max_norm or math.inf))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient is {norm}"
        raise GanglionError(what, remedy="lower the learning rates, or look for absurd values in the data")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by the sum over all processes, in one exchange. Nothing happens in a single one."""
    if process_count() == 1:
        return
    parts = list(tensors)
    flat = torch.cat([part.flatten() for part in parts])
    torch.distributed.all_reduce(flat)
    totals = torch.split(flat, [part.numel() for part in parts])
    for part, total in zip(parts, totals, strict=True):
        part.copy_(total.view_as(part))


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether matrix products are made in bfloat16: where asked for, or where the hardware has instructions for it.

    Measured on one core with AVX512-BF16: 0.13 instead of 0.30 s per step of 16 windows. Emulated it would be slower.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpu_flags())


def _cpu_flags() -> list[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return line.split()
    except OSError:
        pass
    return []
