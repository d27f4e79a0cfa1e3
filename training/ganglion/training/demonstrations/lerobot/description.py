"""What meta/ says of a data set: its features, tasks, statistics, and of each episode where its rows and frames are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ganglion.core.paths import write_json
from ganglion.core.specs import CameraSpec
from ganglion.training.demonstrations.lerobot import layout as fmt
from ganglion.training.demonstrations.lerobot.layout import Layout
from ganglion.training.demonstrations.lerobot.statistics import Statistics, together
from ganglion.training.demonstrations.lerobot.video import STORED_AS

_AT_ONCE = 100  # episodes whose notes are in memory, and in one row group


class Description:
    """Writes meta/ while episodes come.

    Attributes:
        episodes: how many there are.
        rows: how many they have together.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._folder, self._layout = folder, layout
        self._notes: pq.ParquetWriter | None = None
        self._waiting: list[dict[str, Any]] = []
        self._tasks: dict[str, int] = {}
        self._statistics: dict[str, Statistics] = {}
        self.episodes = self.rows = 0

    def task(self, words: str) -> int:
        """The number of a goal."""
        return self._tasks.setdefault(words, len(self._tasks))

    def add(self, task: str, rows: int, places: dict[str, Any], statistics: dict[str, Statistics], ours: str) -> None:
        """Note an episode.

        Args:
            task: its goal.
            rows: how many it has.
            places: in which files, by the format's column.
            statistics: of each feature.
            ours: what only we read.
        """
        noted = {"episode_index": self.episodes, "tasks": [task], "length": rows, **places}
        noted |= {"dataset_from_index": self.rows, "dataset_to_index": self.rows + rows}
        for key, found in statistics.items():
            self._statistics[key] = together(self._statistics.get(key), found)
            noted |= {f"stats/{key}/{name}": value.tolist() for name, value in found.items()}
        noted |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, fmt.OUR_COLUMN: ours}
        self._waiting.append(noted)
        self.episodes, self.rows = self.episodes + 1, self.rows + rows
        if len(self._waiting) == _AT_ONCE:
            self._write_notes()

    def close(self, robot: str) -> None:
        """Write what is known at the end.

        Args:
            robot: what it is called.
        """
        self._write_notes()
        if self._notes is not None:
            self._notes.close()
        words = pd.Index(list(self._tasks), dtype=object)
        pd.DataFrame({"task_index": list(self._tasks.values())}, index=words).to_parquet(self._folder / fmt.TASKS)
        found = {key: {name: value.tolist() for name, value in one.items()} for key, one in self._statistics.items()}
        write_json(self._folder / fmt.STATS, found)
        write_json(self._folder / fmt.INFO, self._info(robot))

    def _write_notes(self) -> None:
        if not self._waiting:
            return
        notes = pa.Table.from_pylist(self._waiting)
        if self._notes is None:
            path = self._folder / fmt.EPISODES.format(chunk_index=0, file_index=0)
            path.parent.mkdir(parents=True)
            self._notes = pq.ParquetWriter(path, notes.schema, compression="zstd")
        self._notes.write_table(notes)
        self._waiting.clear()

    def _info(self, robot: str) -> dict[str, Any]:
        videos = {key: _video(camera, self._layout.fps) for key, camera in self._layout.cameras.items()}
        columns = {f.key: {"dtype": f.dtype, "shape": f.shape, "names": f.names} for f in self._layout.table}
        return {
            "codebase_version": fmt.VERSION,
            "robot_type": robot,
            "total_episodes": self.episodes,
            "total_frames": self.rows,
            "total_tasks": len(self._tasks),
            "chunks_size": fmt.FILES_PER_CHUNK,
            "data_files_size_in_mb": fmt.DATA_FILE_MB,
            "video_files_size_in_mb": fmt.VIDEO_FILE_MB,
            "fps": self._layout.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": fmt.DATA,
            "video_path": fmt.VIDEO if videos else None,
            "features": videos | columns,
        }


def _video(camera: CameraSpec, fps: int) -> dict[str, Any]:
    return {
        "dtype": "video",
        "shape": (camera.height, camera.width, 3),
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": camera.height,
            "video.width": camera.width,
            "video.codec": "h264",
            "video.pix_fmt": STORED_AS,
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        },
    }
