"""What a robot's message to a policy server holds as tensors, and the server's reply: the same on every transport.

    request  samples_fp16 | samples_fp32 (n, channels), clock (2,) = first_seq and stamp_ns of the hop
             prime (1,) bool, true where the samples are a recorded window to begin from
             state (dim,) float32, what the robot knows of itself
             frames (k,) JPEG, frame_cameras (k,) names, frame_stamps_ns (k,)
             instruction (1,) UTF-8, token (b,) uint8, what the session was begun with
    reply    chunk (horizon, dim) float32, of no rows while no hop is whole
             report (b,) uint8, JSON: last_seq, stamp_ns, ready, vl_age_ms or null, [flags], {timings_ms}

All but `clock` and the samples may be absent from a request. Bytes are object arrays, as Triton has them in numpy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.messages import Frame, Hop, Reply

Tensors = dict[str, npt.NDArray[Any]]
_SAMPLES = {"samples_fp16": np.dtype(np.float16), "samples_fp32": np.dtype(np.float32)}
_FRAMES = ("frames", "frame_cameras", "frame_stamps_ns")
_WHERE = "policy request"
_MOST_NUMBER = 1 << 62  # of sequence numbers and stamps: what follows on them is an int64, too
_MOST_INSTRUCTION, _MOST_TOKEN, _MOST_FRAMES = 1024, 64, 64  # bytes of a goal in words and of a token; pictures at once


class NoSession(GanglionError):
    """A message for a session that is not there, or not any more: begin again, with a window to prime it."""


class ServerFull(GanglionError):
    """All places are taken: try again when a robot has left."""


_ERRORS = {"no_session": NoSession, "full": ServerFull, "input": InputError}


@dataclass(frozen=True)
class PolicyRequest:
    """One message of a robot.

    hop          newest samples
    prime        they are a recorded window: the session begins anew from them
    frames       camera images since the last message
    instruction  None: as before
    token        of the session
    """

    hop: Hop
    prime: bool = False
    frames: tuple[Frame, ...] = ()
    instruction: str | None = None
    token: bytes = b""


def request_tensors(request: PolicyRequest) -> Tensors:
    """A request as tensors.

    Raises:
        InputError: samples are neither float16 nor float32.
    """
    hop = request.hop
    name = next((name for name, dtype in _SAMPLES.items() if dtype == hop.samples.dtype), None)
    if name is None:
        raise InputError(f"samples are {hop.samples.dtype}", where=_WHERE, remedy="send float16 or float32")
    tensors = {name: np.ascontiguousarray(hop.samples), "clock": np.array([hop.first_seq, hop.stamp_ns], np.int64)}
    if request.prime:
        tensors["prime"] = np.array([True])
    if hop.state is not None:
        tensors["state"] = np.ascontiguousarray(hop.state, np.float32)
    if request.frames:
        tensors["frames"] = _texts([frame.jpeg for frame in request.frames])
        tensors["frame_cameras"] = _texts([frame.camera.encode() for frame in request.frames])
        tensors["frame_stamps_ns"] = np.array([frame.stamp_ns for frame in request.frames], np.int64)
    if request.instruction is not None:
        tensors["instruction"] = _texts([request.instruction.encode()])
    if request.token:
        tensors["token"] = np.frombuffer(request.token, np.uint8)
    return tensors


def read_request(tensors: Mapping[str, npt.NDArray[Any]]) -> PolicyRequest:
    """A request from its tensors, which may come from anybody.

    Raises:
        InputError: tensors are missing or contradict each other, a text is not UTF-8, or something is beyond its bound.
    """
    samples = [tensors[name] for name in _SAMPLES if name in tensors]
    if len(samples) != 1:
        raise InputError(f"holds {len(samples)} tensors of samples", where=_WHERE, remedy=f"send one of {[*_SAMPLES]}")
    first_seq, stamp_ns = (index(value) for value in _sized(tensors, "clock", 2).tolist())
    if not (0 <= first_seq < _MOST_NUMBER and abs(stamp_ns) < _MOST_NUMBER):
        raise InputError(f"'clock' is {first_seq}, {stamp_ns}", where=_WHERE, remedy="number samples from 0 on")
    state, instruction = tensors.get("state"), tensors.get("instruction")
    if instruction is not None and len(said := _sized(tensors, "instruction", 1)[0]) > _MOST_INSTRUCTION:
        raise InputError(f"instruction has {len(said)} bytes", where=_WHERE, remedy=f"send at most {_MOST_INSTRUCTION}")
    return PolicyRequest(
        Hop(first_seq, stamp_ns, samples[0], None if state is None else state.astype(np.float32, copy=False)),
        prime="prime" in tensors and bool(_sized(tensors, "prime", 1)[0]),
        frames=() if tensors.keys().isdisjoint(_FRAMES) else _read_frames(tensors),
        instruction=None if instruction is None else _text(_sized(tensors, "instruction", 1)[0], "instruction"),
        token=_read_token(tensors["token"]) if "token" in tensors else b"",
    )


def _read_token(found: npt.NDArray[Any]) -> bytes:
    if found.dtype != np.uint8 or found.ndim != 1 or len(found) > _MOST_TOKEN:
        remedy = f"send up to {_MOST_TOKEN} uint8"
        raise InputError(f"'token' has shape {found.shape} of {found.dtype}", where=_WHERE, remedy=remedy)
    return found.tobytes()


def _read_frames(tensors: Mapping[str, npt.NDArray[Any]]) -> tuple[Frame, ...]:
    frames = tensors.get("frames", np.empty(0, object))
    if len(frames) > _MOST_FRAMES:
        raise InputError(f"holds {len(frames)} frames", where=_WHERE, remedy="send the newest of each camera")
    cameras, stamps = _sized(tensors, "frame_cameras", len(frames)), _sized(tensors, "frame_stamps_ns", len(frames))
    return tuple(
        Frame(_text(camera, "frame_cameras"), int(stamp), bytes(jpeg))
        for camera, stamp, jpeg in zip(cameras, stamps, frames, strict=True)
    )


def reply_tensors(reply: Reply | None, action_dim: int) -> Tensors:
    """A reply as tensors; None, while no hop is whole, is a chunk of no rows."""
    if reply is None:
        reply = Reply(np.empty((0, action_dim), np.float32), last_seq=-1, stamp_ns=0, ready=False, vl_age_ms=None)
    report = {
        "last_seq": reply.last_seq,
        "stamp_ns": reply.stamp_ns,
        "ready": bool(reply.ready),
        "vl_age_ms": reply.vl_age_ms,
        "flags": reply.flags,
        "timings_ms": {leg: round(value, 4) for leg, value in reply.timings_ms.items()},
    }
    return {"chunk": reply.chunk, "report": np.frombuffer(json.dumps(report).encode(), np.uint8)}


def read_reply(tensors: Mapping[str, npt.NDArray[Any]]) -> Reply | None:
    """A reply from its tensors.

    Raises:
        InputError: tensors are missing or contradict each other.
    """
    try:
        chunk, found = tensors["chunk"], json.loads(tensors["report"].tobytes())
        rows, _ = chunk.shape
        age = found["vl_age_ms"]
        reply = Reply(
            chunk,
            last_seq=index(found["last_seq"]),
            stamp_ns=index(found["stamp_ns"]),
            ready=found["ready"] is True,
            vl_age_ms=None if age is None else float(age),
            flags=tuple(str(flag) for flag in found["flags"]),
            timings_ms={leg: float(value) for leg, value in found["timings_ms"].items()},
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"is no reply ({error!r:.120})", where="policy server", remedy="match versions") from None
    return reply if rows else None


def error_text(error: GanglionError) -> str:
    """An error as the text that goes to the robot, which `read_error` knows again."""
    word = next((word for word, kind in _ERRORS.items() if isinstance(error, kind)), "failed")
    return f"{word}: {error}"


def read_error(text: str) -> GanglionError:
    """The error of that text, whoever on the way wrote it."""
    word, _, said = text.partition(": ")
    if "START flag" in text:  # Triton's own words for a sequence that it does not know
        return NoSession(text)
    return _ERRORS[word](said) if word in _ERRORS else GanglionError(text)


def _sized(tensors: Mapping[str, npt.NDArray[Any]], name: str, size: int) -> npt.NDArray[Any]:
    found = tensors.get(name, np.empty(0, object))
    if found.shape != (size,):
        raise InputError(f"{name!r} has shape {found.shape}", where=_WHERE, remedy=f"send ({size},)")
    return found


def _texts(values: Sequence[bytes]) -> npt.NDArray[Any]:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _text(value: Any, name: str) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise InputError(f"{name!r} is not UTF-8", where=_WHERE, remedy="encode it so") from None
