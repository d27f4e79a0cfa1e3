"""What a Triton configuration takes from the machine it is for."""

from __future__ import annotations

from dataclasses import dataclass

from ganglion.core.errors import InputError

_GIB = 2**30


@dataclass(frozen=True)
class Device:
    """A kind of machine.

    gpu             models run on every GPU there is; else on the CPU
    most_robots     how many robots' requests one run takes at most
    tick_instances  how many runs of a graph that a control tick waits for go on at once
    threads         CPU threads of one run of a large graph; of a tick's graph it is one
    tensorrt        TensorRT in float16 is what config.pbtxt asks for; on other GPUs it is a second configuration
    workspace_bytes what TensorRT may take for temporary tensors, by model
    """

    gpu: bool
    most_robots: int
    tick_instances: int
    threads: int
    tensorrt: bool = False
    workspace_bytes: int = 0


# On a CPU one thread runs a tick's graph in about a millisecond, and two instances keep one robot from waiting for
# another; a bound on threads keeps the large graphs from taking every core. A GPU runs one batch at a time at its best.
# Orin shares its 8 to 64 GB between CPU and GPU; a Jetson rides on one robot, and may serve a few.
DEVICES = {
    "cpu": Device(gpu=False, most_robots=8, tick_instances=2, threads=4),
    "cuda": Device(gpu=True, most_robots=32, tick_instances=1, threads=1, workspace_bytes=4 * _GIB),
    "cuda-tensorrt": Device(
        gpu=True, most_robots=32, tick_instances=1, threads=1, tensorrt=True, workspace_bytes=4 * _GIB
    ),
    "jetson-orin": Device(gpu=True, most_robots=4, tick_instances=1, threads=1, workspace_bytes=_GIB),
    "jetson-thor": Device(gpu=True, most_robots=8, tick_instances=1, threads=1, workspace_bytes=4 * _GIB),
}


def find_device(name: str) -> Device:
    """The device of that name.

    Raises:
        InputError: there is none.
    """
    if name not in DEVICES:
        raise InputError(f"--device is {name!r}", remedy=f"use one of {[*DEVICES]}")
    return DEVICES[name]
