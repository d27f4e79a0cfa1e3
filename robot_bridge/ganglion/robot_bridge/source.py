"""What a robot's data comes from: one protocol for samples, one for frames, opened by name.

A source is named "module:attribute" with JSON arguments, so that the acquisition process is a plain subprocess: no
fork of a process with threads, nothing pickled. The attribute is called as `attribute(robot, **arguments)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.specs import RobotSpec


class EndOfSamples(GanglionError):
    """A source has come to its end: a recording or an episode is over, and the run ends early with a report."""


class SampleSource(Protocol):
    """A sensor. Sample `seq` is due at a fixed time; after a stall every sample is still asked for, in order."""

    def read(self, seq: int, due_ns: int, into: npt.NDArray[np.floating]) -> int | None:
        """Write sample `seq` to `into` (channels,), in the sensor's units.

        Returns:
            The sample's monotonic time at the source in ns; None if the source lost it, which leaves a gap.

        Raises:
            EndOfSamples: there is no such sample, and none will come.
        """

    def close(self) -> None:
        """Free what the source holds."""


class FrameSource(Protocol):
    """A camera."""

    def frame(self, time_s: float) -> npt.NDArray[np.uint8]:
        """The (height, width, 3) RGB image exposed `time_s` seconds after sample 0."""

    def close(self) -> None:
        """Free what the source holds."""


@dataclass(frozen=True)
class SourceName:
    """Where a source is made: "module:attribute", and JSON arguments for it."""

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def open_source(name: SourceName, robot: RobotSpec) -> Any:
    """Make the source.

    Raises:
        InputError: there is no such factory, or it does not take these arguments.
    """
    module, _, attribute = name.factory.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"no such source ({error})", where=name.factory, remedy="give module:attribute") from error
    try:
        return factory(robot, **name.arguments)
    except TypeError as error:
        raise InputError(str(error), where=name.factory, remedy="correct the source's arguments") from error
