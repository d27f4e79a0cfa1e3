"""A LeRobotDataset v3.0 by another hand, as lerobot 0.4.4 lays it out: lossy video, images in the table, two tasks."""

import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FPS, HEIGHT, WIDTH = 10, 32, 48
LENGTHS = (6, 9)
TASKS = ("pick the cup", "place it")

FEATURES: dict[str, Any] = {
    "observation.images.top": {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]},
    "observation.images.side": {"dtype": "image", "shape": [3, 8, 6], "names": ["channels", "height", "width"]},
    "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["hip", "knee", "toe"]}},
    "observation.effort": {"dtype": "float32", "shape": [2], "names": None},
    "action": {"dtype": "float32", "shape": [1], "names": ["gripper"]},
    "next.done": {"dtype": "bool", "shape": [1], "names": None},
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    **{
        key: {"dtype": "int64", "shape": [1], "names": None}
        for key in ("frame_index", "episode_index", "index", "task_index")
    },
}
Columns = dict[str, pa.Array]


def noise(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def side_picture(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(index).integers(0, 255, (8, 6, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def columns() -> Columns:
    """The table of all episodes."""
    count = sum(LENGTHS)
    frames = np.concatenate([np.arange(length) for length in LENGTHS])
    owners = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    images = [{"bytes": side_picture(k), "path": f"frame-{frames[k]:06d}.png"} for k in range(count)]
    return {
        "observation.images.side": pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "observation.state": pa.FixedSizeListArray.from_arrays(noise(1, count * 3), 3),
        "observation.effort": pa.FixedSizeListArray.from_arrays(noise(2, count * 2), 2),
        "action": pa.array(noise(3, count)),
        "next.done": pa.array([False] * count),
        "timestamp": pa.array((frames / FPS).astype(np.float32)),
        "frame_index": pa.array(frames),
        "episode_index": pa.array(owners),
        "index": pa.array(np.arange(count)),
        "task_index": pa.array((np.arange(count) >= 10).astype(np.int64)),
    }


def noted(first: int, number: int) -> dict[str, Any]:
    """What meta/episodes says of an episode whose first row is `first`."""
    length = LENGTHS[number]
    return {
        "episode_index": number,
        "tasks": [TASKS[0]],
        "length": length,
        "data/chunk_index": 0,
        "data/file_index": 0,
        "dataset_from_index": first,
        "dataset_to_index": first + length,
        "videos/observation.images.top/chunk_index": 0,
        "videos/observation.images.top/file_index": 0,
        "videos/observation.images.top/from_timestamp": first / FPS,
        "videos/observation.images.top/to_timestamp": (first + length) / FPS,
        "stats/action/min": [-1.0],
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }


def write_video(path: Path, frames: int, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Frames each brighter than the one before, as recorders encode: yuv420p, a key frame every second one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"g": "2", "crf": "30"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), brightness(number), np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())


def brightness(number: int) -> int:
    return 10 + 12 * number


def write_table(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content if isinstance(content, pa.Table) else pa.table(content), path)


def plain_dataset(
    folder: Path,
    info: Callable[[dict[str, Any]], Any] = lambda info: info,
    table: Callable[[Columns], Columns] = lambda columns: columns,
    episodes: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda episodes: episodes,
) -> Path:
    """Two episodes of an arm with a video and pictures; the three functions may change what is written."""
    described = {
        "codebase_version": "v3.0",
        "robot_type": "arm",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": FPS,
        "splits": {"train": f"0:{len(LENGTHS)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": json.loads(json.dumps(FEATURES)),
    }
    write_table(folder / "data/chunk-000/file-000.parquet", table(columns()))
    notes = [noted(sum(LENGTHS[:number]), number) for number in range(len(LENGTHS))]
    write_table(folder / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(episodes(notes)))
    write_table(folder / "meta/tasks.parquet", {"task_index": [0, 1], "__index_level_0__": list(TASKS)})
    (folder / "meta/info.json").write_text(json.dumps(info(described), indent=4))
    write_video(folder / "videos/observation.images.top/chunk-000/file-000.mp4", sum(LENGTHS))
    return folder
