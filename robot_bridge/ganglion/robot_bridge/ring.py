"""A single-producer ring of samples in named shared memory, from the acquisition process to whoever reads.

The producer never waits. A reader checks every slot's sequence number before and after copying it, so a sample that
was overwritten meanwhile is counted, never passed on. Slots are plain 8-byte stores in program order, which x86-64
keeps; a port to a weaker memory model needs a fence in `publish`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError
from ganglion.robot_bridge.segment import SHM, Segment

_MAGIC = 0x474E_474C_0001  # "GNGL", layout 1
_HEADER_WORDS = 8  # magic, capacity, channels, bytes per value, start_ns, next_seq
_DTYPES: dict[int, np.dtype[Any]] = {2: np.dtype(np.float16), 4: np.dtype(np.float32)}


@dataclass(frozen=True)
class Samples:
    """Consecutive samples, copied out of the ring.

    values      (n, channels) float16 or float32; row i has sequence number first_seq + i
    stamps_ns   (n,) int64, monotonic time at the source
    written_ns  (n,) int64, monotonic time at which the producer published the sample
    """

    first_seq: int
    values: npt.NDArray[np.floating]
    stamps_ns: npt.NDArray[np.int64]
    written_ns: npt.NDArray[np.int64]


class Ring:
    """The mapped segment: `create` makes it, `attach` opens it by name; either side may `unlink` it."""

    def __init__(self, segment: Segment) -> None:
        self.name, self._segment, memory = segment.name, segment, segment.memory
        header = np.frombuffer(memory, np.int64, _HEADER_WORDS)
        if header[0] != _MAGIC or int(header[3]) not in _DTYPES:
            raise GanglionError("is no sample ring", where=SHM / self.name, remedy="start the bridge again")
        self.capacity, self.channels = int(header[1]), int(header[2])
        dtype, offset = _DTYPES[int(header[3])], int(header.nbytes)
        self._start, self.next_seq = header[4:5], header[5:6]
        self.seqs = np.frombuffer(memory, np.int64, self.capacity, offset)
        self.stamps_ns = np.frombuffer(memory, np.int64, self.capacity, offset + 8 * self.capacity)
        self.written_ns = np.frombuffer(memory, np.int64, self.capacity, offset + 16 * self.capacity)
        values = np.frombuffer(memory, dtype, self.capacity * self.channels, offset + 24 * self.capacity)
        self.values: npt.NDArray[np.floating] = values.reshape(self.capacity, self.channels)

    @classmethod
    def create(cls, capacity: int, channels: int, dtype: npt.DTypeLike = np.float16) -> Ring:
        """A new, empty segment of `capacity` samples, under a name of its own.

        Raises:
            GanglionError: shared memory is full or not there.
        """
        width = np.dtype(dtype).itemsize
        size = 8 * _HEADER_WORDS + capacity * (24 + channels * width)

        def begin() -> bytes:
            header = np.zeros(_HEADER_WORDS, np.int64)
            header[:4] = _MAGIC, capacity, channels, width
            return header.tobytes() + np.full(capacity, -1, np.int64).tobytes()

        return cls(Segment.create("ring", size, begin, f"a ring of {capacity} samples"))

    @classmethod
    def attach(cls, name: str) -> Ring:
        """Open an existing segment.

        Raises:
            GanglionError: there is none of that name.
        """
        return cls(Segment.attach(name))

    @property
    def start_ns(self) -> int:
        """Monotonic time at which sample 0 is due; 0 until the producer runs."""
        return int(self._start[0])

    @start_ns.setter
    def start_ns(self, value: int) -> None:
        self._start[0] = value

    def unlink(self) -> None:
        """Remove the name; the memory goes with the last process that maps it. Harmless when called twice."""
        self._segment.unlink()

    def close(self) -> None:
        """Give the descriptor back; the mapping goes with this object. Harmless when called twice."""
        self._segment.close()


class RingWriter:
    """The one producer: `claim` a slot, fill it, `publish` it."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def claim(self, seq: int) -> npt.NDArray[np.floating]:
        """The (channels,) row to fill for sample `seq`; its old content is invalid from here on."""
        slot = seq % self._ring.capacity
        self._ring.seqs[slot] = -1
        row: npt.NDArray[np.floating] = self._ring.values[slot]
        return row

    def publish(self, seq: int, stamp_ns: int, now_ns: int) -> None:
        """Make the claimed sample readable. A `seq` that is never published reads as lost."""
        ring, slot = self._ring, seq % self._ring.capacity
        ring.stamps_ns[slot], ring.written_ns[slot] = stamp_ns, now_ns
        ring.seqs[slot] = seq
        ring.next_seq[0] = seq + 1


class RingReader:
    """A reader with its own position, from sample `first_seq` on.

    lost  samples that never came or were overwritten before or while they were copied
    torn  those of them that were overwritten while they were copied
    """

    def __init__(self, ring: Ring, first_seq: int = 0) -> None:
        self._ring, self.next_seq = ring, first_seq
        self.lost = self.torn = 0

    def whole_hops(self, hop_samples: int) -> int:
        """The newest hop boundary (a multiple of `hop_samples`) up to which there are samples."""
        return int(self._ring.next_seq[0]) // hop_samples * hop_samples

    def read(self, until: int) -> Samples | None:
        """The next run of consecutive, intact samples before sequence number `until`; None if there is none yet.

        A run ends before a lost sample, so that `first_seq` of the next one shows the gap.
        """
        ring = self._ring
        while True:
            newest = int(ring.next_seq[0])
            oldest = newest - ring.capacity
            if self.next_seq < oldest:
                self._skip(oldest - self.next_seq)
            count = min(newest, until) - self.next_seq
            if count <= 0:
                return None
            expected = np.arange(self.next_seq, self.next_seq + count)
            slots = expected % ring.capacity
            before = ring.seqs[slots] == expected
            values, stamps_ns, written_ns = ring.values[slots], ring.stamps_ns[slots], ring.written_ns[slots]
            intact = before & (ring.seqs[slots] == expected)
            self.torn += int(np.count_nonzero(before & ~intact))  # each is found lost by this or a later read
            length = _run_length(intact)
            if intact[0]:
                first, self.next_seq = self.next_seq, self.next_seq + length
                return Samples(first, values[:length], stamps_ns[:length], written_ns[:length])
            self._skip(length)

    def _skip(self, count: int) -> None:
        self.lost += count
        self.next_seq += count


def _run_length(flags: npt.NDArray[np.bool_]) -> int:
    """How many leading entries equal the first one."""
    other = np.flatnonzero(flags != flags[0])
    return int(other[0]) if other.size else flags.size
