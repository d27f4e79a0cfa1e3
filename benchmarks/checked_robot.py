"""A robot whose answers can be checked afterwards, hop by hop, against a session in this process.

Every sample, frame and stamp of it follows from a few numbers, so the check takes no core while a server is measured.

A frame is encoded whenever the server comes to it. Which one a reply used is read off its age, and the session here is
shown that very frame before that very hop: then all else must be the same.
"""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.messages import Frame, Hop, PolicyClient, Reply
from ganglion.core.specs import RobotSpec
from ganglion.serving.policy.engine import PolicyEngine

TOLERANCE = 1e-5  # of a chunk's values, between the server and a session here
_BLOCK_HOPS = 200
_PICTURES = 8
_FLAGS = (
    "gap", "warming", "no_frame", "stale_frame", "bad_frame", "no_state", "nonfinite", "late", "refused", "unreachable",
)  # fmt: skip
_OWN = {"late", "refused", "unreachable"}  # of the client, in the server's place


@dataclass(frozen=True)
class Stream:
    """What one robot senses.

    robot         with one sensor
    start         number of its first hop; another start is another robot
    blocks        blocks of samples that repeat; None: none does
    frame_every   hops from frame to frame; 0: none
    """

    robot: RobotSpec
    start: int
    blocks: int | None = 4
    frame_every: int = 50

    @property
    def hop_ns(self) -> int:
        """Time of a hop."""
        return round(self.robot.sensors[0].hop_ms * 1e6)

    def hop(self, index: int) -> Hop:
        """The hop of that number; float16, as a bridge sends it."""
        sensor = self.robot.sensors[0]
        block, at = divmod(index, _BLOCK_HOPS)
        samples = _samples(block if self.blocks is None else block % self.blocks, sensor.hop_samples, sensor.channels)
        first = at * sensor.hop_samples
        return Hop(index * sensor.hop_samples, index * self.hop_ns, samples[first : first + sensor.hop_samples])

    def frames(self, index: int) -> list[Frame]:
        """Those exposed at that hop's stamp."""
        if not self.frame_every or (index - self.start) % self.frame_every:
            return []
        number = index // self.frame_every
        return [
            Frame(camera.name, index * self.hop_ns, _picture((number + place) % _PICTURES, camera.width, camera.height))
            for place, camera in enumerate(self.robot.cameras)
        ]


def record_dtype(robot: RobotSpec) -> np.dtype[Any]:
    """One reply, as it is kept in a file."""
    shape = robot.actions.horizon, robot.actions.dim
    numbers = [
        ("hop", "<i8"),
        ("last_seq", "<i8"),
        ("stamp_ns", "<i8"),
        ("vl_age_ms", "<f8"),
        ("trip_ms", "<f8"),
        ("sent_ns", "<i8"),
    ]
    return np.dtype([*numbers, ("ready", "?"), ("flags", "<u2"), ("chunk", "<f4", shape)])


def drive(
    client: PolicyClient,
    stream: Stream,
    hops: int,
    keep: Callable[[bytes], object],
    *,
    paced: bool,
    phase_s: float = 0.0,
    stop: threading.Event | None = None,
) -> None:
    """Send hops, and frames when they are due, and keep each reply as bytes of `record_dtype`.

    Args:
        client: the robot's.
        stream: what it senses.
        hops: how many.
        keep: takes one reply after another.
        paced: at the robot's own pace; else as fast as it goes.
        phase_s: how much later than others, where robots share a machine.
        stop: ends it sooner.
    """
    dtype, period_s = record_dtype(stream.robot), stream.hop_ns / 1e9
    began = time.perf_counter() + phase_s
    for number in range(hops):
        if stop and stop.is_set():
            return
        if paced:
            time.sleep(max(0.0, began + number * period_s - time.perf_counter()))
        index = stream.start + number
        for frame in stream.frames(index):
            client.send_frame(frame)
        sent_ns = time.monotonic_ns()
        reply = client.send_hop(stream.hop(index))
        trip_ms = (time.monotonic_ns() - sent_ns) / 1e6
        if reply is None:
            raise SystemExit(f"hop {index} was whole, and had no reply")
        keep(_row(dtype, index, reply, sent_ns, trip_ms).tobytes())


def read_records(path: Path, robot: RobotSpec) -> npt.NDArray[Any]:
    """The replies that a file holds; the last may have been cut by its writer's death."""
    dtype, raw = record_dtype(robot), path.read_bytes()
    return np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype)


