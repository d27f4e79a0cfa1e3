"""What a run may be meant for: memory and matrix throughput of a few devices, and of this machine's CPU, measured."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass

from ganglion.core.errors import InputError

# Share of the peak that LoRA training reaches. Not measured for the GPUs; PaLM (Chowdhery et al. 2022) reports 0.46 for
# full pre-training, and quantized weights have to be unpacked in each pass.
GPU_EFFICIENCY = 0.35
# Of the CPU's own measured matrix throughput: 0.4 to 0.8 at 100 M weights, 0.2 to 0.6 at 2 M, on two busy cores
# (benchmarks/estimate.py).
CPU_EFFICIENCY = 0.5
# What the driver's context and the libraries' kernels take before any tensor: 0.3-0.8 GB is what users report
# (pytorch/pytorch issue 34323: 781 MB); taken high.
CUDA_CONTEXT_BYTES = 800 * 2**20
# What a first training step loads on a CPU beside its tensors: library code and tables. Measured as the difference that
# small models leave, 60 to 85 MiB (benchmarks/estimate.py).
FIRST_STEP_BYTES = 70 * 2**20
# Freed blocks that an allocator holds and can't reuse at the peak, as a share of activations. The GPU's is an
# assumption. The CPU's was 0.30 to 0.55 (benchmarks/estimate.py); ganglion.training.heap says why, and ends it.
GPU_SLACK, CPU_SLACK = 0.05, 0.4


@dataclass(frozen=True)
class Device:
    """One device that trains.

    name            as shown
    memory_bytes    in all
    flops           a second, dense matrix products in the dtype of training
    efficiency      the share of it that training is assumed to reach
    overhead_bytes  taken before any tensor of the run
    slack           bytes that the allocator loses, as a share of activations
    """

    name: str
    memory_bytes: int
    flops: float
    efficiency: float
    overhead_bytes: int
    slack: float
    is_gpu: bool = True


def _gpu(name: str, gibibytes: float, teraflops: float) -> Device:
    return Device(name, int(gibibytes * 2**30), teraflops * 1e12, GPU_EFFICIENCY, CUDA_CONTEXT_BYTES, GPU_SLACK)


GPUS = {
    # bfloat16 with float32 accumulation, dense. NVIDIA A100 data sheet: 312; torch sees 39.4 of its 40 GiB.
    "a100-40gb": _gpu("NVIDIA A100 40 GB", 39.4, 312),
    # NVIDIA H100 SXM data sheet: 1,979 with sparsity.
    "h100": _gpu("NVIDIA H100 SXM 80 GB", 79.1, 989.5),
    # NVIDIA Ada GPU architecture paper, appendix A: 165.2 with float32 accumulation.
    "rtx-4090": _gpu("NVIDIA GeForce RTX 4090", 23.5, 165.2),
    # NVIDIA Ampere GA102 architecture paper, appendix A: 71 with float32 accumulation.
    "rtx-3090": _gpu("NVIDIA GeForce RTX 3090", 23.6, 71),
    # NVIDIA Jetson AGX Orin technical brief: 170 sparse INT8 TOPS of the GPU, of which dense float16 is a quarter.
    "jetson-agx-orin-64gb": _gpu("NVIDIA Jetson AGX Orin 64 GB, shared with the CPU", 61, 42.5),
}
CPU, THIS_GPU = "cpu", "this gpu"


def device_name(wanted: str) -> str:
    """What `get_device` takes for the value of --estimate_on: auto is this machine."""
    import torch

    if wanted != "auto":
        return wanted
    return THIS_GPU if torch.cuda.is_available() else CPU


def get_device(name: str, dtype: str = "float32") -> Device:
    """A device by name: one of GPUS; "cpu" or "this gpu" of this machine, measured for about a second.

    Raises:
        InputError: unknown name.
    """
    if name == CPU:
        return _this_cpu(dtype)
    if name == THIS_GPU:
        return _this_gpu(dtype)
    if name not in GPUS:
        raise InputError(f"unknown device {name!r}", remedy=f"use one of {', '.join([CPU, *GPUS])}")
    return GPUS[name]


@functools.cache
def _this_cpu(dtype: str) -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    overhead = _resident_bytes() + FIRST_STEP_BYTES
    return Device("this CPU", memory, _measured_flops(dtype), CPU_EFFICIENCY, overhead, CPU_SLACK, is_gpu=False)


@functools.cache
def _this_gpu(dtype: str) -> Device:
    import torch

    found = torch.cuda.get_device_properties(0)
    flops = _measured_flops(dtype, (8192, 8192, 8192), "cuda")
    return Device(found.name, found.total_memory, flops, GPU_EFFICIENCY, CUDA_CONTEXT_BYTES, GPU_SLACK)


def _measured_flops(
    dtype: str, shape: tuple[int, int, int] = (512, 1024, 1024), device: str = "cpu", seconds: float = 1.0
) -> float:
    """Of products of m x k by k x n, the best of those that fit into the time."""
    import torch

    m, k, n = shape
    a, b = (torch.ones(size, dtype=getattr(torch, dtype), device=device) for size in ((m, k), (k, n)))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * m * k * n / best


def _resident_bytes() -> int:
    """Of this process with everything imported that training imports."""
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
