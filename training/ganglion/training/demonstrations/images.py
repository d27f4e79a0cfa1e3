"""Encoded frames of a camera, decoded to be looked at: is each one whole, and does it show anything?"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.images import upright, upright_size
from ganglion.core.specs import CameraSpec
from ganglion.training.demonstrations.episode import CameraStream

Pixels = npt.NDArray[np.uint8]

BLACK = 8  # of 255, the most that a pixel of a black frame has: JPEG leaves a little
_PLAIN = 2.0  # of 255, the deviation of each color over a frame that shows nothing
_STILL = 0.5  # of 255, the mean difference between frames of a camera that hangs; noise of a real one is larger
_TELLING_NS = 500_000_000  # in less, a scene may well stand still before a camera that doesn't hang
_LOOKED_AT = 5  # frames of an episode


def decoded(frames: CameraStream, camera: CameraSpec, where: object) -> Iterator[Pixels]:
    """All frames, (height, width, 3) uint8 RGB, each decoded when it is asked for.

    Raises:
        InputError: one is no JPEG or PNG, damaged, or of another size; names it.
    """
    for number, image in enumerate(frames.encoded):
        yield decode(image, camera, f"{where}, camera {camera.name}, frame {number}")


def decode(image: bytes, camera: CameraSpec, where: object) -> Pixels:
    """One frame, (height, width, 3) uint8 RGB.

    Raises:
        InputError: see `decoded`.
    """
    try:
        with Image.open(io.BytesIO(image), formats=("JPEG", "PNG")) as opened:
            size = upright_size(opened)  # from the header: what claims to be huge is never decoded
            pixels = np.asarray(upright(opened)) if size == (camera.width, camera.height) else None
    except Exception as error:  # Pillow's readers raise whatever they met in damaged data
        reason = str(error).replace("\n", " ") or type(error).__name__
        raise InputError(f"is no whole JPEG or PNG ({reason:.80})", where=where, remedy="replace it") from None
    if pixels is None:
        expected = f"{camera.width} x {camera.height}"
        raise InputError(f"is {size[0]} x {size[1]} pixels", where=where, remedy=f"the camera's are {expected}")
    return pixels


def is_black(frames: CameraStream, camera: CameraSpec, where: object) -> bool:
    """Whether no frame shows anything; all are decoded.

    Raises:
        InputError: see `decoded`.
    """
    return max((int(pixels.max()) for pixels in decoded(frames, camera, where)), default=0) <= BLACK


@dataclass(frozen=True)
class Look:
    """What some frames of a camera, spread over an episode, show.

    black   nothing
    plain   one color each, not black
    frozen  all the same for half a second or more, neither black nor plain
    """

    black: bool
    plain: bool
    frozen: bool


def look_at(frames: CameraStream, camera: CameraSpec, where: object) -> Look:
    """Look at frames from the first to the last.

    Raises:
        InputError: see `decoded`.
    """
    numbers = np.unique(np.linspace(0, len(frames.encoded) - 1, _LOOKED_AT).round().astype(np.int64))
    some = CameraStream(frames.stamps_ns[numbers], [frames.encoded[number] for number in numbers])
    seen = np.stack(list(decoded(some, camera, where))).astype(np.float32)
    black = bool(seen.max() <= BLACK)
    plain = not black and bool((seen.std(axis=(1, 2)) < _PLAIN).all())
    long = int(some.stamps_ns[-1] - some.stamps_ns[0]) >= _TELLING_NS
    still = long and bool((np.abs(seen[1:] - seen[0]).mean(axis=(1, 2, 3)) < _STILL).all())
    return Look(black, plain, still and not black and not plain)
