"""What a run ran on: processor, memory, GPU, driver and library versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("ganglion", "torch", "transformers", "peft", "bitsandbytes", "accelerate")


def hardware() -> dict[str, Any]:
    """The machine; `gpu` is null where the CPU trains."""
    import torch

    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "gpu": _gpu() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that train."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def gpu_uuid() -> str | None:
    """The current GPU's name for NVML; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def _gpu() -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "driver": _first_line(Path("/sys/module/nvidia/version")),
        "cuda": torch.version.cuda,
    }


def _cpu_model() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _first_line(file: Path) -> str | None:
    return next(iter(_lines(file)), None)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
