"""What the cameras of an episode saw, side by side with the time: H.264 in an .mp4 (MPEG-4 where it lacks), or a .gif.

A picture for each frame of the fastest camera, shown for as long as it was; beside it the newest frame of the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.paths import written_aside
from ganglion.core.specs import CameraSpec, RobotSpec
from ganglion.training.demonstrations.episode import Episode, first_stamp_ns
from ganglion.training.demonstrations.images import decode

_ENCODERS = {"libx264": {"crf": "20"}, "mpeg4": {"b": "4000000"}}  # best first; PyAV's wheels have both
_TIME_BASE = Fraction(1, 60_000)  # in which all usual rates are whole; MPEG-4 takes 16 bits of denominator
_PANEL_PX = 224  # least height of a picture
_LINE_PX, _FONT_PX = 18, 13
_LINES = 3  # of the instruction at most


def write_video(episode: Episode, robot: RobotSpec, path: Path, where: str) -> None:
    """Write the video of an episode, .mp4 or .gif by the path's ending.

    Args:
        episode: with a frame of at least one camera.
        robot: of the episode.
        path: the file.
        where: what to call the episode in an error.

    Raises:
        InputError: there is no frame, or one can't be decoded.
        GanglionError: the disk is full.
    """
    cameras = [camera for camera in robot.cameras if camera.name in episode.cameras]
    if not cameras:
        raise InputError("has no camera to make a video of", where=where, remedy="leave --video out")
    leading = max(cameras, key=lambda camera: camera.rate_hz)
    moments = [int(stamp) for stamp in episode.cameras[leading.name].stamps_ns]
    pictures = _pictures(episode, cameras, moments, where)
    with written_aside(path) as aside:
        if path.suffix == ".gif":
            _write_gif(aside, pictures, moments, leading.rate_hz)
        else:
            _write_mp4(aside, pictures, moments, leading.rate_hz)


def _pictures(
    episode: Episode, cameras: Sequence[CameraSpec], moments: Sequence[int], where: str
) -> Iterator[Image.Image]:
    """What there is to see at each moment."""
    font = ImageFont.load_default(_FONT_PX)
    height = max(_PANEL_PX, *(camera.height for camera in cameras))
    widths = [round(camera.width * height / camera.height) for camera in cameras]
    words = _wrapped(episode.instruction, font, sum(widths) - 8)
    begin, last = first_stamp_ns(episode), [-1] * len(cameras)
    # H.264 with color at half resolution takes even sizes only.
    size = _even(sum(widths)), _even(height + _LINE_PX * (2 + len(words)))
    panels = Image.new("RGB", (sum(widths), height))
    for moment in moments:
        edges = itertools.accumulate(widths, initial=0)
        for column, (camera, edge) in enumerate(zip(cameras, edges, strict=False)):
            frames = episode.cameras[camera.name]
            newest = int(np.searchsorted(frames.stamps_ns, moment, side="right")) - 1
            if newest > last[column]:
                pixels = decode(frames.encoded[newest], camera, f"{where}, camera {camera.name}, frame {newest}")
                panels.paste(Image.fromarray(pixels).resize((widths[column], height)), (edge, 0))
                last[column] = newest
        picture = Image.new("RGB", size)
        picture.paste(panels, (0, _LINE_PX))
        draw = ImageDraw.Draw(picture)
        for camera, edge in zip(cameras, itertools.accumulate(widths, initial=0), strict=False):
            draw.text((edge + 4, 1), camera.name, "white", font)
        for line, text in enumerate([f"{(moment - begin) / 1e9:.2f} s", *words]):
            draw.text((4, height + _LINE_PX * (line + 1) + 1), text, "white", font)
        yield picture


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """A text in lines that are no wider than so many pixels; what doesn't fit into the last is left out."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        elif len(lines) < _LINES:
            lines.append(word)
        else:
            lines[-1] += " ..."
            break
    return lines


def _even(length: int) -> int:
    return length + length % 2


def _write_mp4(path: Path, pictures: Iterator[Image.Image], moments: Sequence[int], rate_hz: float) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        name = _encoder()
        stream = container.add_stream(name, Fraction(rate_hz).limit_denominator(1001), options=_ENCODERS[name])
        assert isinstance(stream, av.VideoStream)
        first = next(pictures)
        stream.width, stream.height = first.size
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _TIME_BASE
        for moment, picture in zip(moments, itertools.chain([first], pictures), strict=True):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")
            frame.pts, frame.time_base = round((moment - moments[0]) / 1e9 / _TIME_BASE), _TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _encoder() -> str:
    """The best video encoder that the installed PyAV has.

    Raises:
        GanglionError: it has none of them.
    """
    for name in _ENCODERS:
        if name in av.codecs_available:
            return name
    raise GanglionError(f"PyAV has neither {' nor '.join(_ENCODERS)}", remedy="write a .gif, or pip install av")


def _write_gif(path: Path, pictures: Iterator[Image.Image], moments: Sequence[int], rate_hz: float) -> None:
    """A GIF counts in hundredths of a second: rounding when each picture begins keeps the whole as long as it was."""
    ends_ns = [*moments[1:], moments[-1] + round(1e9 / rate_hz)]
    begins = np.rint((np.array([moments[0], *ends_ns]) - moments[0]) / 1e7).astype(int) * 10
    first = next(pictures)
    first.save(
        path, "GIF", save_all=True, append_images=pictures, duration=np.diff(begins).tolist(), loop=0, disposal=1
    )
