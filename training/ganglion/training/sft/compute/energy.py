"""Energy where the machine counts it: NVIDIA's counter of the GPU, else RAPL's of the CPU packages.

Both count for the whole device, whoever uses it. NVML comes with the driver (libnvidia-ml.so.1) and is called directly:
no package is needed. RAPL is read from /sys, which most systems allow only to root.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


class EnergyCounter:
    """Joules since it was made. `read` must be called more often than a register wraps: minutes are fine."""

    def __init__(self, source: str, registers: list[tuple[Callable[[], int], int]], joules_per_unit: float) -> None:
        self.source = source
        self._registers, self._scale, self._units = registers, joules_per_unit, 0
        self._last = [register() for register, _ in registers]

    def read(self) -> float:
        """Joules so far."""
        for at, (register, wrap) in enumerate(self._registers):
            now = register()
            step = now - self._last[at]
            self._units += step if step >= 0 else step + wrap
            self._last[at] = now
        return self._units * self._scale


def energy_counter(gpu_uuid: str | None, powercap: Path = POWERCAP, nvml: str = NVML) -> EnergyCounter | str:
    """A counter for the device that trains, or the reason why there is none.

    Args:
        gpu_uuid: as in `nvidia-smi -L`; None where the CPU trains.
        powercap: the kernel's folder of RAPL zones.
        nvml: NVIDIA's management library.
    """
    return _nvml_counter(gpu_uuid, nvml) if gpu_uuid is not None else _rapl_counter(powercap)


def _rapl_counter(powercap: Path) -> EnergyCounter | str:
    # intel-rapl:N are packages (AMD's too); intel-rapl:N:M are parts of them.
    zones = sorted(zone for zone in powercap.glob("intel-rapl:*") if zone.name.count(":") == 1)
    if not zones:
        return f"no RAPL zone in {powercap}, as in most virtual machines"
    try:
        registers = [(_reader(zone / "energy_uj"), _reader(zone / "max_energy_range_uj")()) for zone in zones]
        return EnergyCounter(f"RAPL, {len(zones)} CPU packages, all processes", registers, 1e-6)
    except (OSError, ValueError) as error:
        return f"RAPL can't be read ({getattr(error, 'strerror', None) or error})"


def _reader(file: Path) -> Callable[[], int]:
    return lambda: int(file.read_text(encoding="ascii"))


def _nvml_counter(uuid: str, library: str) -> EnergyCounter | str:
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return f"{library} can't be loaded"
    device, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)):
        return f"NVML does not find {uuid}"
    if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)):
        return "this GPU does not count energy (NVIDIA's do from Volta on)"

    def read() -> int:
        nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules))
        return millijoules.value

    return EnergyCounter("NVML, this GPU, all processes", [(read, 2**64)], 1e-3)
