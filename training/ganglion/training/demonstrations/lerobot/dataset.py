"""The tables of a LeRobotDataset v3.0 as they lie on disk: what meta/ says, and the rows of each episode in turn."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ganglion.core.errors import InputError
from ganglion.training.demonstrations.lerobot.columns import rows_at_once, values_of
from ganglion.training.demonstrations.lerobot.files import readable
from ganglion.training.demonstrations.lerobot.layout import AGAIN, INFO, TASKS, VERSION, Feature


class LeRobotDataset:
    """A data set's own description.

    Attributes:
        folder: where it lies.
        fps: rows per second.
        robot_type: what the robot is called.
        features: by key; videos and images too.
        episodes: what is noted of each, in order, without statistics.
        tasks: the goals in words, by number.

    Raises:
        InputError: it is no data set, of another version, or contradicts itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, where = folder, folder / INFO
        if not where.is_file():
            raise InputError("is no LeRobotDataset", where=folder, remedy="give the folder that has meta/info.json")
        info = read_json(where)
        if not isinstance(info, dict) or info.get("codebase_version") != VERSION:
            found = info.get("codebase_version") if isinstance(info, dict) else info
            raise InputError(
                f"codebase_version is {found!r:.40}, this ganglion reads {VERSION}",
                where=where,
                remedy="convert an older one with lerobot's own convert_dataset_v21_to_v30",
            )
        try:
            self.fps = float(info["fps"])
            self.robot_type = str(info.get("robot_type") or "unknown")
            self.features = {key: _feature(key, one) for key, one in info["features"].items()}
            self._data_path, self._video_path = info["data_path"], info.get("video_path")
            if not self.fps > 0:
                raise ValueError(f"fps is {self.fps}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"key {error} is missing" if isinstance(error, KeyError) else error
            raise InputError(f"is no description of a data set ({reason})", where=where, remedy=AGAIN) from None
        self.tasks = self._read_tasks()
        self.episodes = self._read_episodes()

    def video(self, episode: dict[str, Any], key: str) -> tuple[Path, float]:
        """The file an episode's frames are in, and the time in seconds at which they begin.

        Raises:
            InputError: the episode notes none.
        """
        path = self._path(self._video_path, episode, f"videos/{key}/", video_key=key)
        begin = episode.get(f"videos/{key}/from_timestamp")
        if not isinstance(begin, int | float) or not 0 <= begin < math.inf:
            raise self._lacks(episode, f"a good from_timestamp of {key}")
        return path, begin

    def rows(self, features: Sequence[Feature]) -> Iterator[tuple[dict[str, Any], Iterator[dict[str, Any]]]]:
        """Each episode and the values of its rows, batch by batch, (rows, *shape), plain numbers (rows,).

        They are read as they are asked for; use up one episode's before going on. Columns of images are Arrow arrays.

        Raises:
            InputError: files are missing or damaged, or don't hold the rows that meta/ says.
        """
        groups = itertools.groupby(self._slices(features), key=lambda piece: piece[0])
        for episode in self.episodes:
            number, pieces = next(groups, (None, iter(())))
            if number != episode["episode_index"]:
                raise self._lacks(episode, "its rows")
            yield episode, self._checked(episode, (columns for _, columns in pieces))
        if next(groups, None) is not None:
            raise InputError("has rows of more episodes than meta/ says", where=self.folder, remedy=AGAIN)

    def _checked(self, episode: dict[str, Any], batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        count = 0
        for batch in batches:
            frames = batch["frame_index"]
            if (frames != range(count, count + len(frames))).any():
                raise self._lacks(episode, f"row {count} in its place")
            count += len(frames)
            yield batch
        if count != episode["length"]:
            raise self._lacks(episode, f"{episode['length']} rows, it has {count}")

    def _slices(self, features: Sequence[Feature]) -> Iterator[tuple[int, dict[str, Any]]]:
        numbers = [feature for feature in features if feature.dtype != "image"]
        keys, step = [feature.key for feature in features], rows_at_once(features)
        for path in dict.fromkeys(self._path(self._data_path, episode, "data/") for episode in self.episodes):
            with _whole(path), _open(path) as file:
                for batch in file.iter_batches(step, columns=keys):
                    columns = {feature.key: values_of(batch, feature, path) for feature in numbers}
                    columns |= {f.key: _column(batch, f.key, path) for f in features if f.dtype == "image"}
                    owners = columns["episode_index"]
                    bounds = [0, *((owners[1:] != owners[:-1]).nonzero()[0] + 1).tolist(), len(owners)]
                    for begin, end in itertools.pairwise(bounds):
                        yield int(owners[begin]), {key: column[begin:end] for key, column in columns.items()}

    def _path(self, pattern: Any, episode: dict[str, Any], prefix: str, **names: str) -> Path:
        """A file of an episode, from the pattern in info.json and the numbers noted under the prefix."""
        try:
            place = {name: int(episode[prefix + name]) for name in ("chunk_index", "file_index")}
            return self.folder / str.format(pattern, **place, **names)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self._lacks(episode, f"a place for its {prefix.rstrip('/')}, or {INFO} a good path") from None

    def _read_episodes(self) -> list[dict[str, Any]]:
        paths = sorted(self.folder.glob("meta/episodes/*/*.parquet"))
        episodes: list[dict[str, Any]] = []
        for path in paths:
            with _whole(path):
                names = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
                episodes += pq.read_table(path, columns=names).to_pylist()
        for number, episode in enumerate(episodes):
            if episode.get("episode_index") != number or not episode.get("length"):
                raise InputError(f"has no good entry for episode {number}", where=self.folder / "meta", remedy=AGAIN)
        if not episodes:
            raise InputError("holds no episode", where=self.folder / "meta", remedy=AGAIN)
        return episodes

    def _read_tasks(self) -> dict[int, str]:
        path = self.folder / TASKS
        with _whole(path):
            columns = pq.read_table(path).to_pydict()
        names = [name for name, column in columns.items() if column and isinstance(column[0], str)]
        if "task_index" not in columns or len(names) != 1:
            raise InputError(
                f"has columns {sorted(columns)}", where=path, remedy="give task_index and the task's words"
            )
        return dict(zip(columns["task_index"], columns[names[0]], strict=True))

    def _lacks(self, episode: dict[str, Any], what: object) -> InputError:
        return InputError(f"episode {episode['episode_index']} lacks {what}", where=self.folder, remedy=AGAIN)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: it is missing or no JSON.
    """
    with readable(path, "JSON file", (OSError, ValueError)):
        return json.loads(path.read_text(encoding="utf-8"))


def _feature(key: str, described: dict[str, Any]) -> Feature:
    shape, dtype = tuple(int(size) for size in described["shape"]), str(described["dtype"])
    if dtype not in ("video", "image", "string") and np.dtype(dtype).kind not in "fiub":
        raise ValueError(f"{key} is of {dtype}")
    if min(shape, default=1) < 1:
        raise ValueError(f"{key} has shape {shape}")
    return Feature(key, dtype, shape, _names(described.get("names")))


def _names(names: Any) -> list[str] | None:
    """Names as a list; many data sets have them under headings, such as {"motors": [...]}."""
    if isinstance(names, dict):
        names = [name for part in names.values() if isinstance(part, list) for name in part]
    return [str(name) for name in names] if names else None


def _column(batch: pa.RecordBatch, key: str, where: Path) -> Any:
    if key not in batch.schema.names:
        raise InputError(f"has no column {key!r}", where=where, remedy=AGAIN)
    return batch.column(key)


def _open(path: Path) -> pq.ParquetFile:
    # A buffer would grow to the size of the file.
    return pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)


def _whole(path: Path) -> AbstractContextManager[None]:
    return readable(path, "Parquet file", (pa.ArrowException, OSError))
