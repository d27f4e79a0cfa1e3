"""A set of episodes -> a LeRobotDataset v3.0, an episode after the other, some rows after the other.

Rows follow each other as the readings came; LeRobot's `timestamp` counts them by the frame rate, and the true time of
everything a row shows is in `ganglion.stamps_ns.*`. A camera's video has a frame for each row.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json, written_aside
from ganglion.core.specs import CameraSpec, to_dict
from ganglion.training.demonstrations.episode import Episode
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.images import Pixels
from ganglion.training.demonstrations.lerobot import layout as fmt
from ganglion.training.demonstrations.lerobot.columns import rows_at_once, table
from ganglion.training.demonstrations.lerobot.description import Description
from ganglion.training.demonstrations.lerobot.files import NumberedFiles
from ganglion.training.demonstrations.lerobot.layout import Layout
from ganglion.training.demonstrations.lerobot.parts import (
    Columns,
    columns_of,
    facts_of,
    frames_of,
    rows_of,
    statistics_of,
)
from ganglion.training.demonstrations.lerobot.rows import Rows
from ganglion.training.demonstrations.lerobot.statistics import Statistics, of_frames
from ganglion.training.demonstrations.lerobot.video import VideoWriter

# LeRobot finds a frame by its time in float32, within 0.1 ms; from 1024 s on, float32 has steps of more.
_VIDEO_SECONDS = 1000


def export_lerobot(episodes: EpisodeSet, out: Path) -> None:
    """Write a data set.

    Raises:
        InputError: the folder is there already, or an episode can't be read.
        GanglionError: the disk is full.
    """
    if out.exists():
        raise InputError("is there already", where=out, remedy="choose another --out")
    numbers = range(len(episodes))
    looked_at = tqdm(numbers, "looking", unit="episode", disable=None)
    layout = fmt.plan(episodes.robot, (episodes[number] for number in looked_at))
    with written_aside(out) as aside:
        aside.mkdir()
        writer = _Writer(aside, layout)
        for number in tqdm(numbers, "exporting", unit="episode", disable=None):
            writer.add(episodes[number], f"{episodes.folder}: episode {episodes.names[number]}")
        writer.close(episodes.robot.name)
        ours = {"format_version": fmt.OUR_FORMAT, "robot": to_dict(episodes.robot), "source": episodes.source}
        write_json(aside / fmt.OURS, ours)


class _Writer:
    """Writes a data set into an empty folder."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._layout = layout
        self._meta = Description(folder, layout)
        nothing = {feature.key: np.zeros((0, *feature.shape), feature.dtype) for feature in layout.table}
        schema = table(nothing, layout.table).schema
        self._data = NumberedFiles(
            lambda place: folder / fmt.DATA.format(**place),
            lambda path: pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True),
            fmt.DATA_FILE_MB,
        )
        self._videos = {key: _video_files(folder, key, camera, layout.fps) for key, camera in layout.cameras.items()}

    def add(self, episode: Episode, where: str) -> None:
        """Write an episode behind the others.

        Raises:
            InputError: an image is damaged or of the wrong size.
        """
        rows = rows_of(episode, self._layout)
        counted = self._counted(len(rows), self._meta.task(episode.instruction))
        statistics = statistics_of(episode, self._layout, rows, counted)
        places = self._write_rows(episode, rows, counted)
        checksums = {}
        for key, camera in self._layout.cameras.items():
            frames = frames_of(episode, key, camera, rows, where)
            place, statistics[key], checksums[key] = self._write_frames(key, frames, len(rows))
            places |= place
        ours = json.dumps(facts_of(episode, checksums), allow_nan=False)
        self._meta.add(episode.instruction, len(rows), places, statistics, ours)

    def close(self, robot: str) -> None:
        """Finish all files."""
        self._data.close()
        for files in self._videos.values():
            files.close()
        self._meta.close(robot)

    def _counted(self, count: int, task: int) -> Columns:
        """LeRobot's bookkeeping of the next episode."""
        frames = np.arange(count)
        return {
            "timestamp": (frames / self._layout.fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(count, self._meta.episodes),
            "index": self._meta.rows + frames,
            "task_index": np.full(count, task),
        }

    def _write_rows(self, episode: Episode, rows: Rows, counted: Columns) -> dict[str, Any]:
        file, step = self._data.next(), rows_at_once(self._layout.table)
        for start in range(0, len(rows), step):
            end = min(start + step, len(rows))
            columns = columns_of(episode, self._layout, rows, start, end)
            columns |= {key: values[start:end] for key, values in counted.items()}
            file.write_table(table(columns, self._layout.table))
        return {f"data/{name}": number for name, number in self._data.place.items()}

    def _write_frames(
        self, key: str, frames: Iterable[tuple[Pixels, bool]], count: int
    ) -> tuple[dict[str, Any], Statistics, int]:
        """Returns where they are, and of those that are new the statistics of their colors and a checksum."""
        files, fps = self._videos[key], self._layout.fps
        video = files.next(full=files.file is not None and files.file.frames + count > _VIDEO_SECONDS * fps)
        begin, histogram, new, checksum = video.frames, np.zeros((3, 256), np.int64), 0, 0
        for pixels, is_new in frames:
            video.write(pixels)
            if is_new:
                histogram += [np.bincount(pixels[..., color].ravel(), minlength=256) for color in range(3)]
                new, checksum = new + 1, zlib.crc32(pixels.tobytes(), checksum)
        times = {"from_timestamp": begin / fps, "to_timestamp": video.frames / fps}
        place = {f"videos/{key}/{name}": value for name, value in (files.place | times).items()}
        return place, of_frames(histogram, new), checksum


def _video_files(folder: Path, key: str, camera: CameraSpec, fps: int) -> NumberedFiles[VideoWriter]:
    return NumberedFiles(
        lambda place: folder / fmt.VIDEO.format(video_key=key, **place),
        lambda path: VideoWriter(path, camera, fps),
        fmt.VIDEO_FILE_MB,
    )
