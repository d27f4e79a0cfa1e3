"""The figures a meter keeps: how they add up over time, over the processes of one run, and over interruptions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

_SUMMED = (
    "batches",
    "samples",
    "images",
    "tokens",
    "answer_tokens",
    "padded_tokens",
    "device_seconds",
    "counted_batches",
    "counted_flops",
    "counted_tokens",
    "energy_joules",
)
# The processes of one run take these steps together; of their times and peaks the largest is the run's.
_LARGEST = ("steps", "wall_seconds", "step_seconds", "peak_rss_bytes", "peak_allocated_bytes", "peak_reserved_bytes")
_PEAKS = ("peak_rss_bytes", "peak_allocated_bytes", "peak_reserved_bytes")


@dataclass
class Counts:
    """Sums over the batches and steps of a run; docs/reference/compute.md says what each means."""

    steps: int = 0
    batches: int = 0
    samples: int = 0
    images: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    padded_tokens: int = 0
    wall_seconds: float = 0.0
    step_seconds: float = 0.0
    device_seconds: float = 0.0
    counted_batches: int = 0
    counted_flops: int = 0
    counted_tokens: int = 0
    energy_joules: float = 0.0
    peak_rss_bytes: int = 0
    peak_allocated_bytes: int = 0
    peak_reserved_bytes: int = 0

    def plus(self, later: Counts) -> Counts:
        """These and what came later in the same run: sums, and of peaks the larger."""
        mine, theirs = asdict(self), asdict(later)
        return Counts(**{k: max(mine[k], theirs[k]) if k in _PEAKS else mine[k] + theirs[k] for k in mine})


def over_processes(mine: Counts, device: Any) -> Counts:
    """The counts of all processes of a distributed run; `mine` where there is one. Every process must call it.

    Args:
        mine: of this process.
        device: where the process group reduces tensors: the GPU with NCCL, the CPU with Gloo.
    """
    import torch
    from torch import distributed

    if world_size() == 1:
        return mine
    values = asdict(mine)
    # float64 holds whole numbers exactly up to 2^53, about 10^16: no count of tokens comes near; FLOPs round there.
    summed = torch.tensor([float(values[name]) for name in _SUMMED], dtype=torch.float64, device=device)
    largest = torch.tensor([float(values[name]) for name in _LARGEST], dtype=torch.float64, device=device)
    distributed.all_reduce(summed)
    distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
    found = dict(zip((*_SUMMED, *_LARGEST), [*summed.tolist(), *largest.tolist()], strict=True))
    return Counts(**{f.name: found[f.name] if f.type == "float" else round(found[f.name]) for f in fields(Counts)})


def world_size() -> int:
    """Processes that train together; 1 outside `torchrun`."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
