"""Whether the graphs of a bundle have the inputs and sizes that its manifest's form of policy has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError
from ganglion.core.manifest import PolicyPart
from ganglion.core.normalization import Normalization
from ganglion.core.specs import RobotSpec

Shapes = Mapping[str, tuple[int | None, ...]]
"""By name, None on an axis of any size."""


def check_encoder(bundle: Bundle, session: Any, robot: RobotSpec) -> None:
    """See that sensor_stream.onnx reads the robot's samples.

    Raises:
        BundleError: it doesn't.
    """
    _check(
        bundle,
        "sensor_stream.onnx",
        "input",
        session.get_inputs(),
        {"samples": (None, None, robot.sensors[0].channels)},
    )


def check_head(bundle: Bundle, session: Any, robot: RobotSpec, norm: Normalization, part: PolicyPart) -> None:
    """See that action_head.onnx reads what its form of policy reads, and gives the robot's chunks.

    Raises:
        BundleError: it doesn't.
    """
    chunk = (None, robot.actions.horizon, robot.actions.dim)
    reads: dict[str, tuple[int | None, ...]] = {}
    if norm.sensor is not None:
        reads["frames"] = (None, part.read_frames, part.frame_width)
        reads["present"] = (None, part.read_frames, len(robot.sensors[0].groups))
    if robot.cameras:
        reads |= {"vl_features": (None, None, part.config["vl_width"]), "vl_mask": (None, None), "vl_age_s": (None,)}
    if norm.state is not None:
        reads |= {"state": (None, len(norm.state.mean)), "state_known": (None,)}
    if part.config.get("head") == "flow":
        reads["noise"] = chunk
    found = {value.name for value in session.get_inputs()}
    if found != set(reads):
        raise BundleError(
            f"reads {', '.join(sorted(found))}; by the manifest it should read {', '.join(sorted(reads))}",
            where=bundle.path("policy/action_head.onnx"),
            remedy="export again",
        )
    _check(bundle, "action_head.onnx", "output", session.get_outputs(), {"actions": chunk})
    _check(bundle, "action_head.onnx", "input", session.get_inputs(), reads)


def _check(bundle: Bundle, file: str, side: str, values: Any, expected: Shapes) -> None:
    shapes = {value.name: value.shape for value in values}
    for name, sizes in expected.items():
        for axis, size in enumerate(sizes):
            found = shapes[name][axis] if name in shapes and axis < len(shapes[name]) else None
            if size is not None and found != size:
                raise BundleError(
                    f"{side} {name!r} has size {found} on axis {axis}, the manifest says {size}",
                    where=bundle.path(f"policy/{file}"),
                    remedy="export again",
                )
