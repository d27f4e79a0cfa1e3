"""An episode as the format keeps it: columns of its rows, frames of its videos, statistics, and what only we know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.specs import CameraSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.images import Pixels, decode
from ganglion.training.demonstrations.lerobot.layout import ACTION, COUNT, STAMPS, Feature, Layout, streams_of
from ganglion.training.demonstrations.lerobot.rows import Rows, lay_out
from ganglion.training.demonstrations.lerobot.statistics import Statistics, of_readings

Columns = dict[str, npt.NDArray[Any]]


def rows_of(episode: Episode, layout: Layout) -> Rows:
    """Which readings each row shows, by feature key; streams that were not recorded have none."""
    return lay_out({key: stream.stamps_ns for key, stream in streams_of(episode).items()}, layout.room, ACTION)


def columns_of(episode: Episode, layout: Layout, rows: Rows, start: int, end: int) -> Columns:
    """The values of rows `start` to `end`, and the stamps of what they show; 0 for what was not recorded."""
    streams, count = streams_of(episode), end - start
    columns: Columns = {}
    for feature in layout.values:
        columns[feature.key] = np.zeros((count, *feature.shape), feature.dtype)
        if isinstance(stream := streams.get(feature.key), Stream):
            columns[feature.key][:] = stream.values[rows.shown(feature.key)[start:end]]
    for key in (*layout.cameras, *(feature.key for feature in layout.values)):
        columns[STAMPS + key] = np.zeros(count, np.int64)
        if key in streams:
            columns[STAMPS + key][:] = streams[key].stamps_ns[rows.shown(key)[start:end]]
    for feature in layout.sensors:
        stream = streams.get(feature.key)
        columns |= _blocks(stream if isinstance(stream, Stream) else None, feature, rows, start, end)
    return columns


def _blocks(stream: Stream | None, feature: Feature, rows: Rows, start: int, end: int) -> Columns:
    """The samples that are new in each row, oldest first, and zeros up to the size of a block."""
    blocks = np.zeros((end - start, *feature.shape), feature.dtype)
    stamps = np.zeros(blocks.shape[:2], np.int64)
    counts = np.zeros(end - start, np.int64)
    if stream is not None:
        counts = rows.counts(feature.key)[start:end]
        last = int(rows.ends[feature.key][end - 1])
        first = last - int(counts.sum())
        there = np.arange(feature.shape[0]) < counts[:, None]
        blocks[there], stamps[there] = stream.values[first:last], stream.stamps_ns[first:last]
    return {feature.key: blocks, STAMPS + feature.key: stamps, COUNT + feature.key: counts}


def frames_of(episode: Episode, key: str, camera: CameraSpec, rows: Rows, where: str) -> Iterator[tuple[Pixels, bool]]:
    """What a camera shows in each row, and whether it is new; black if it was not recorded.

    Raises:
        InputError: an image is damaged or of another size than the camera's.
    """
    stream = streams_of(episode).get(key)
    pixels: Pixels = np.zeros((camera.height, camera.width, 3), np.uint8)
    if not isinstance(stream, CameraStream):
        yield from ((pixels, False) for _ in range(len(rows)))
        return
    before = -1
    for number in rows.shown(key).tolist():
        if number != before:
            pixels = decode(stream.encoded[number], camera, f"{where}, camera {camera.name}, frame {number}")
        yield pixels, number != before
        before = number


def statistics_of(episode: Episode, layout: Layout, rows: Rows, bookkeeping: Columns) -> dict[str, Statistics]:
    """Statistics of what the rows show, by feature; of a sensor those of its samples."""
    streams, found = streams_of(episode), dict[str, Statistics]()
    for feature in (*layout.values, *layout.sensors):
        stream = streams.get(feature.key)
        values = stream.values if isinstance(stream, Stream) else np.zeros((0, feature.shape[-1]))
        held = isinstance(stream, Stream) and feature in layout.values
        found[feature.key] = of_readings(values[rows.shown(feature.key)] if held else values)
    return found | {key: of_readings(values[:, None]) for key, values in bookkeeping.items()}


def facts_of(episode: Episode, checksums: Mapping[str, int]) -> dict[str, Any]:
    """What rows don't say, as JSON: session, absent groups, notes, and the streams as they were recorded.

    Args:
        episode: the episode.
        checksums: CRC-32 of the pixels of each camera's frames, by feature key.
    """
    streams = {
        key: {"count": len(stream.stamps_ns)}
        | ({"dtype": str(stream.values.dtype)} if isinstance(stream, Stream) else {"crc32": checksums[key]})
        for key, stream in streams_of(episode).items()
    }
    return {
        "session": episode.session,
        "absent": {name: list(groups) for name, groups in episode.absent.items()},
        "notes": dict(episode.notes),
        "streams": streams,
    }
