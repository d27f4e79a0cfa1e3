"""An estimate in words, and the search for options that make a run fit which does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from ganglion.training.estimate.devices import Device
from ganglion.training.estimate.images import MIN_PIXELS

_SMALL_BYTES = 4 * 2**30  # below this, parts are told in MiB
Options = TypeVar("Options")


class Estimated(Protocol):
    """As much of an estimate as its wording needs."""

    @property
    def device(self) -> Device:
        """What the run is meant for."""

    @property
    def total(self) -> int:
        """The peak, bytes."""

    @property
    def fits(self) -> bool:
        """Whether the peak is within the device's memory."""

    @property
    def step_flops(self) -> int:
        """Operations of one optimizer step."""

    @property
    def step_seconds(self) -> float:
        """Of one optimizer step."""


def table(rows: Sequence[tuple[str, int]]) -> list[str]:
    """Lines of names and bytes, all in the unit that suits the most."""
    width = max(len(name) for name, _ in rows)
    unit, name_of_unit = (2**30, "GiB") if max(size for _, size in rows) > _SMALL_BYTES else (2**20, "MiB")
    return [f"{name:<{width}} {size / unit:9.2f} {name_of_unit}" for name, size in rows]


def fit(found: Estimated) -> list[str]:
    """Two lines: whether it fits, and how long an optimizer step takes."""
    device = found.device
    verdict = "fits" if found.fits else "does not fit"
    source = "an assumption" if device.is_gpu else "throughput measured here, the share assumed"
    return [
        f"{verdict} {device.name} ({device.memory_bytes / 2**30:.1f} GiB)",
        f"{found.step_seconds:.2f} s per optimizer step: {found.step_flops:.3g} FLOP at {device.efficiency:.0%} of "
        f"{device.flops / 1e12:,.3g} TFLOP/s ({source})",
    ]


def search(
    start: Options,
    steps: Iterable[Callable[[Options], Iterator[Options]]],
    estimate: Callable[[Options], Estimated],
    changes: Callable[[Options, Options], str],
) -> str:
    """One line that says which options make a run fit that does not.

    Args:
        start: the options as they are.
        steps: each gives options that take less and less; one after the other is tried, on top of the one before.
        estimate: what options take.
        changes: how the second options differ from the first, as a user gives them.
    """
    options = start
    for step in steps:
        for better in step(options):
            options = better
            now = estimate(options)
            if now.fits:
                return f"fits with {changes(start, options)}: {now.total / 2**30:.1f} GiB"
    tried = changes(start, options)
    return f"does not fit{f' with {tried} either' if tried else ''}: take a smaller base or another device"


def smaller_batches(size: int, accumulation: int) -> Iterator[tuple[int, int]]:
    """Batch size and accumulation with the same rows per optimizer step, fewer and fewer at once."""
    rows = size * accumulation
    while size > 1:
        size //= 2
        yield size, -(-rows // size)


def fewer_pixels(pixels: int) -> Iterator[int]:
    """Half of an image's pixels, and so on, down to twice what a processor makes of the smallest."""
    while pixels > 2 * MIN_PIXELS:
        pixels //= 2
        yield pixels