def flags_of(row: Any) -> set[str]:
    """The flags of a kept reply."""
    return {name for bit, name in enumerate(_FLAGS) if int(row["flags"]) >> bit & 1}


@dataclass
class Verdict:
    """What came of checking replies.

    counts     by kind: "compared" (ready, chunk by chunk), "held" (not ready, for a reason that holds), "unanswered",
               "resumed", "wrong"
    largest    difference of any value of a compared chunk
    examples   of what was wrong
    """

    counts: Counter[str] = field(default_factory=Counter)
    largest: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Take in what another one holds."""
        self.counts.update(other.counts)
        self.largest = max(self.largest, other.largest)
        self.examples += other.examples[: max(0, 5 - len(self.examples))]

    def wrong(self, what: str) -> None:
        """Count what must not be."""
        self.counts["wrong"] += 1
        if len(self.examples) < 5:
            self.examples.append(what)


def check(engine: PolicyEngine, stream: Stream, rows: Iterable[Any]) -> Verdict:
    """Hold replies of one robot, from its first hop on, to a session of the engine.

    A session that the client began anew carries the flag "gap" in its first reply. What it answers is the same as if it
    had never ended, once it has been shown a frame again: until then it may say "no_frame".
    """
    verdict, session, shown, blind = Verdict(), engine.session(), None, False
    for row in rows:
        index, flags = int(row["hop"]), flags_of(row)
        if flags & _OWN:
            verdict.counts["unanswered"] += 1
            if row["ready"]:
                verdict.wrong(f"hop {index}: unanswered and ready")
            session.send_hop(stream.hop(index))
            continue
        exposed = None
        if not np.isnan(row["vl_age_ms"]):
            exposed = int(row["stamp_ns"]) - round(float(row["vl_age_ms"]) * 1e6)
        if exposed is not None and exposed != shown:
            for frame in stream.frames(exposed // stream.hop_ns):
                session.send_frame(frame)
            session.settle()
            shown = exposed
        verdict.counts["resumed"] += "gap" in flags
        blind = exposed is None and (blind or "gap" in flags)
        wanted = session.send_hop(stream.hop(index))
        assert wanted is not None
        for fault in _faults(row, flags, wanted, blind, verdict):
            verdict.wrong(f"robot {stream.start}, hop {index}: {fault}")
    session.close()
    return verdict


def _faults(row: Any, flags: set[str], wanted: Reply, blind: bool, verdict: Verdict) -> Iterator[str]:
    if (int(row["last_seq"]), int(row["stamp_ns"])) != (wanted.last_seq, wanted.stamp_ns):
        yield f"answers sample {row['last_seq']}, not {wanted.last_seq}"
    aside = {"gap"} | ({"no_frame", "stale_frame"} if blind else set())
    if flags - aside != {*wanted.flags} - aside:
        yield f"says {sorted(flags)}, not {sorted(wanted.flags)}"
    if bool(row["ready"]) != (wanted.ready and not blind):
        yield f"is {'' if row['ready'] else 'not '}ready"
    if not row["ready"]:
        verdict.counts["held"] += 1
        if row["chunk"].any():
            yield "holds, with a chunk"
        return
    if not blind and row["vl_age_ms"] != wanted.vl_age_ms and wanted.vl_age_ms is not None:
        yield f"used features of {row['vl_age_ms']} ms, not {wanted.vl_age_ms}"
    apart = float(np.abs(row["chunk"] - wanted.chunk).max())
    verdict.counts["compared"] += 1
    verdict.largest = max(verdict.largest, apart)
    if not apart <= TOLERANCE:
        yield f"is {apart:.2g} off"


def _row(dtype: np.dtype[Any], index: int, reply: Reply, sent_ns: int, trip_ms: float) -> npt.NDArray[Any]:
    bits = sum(1 << _FLAGS.index(flag) for flag in reply.flags)
    age = np.nan if reply.vl_age_ms is None else reply.vl_age_ms
    return np.array(
        (index, reply.last_seq, reply.stamp_ns, age, trip_ms, sent_ns, reply.ready, bits, reply.chunk), dtype
    )


@lru_cache(maxsize=8)
def _samples(block: int, hop_samples: int, channels: int) -> npt.NDArray[np.float16]:
    random = np.random.default_rng((8, block))
    return random.standard_normal((_BLOCK_HOPS * hop_samples, channels), np.float32).astype(np.float16)


@lru_cache(maxsize=4 * _PICTURES)
def _picture(number: int, width: int, height: int) -> bytes:
    image = np.random.default_rng((9, number)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()
