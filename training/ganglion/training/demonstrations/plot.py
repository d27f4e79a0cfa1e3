"""An episode's readings over time as a picture: each channel group of each sensor, the state, the actions.

Few channels are lines, many an image. Dimensions of one unit share a panel. Names and units are the robot spec's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ganglion.core.paths import written_aside
from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.episode import Episode, Stamps, Stream, first_stamp_ns

_AS_LINES = 8  # channels at most
_COLUMNS, _POINTS = 1500, 20_000  # of an image, of a line: a recording may be hours long, and larger than memory
_GAP = 1.5  # usual intervals without a reading, as in measures.py
_DARKEST, _BRIGHTEST = 1, 99.7  # percentiles of an image
_INCHES, _HIGH, _LOW = 10.0, 2.6, 1.7  # width; heights of an image and of lines


@dataclass(frozen=True)
class _Panel:
    """Some channels of a stream, with what is to be said of them.

    title   what they are of
    names   (channels,) one for each line; empty for an image
    unit    that all of them share
    stream  they are of
    part    which of its channels
    """

    title: str
    names: tuple[str, ...]
    unit: str
    stream: Stream
    part: Sequence[int]


def write_plot(episode: Episode, robot: RobotSpec, path: Path, where: str) -> None:
    """Write the plot of an episode, PNG; see `draw`.

    Raises:
        GanglionError: the disk is full.
    """
    figure = draw(episode, robot, where)
    with written_aside(path) as aside:
        FigureCanvasAgg(figure).print_png(aside)


def draw(episode: Episode, robot: RobotSpec, where: str) -> Figure:
    """The plot of an episode.

    Args:
        episode: what to plot; streams and channel groups that it lacks get no panel.
        robot: of the episode.
        where: what to call the episode in the title.
    """
    panels = [*_felt(episode, robot), *_commanded(episode, robot)]
    heights = [_LOW if panel.names else _HIGH for panel in panels]
    figure = Figure(figsize=(_INCHES, 0.8 + sum(heights)), layout="constrained")
    figure.suptitle(f"{where}\n{episode.instruction}".rstrip(), wrap=True, fontsize=10, parse_math=False)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    begin = first_stamp_ns(episode)
    for panel, area in zip(panels, axes, strict=True):
        (_draw_lines if panel.names else _draw_image)(panel, area, begin)
    last = max(int(panel.stream.stamps_ns[-1]) for panel in panels)
    axes[-1].set(xlabel="time, s", xlim=(0, (last - begin) / 1e9))
    return figure


def _felt(episode: Episode, robot: RobotSpec) -> Iterator[_Panel]:
    for sensor in robot.sensors:
        absent, first = episode.absent.get(sensor.name, ()), 0
        for group in sensor.groups:
            part = range(first, first + group.channels)
            first += group.channels
            if sensor.name in episode.sensors and group.name not in absent:
                names = tuple(str(k) for k in range(group.channels)) if group.channels <= _AS_LINES else ()
                yield _Panel(f"{sensor.name}: {group.name}", names, group.unit, episode.sensors[sensor.name], part)


def _commanded(episode: Episode, robot: RobotSpec) -> Iterator[_Panel]:
    if robot.state is not None and episode.state is not None:
        yield from _by_unit("state", robot.state.names, robot.state.units, episode.state)
    yield from _by_unit("actions", robot.actions.names, robot.actions.units, episode.actions)


def _by_unit(title: str, names: Sequence[str], units: Sequence[str], stream: Stream) -> Iterator[_Panel]:
    for unit in dict.fromkeys(units):
        part = [index for index, other in enumerate(units) if other == unit]
        yield _Panel(title, tuple(names[index] for index in part), unit, stream, part)


def _draw_lines(panel: _Panel, area: Any, begin_ns: int) -> None:
    every = slice(None, None, -(-len(panel.stream.stamps_ns) // _POINTS))
    seconds = (panel.stream.stamps_ns[every] - begin_ns) / 1e9
    values = panel.stream.values[every][:, panel.part].astype(np.float64)
    area.plot(seconds, values, linewidth=0.9, label=panel.names)
    area.set(ylabel=f"{panel.title}\n{panel.unit}")
    area.grid(alpha=0.25)
    if len(panel.names) > 1:
        area.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def _draw_image(panel: _Panel, area: Any, begin_ns: int) -> None:
    moments, rows = _columns(panel.stream.stamps_ns)
    shown = panel.stream.values[rows.clip(min=0)][:, panel.part].astype(np.float32)
    shown[rows < 0] = np.nan
    low, high = np.nanpercentile(shown, (_DARKEST, _BRIGHTEST))
    extent = ((moments[0] - begin_ns) / 1e9, (moments[-1] - begin_ns) / 1e9, len(panel.part), 0)
    image = area.imshow(shown.T, aspect="auto", cmap="magma", vmin=low, vmax=high, extent=extent)
    area.set(ylabel=f"{panel.title}\nchannel")
    area.figure.colorbar(image, ax=area, label=panel.unit, pad=0.01)


def _columns(stamps_ns: Stamps) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Moments evenly spread over a stream, and the reading that is the newest at each; -1 where there is a gap."""
    moments = np.linspace(stamps_ns[0], stamps_ns[-1], min(len(stamps_ns), _COLUMNS))
    rows = np.searchsorted(stamps_ns, moments, side="right") - 1
    usual = float(np.median(np.diff(stamps_ns))) if len(stamps_ns) > 1 else 0.0
    gap = moments - stamps_ns[rows.clip(min=0)] > _GAP * usual
    return moments, np.where(gap, -1, rows.clip(min=0))
