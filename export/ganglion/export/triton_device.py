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


# On a CPU a tick's graph runs on one thread, as in the in-process engine, and of two instances one is free while the
# other serves another robot; a bound on threads keeps the large graphs from taking every core. A GPU is at its best
# with one batch at a time. A Jetson rides on one robot and may serve a few, and its GPU shares the memory of the CPU.
# There TensorRT is left to be asked for: a backend that was built without it, as NVIDIA says of the one for JetPack 5,
# loads no model whose configuration names it.
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
