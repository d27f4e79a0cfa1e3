"""What is no LeRobotDataset, or a damaged one, is refused in one line an episode that names file, place and remedy."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demonstrations_for_test import ROBOT, episode, picture, written
from lerobot_for_test import LENGTHS, noise, plain_dataset, write_table, write_video

from ganglion.core.cli import main
from ganglion.core.specs import CameraSpec, to_dict
from ganglion.training.demonstrations.episode import CameraStream

Refusal = Callable[..., str]
COUNT = sum(LENGTHS)
INFO, TASKS, DATA = "meta/info.json", "meta/tasks.parquet", "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"
SIDE = "observation.images.side"
ACTION = noise(3, COUNT)


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """refusal(source, *options): what a refused import says, a line for each bad episode; nothing is left."""

    def run(source: Path, *options: str) -> str:
        capsys.readouterr()
        out = tmp_path / "room" / "out"
        code = main(["data", "import", "lerobot", str(source), "--out", str(out), *options])
        said = capsys.readouterr().err
        assert code == 2 and 1 <= len(said.splitlines()) <= len(LENGTHS), said
        assert all(line.startswith("ganglion: ") and line.rpartition("; ")[2] for line in said.splitlines()), said
        assert not out.parent.exists() or not list(out.parent.iterdir()), "something half is left"
        return said

    return run


def described(**changes: Any) -> dict[str, Any]:
    return {"info": lambda info: {key: value for key, value in (info | changes).items() if value is not KeyError}}


def feature(key: str, **changes: Any) -> dict[str, Any]:
    """The description with a feature changed; one that is None is taken out."""

    def info(found: dict[str, Any]) -> dict[str, Any]:
        found["features"][key] = found["features"].get(key, {}) | changes
        if not changes:
            del found["features"][key]
        return found

    return {"info": info}


def column(key: str, values: Any) -> dict[str, Any]:
    """The table with a column changed; one that is None is taken out."""
    if values is None:
        return {"table": lambda columns: {name: found for name, found in columns.items() if name != key}}
    return {"table": lambda columns: columns | {key: pa.array(values)}}


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """The notes of an episode changed."""
    plain = {key.replace("__", "/"): value for key, value in changes.items()}
    return {"episodes": lambda notes: [note | plain if k == number else note for k, note in enumerate(notes)]}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an older version": (described(codebase_version="v2.1"), r"info.json: codebase_version is 'v2.1', .*; convert"),
    "no version": (described(codebase_version=KeyError), "codebase_version is None"),
    "no frame rate": (described(fps=KeyError), "info.json: is no description of a data set .*'fps' is missing"),
    "a frame rate of nothing": (described(fps=0), "fps is 0.0"),
    "a frame rate in words": (described(fps="fast"), "info.json: .*could not convert"),
    "features in a list": (described(features=[]), "info.json: is no description"),
    "a feature without shape": (feature("action", shape=None), "info.json: is no description"),
    "a type unknown": (feature("action", dtype="float33"), "info.json: is no description .*float33"),
    "a type of anything": (feature("action", dtype="object"), "info.json: is no description .*action is of object"),
    "a feature of nothing": (feature("action", shape=[0]), r"info.json: is no description .*shape \(0,\)"),
    "a camera of nothing": (feature("observation.images.top", shape=[0, 48, 3]), "info.json: is no description"),
    "no actions": (feature("action"), "info.json: has no 'action'; "),
    "actions in a square": (feature("action", shape=[2, 2]), r"'action' is float32 \(2, 2\); "),
    "actions in words": (feature("action", dtype="string"), "'action' is string"),
    "a flat camera": (feature("observation.images.top", shape=[32, 48]), r"images.top' has shape \(32, 48\)"),
    "a path from nowhere": (
        described(data_path="data/{episode_chunk}.parquet"),
        "episode 0 lacks a place for its data",
    ),
    "no path to videos": (described(video_path=None), "episode 0 lacks a place for its videos"),
    "a column too few": (column("action", None), "file-000.parquet: has no column 'action'"),
    "no pictures": (column(SIDE, None), "has no column 'observation.images.side'"),
    "a column of words": (column("action", ["left"] * COUNT), "column 'action' holds string"),
    "a hole": (column("action", [None, *ACTION[1:].tolist()]), "column 'action' holds .* and 1 nulls"),
    "wider than said": (column("action", ACTION.reshape(COUNT, 1).repeat(2, 1).tolist()), r"info.json says .* \(1,\)"),
    "NaN": (column("action", np.where(np.arange(COUNT) == 3, np.nan, ACTION)), "actions: is not finite at reading 3"),
    "rows out of order": (column("frame_index", [1, 0, *range(2, COUNT)]), "episode 0 lacks row 0 in its place"),
    "rows of nobody": (column("episode_index", [7] * COUNT), "episode 0 lacks its rows"),
    "back in time": (column("timestamp", np.zeros(COUNT, np.float32)), "goes back in time at reading 1"),
    "no time": (column("timestamp", np.full(COUNT, np.nan, np.float32)), "has a timestamp that is no number"),
    "an unknown task": (column("task_index", [9] * COUNT), "episode 0.* has a task that meta/tasks.parquet lacks"),
    "a picture apart": (
        column("observation.images.side", [{"bytes": None, "path": "a.png"}] * COUNT),
        "no image in it",
    ),
    "no picture": (column("observation.images.side", [{"bytes": b"png", "path": ""}] * COUNT), "frame 0: is no whole"),
    "a large picture": (
        column("observation.images.side", [{"bytes": picture(0), "path": ""}] * COUNT),
        "frame 0: is 16 x 12 pixels",
    ),
    "a longer episode": (entry(1, length=99), "episode 1 lacks 99 rows, it has 9"),
    "a number missing": (entry(1, episode_index=2), "meta: has no good entry for episode 1"),
    "an empty episode": (entry(0, length=0), "meta: has no good entry for episode 0"),
    "a file that is not there": (entry(1, data__file_index=4), "data/chunk-000/file-004.parquet: is missing"),
    "a video that is not there": (
        entry(1, **{"videos/observation.images.top/file_index": 1}),
        "episode 1: .*file-001.mp4: is missing",
    ),
    "a time behind the video": (
        entry(1, **{"videos/observation.images.top/from_timestamp": 1.0}),
        "file-000.mp4: shows no frame at 1.500 s",
    ),
    "a video from no time on": (
        entry(1, **{"videos/observation.images.top/from_timestamp": float("nan")}),
        "episode 1 lacks a good from_timestamp of observation.images.top",
    ),
    "fewer episodes noted": ({"episodes": lambda notes: notes[:1]}, "has rows of more episodes than meta/ says"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_data_set_that_contradicts_itself_is_refused(name, refusal, tmp_path):
    changes, said = BAD[name]
    line = refusal(plain_dataset(tmp_path / "in", **changes))
    assert re.search(said, line), line


@pytest.mark.parametrize("name", [INFO, TASKS, DATA, EPISODES, VIDEO])
@pytest.mark.parametrize("damage", ["missing", "cut short", "empty", "something else"])
def test_a_damaged_file_is_named(name, damage, refusal, tmp_path):
    path = plain_dataset(tmp_path / "in") / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(
            {"cut short": whole[: len(whole) * 2 // 3], "empty": b"", "something else": b"x" * 999}[damage]
        )
    line = refusal(tmp_path / "in")
    place = {INFO: "in" if damage == "missing" else INFO, EPISODES: "meta" if damage == "missing" else EPISODES}
    assert re.search(rf"{place.get(name, name)}: (is|holds) (missing|no )", line), line


def test_other_things_than_data_sets_are_refused(refusal, tmp_path):
    assert "nowhere: is no LeRobotDataset; give the folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    assert "file: is no LeRobotDataset" in refusal(tmp_path / "file")
    plain_dataset(tmp_path / "in", info=lambda info: [1])
    assert "codebase_version is [1]" in refusal(tmp_path / "in")


def test_a_video_of_another_size_is_refused(refusal, tmp_path):
    write_video(plain_dataset(tmp_path / "in") / VIDEO, COUNT, height=16)
    assert re.search(r"file-000.mp4: has frames \(16, 48, 3\); .*\(32, 48, 3\)", refusal(tmp_path / "in"))


def test_tasks_without_words_are_refused(refusal, tmp_path):
    write_table(plain_dataset(tmp_path / "in") / TASKS, {"task_index": [0, 1]})
    assert "tasks.parquet: has columns ['task_index']" in refusal(tmp_path / "in")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"cameras": (CameraSpec("sky", 8, 8, 10.0),)},
            "has no camera sky of 8 x 8, only top of 48 x 32, side of 6 x 8",
        ),
        ({"cameras": (CameraSpec("top", 48, 32, 10.0),)}, "has no camera top of 32 x 48"),
        ({"cameras": ()}, "has actions of 1 numbers, the robot of 2"),
    ],
)
def test_a_robot_that_does_not_fit_is_refused(changes, said, refusal, tmp_path):
    (tmp_path / "robot.json").write_text(json.dumps(to_dict(replace(ROBOT, **changes))))
    assert said in refusal(plain_dataset(tmp_path / "in"), "--robot", str(tmp_path / "robot.json"))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A data set of ours, of two episodes."""
    written(tmp_path / "set", episode(0), episode(1))
    assert main(["data", "export", str(tmp_path / "set"), "--out", str(tmp_path / "ours")]) == 0
    return tmp_path / "ours"


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    write_table(path, change(pq.read_table(path)))


def test_our_notes_damaged_are_refused(ours, refusal):
    path = ours / "meta/ganglion.json"
    whole = json.loads(path.read_text())
    for content, said in (
        ("{", "ganglion.json: is no whole JSON file"),
        ("[]", "has format version None"),
        (json.dumps(whole | {"format_version": 2}), "has format version 2, this ganglion reads 1; upgrade"),
        (json.dumps(whole | {"robot": None}), "expected an object for RobotSpec"),
        (json.dumps(whole | {"robot": whole["robot"] | {"wheels": 4}}), "unknown key 'wheels'"),
    ):
        path.write_text(content)
        assert said in refusal(ours)


def test_another_robot_than_ours_is_refused(ours, refusal, tmp_path):
    (tmp_path / "robot.json").write_text(json.dumps(to_dict(replace(ROBOT, name="large"))))
    assert "tells its robot, which is another; leave --robot out" in refusal(
        ours, "--robot", str(tmp_path / "robot.json")
    )


def test_a_data_set_of_ours_that_others_changed_is_refused(ours, refusal):
    table = pq.read_table(ours / EPISODES)
    column = table.column_names.index("ganglion")
    facts = [json.loads(text) for text in table["ganglion"].to_pylist()]
    facts[1]["streams"]["action"]["count"] += 1
    none = pa.array([json.dumps({"streams": {"action": {"count": 0, "dtype": "float32"}}})] * 2)
    more = pa.array([json.dumps(fact) for fact in facts])
    for change, said in (
        (table.remove_column(column), "episode 0: is not as ganglion wrote it .*; .* or remove meta/ganglion.json"),
        (table.set_column(column, "ganglion", pa.array(["{", "{"])), "episode 0: is not as ganglion wrote it"),
        (table.set_column(column, "ganglion", pa.array(["[]", "[]"])), "episode 0: is not as ganglion wrote it"),
        (table.set_column(column, "ganglion", none), "episode 0: .*a stream has 0 readings"),
        (table.set_column(column, "ganglion", more), "episode 1: .*action has 20 readings of 21"),
    ):
        write_table(ours / EPISODES, change)
        assert re.search(said, refusal(ours))


def test_a_reading_that_shows_twice_is_noticed(ours, refusal):
    key = "ganglion.stamps_ns.action"

    def change(table: pa.Table) -> pa.Table:
        stamps = table[key].to_numpy().copy()
        stamps[10] = stamps[0]
        return table.set_column(table.column_names.index(key), key, pa.array(stamps))

    rewritten(ours / DATA, change)
    assert "episode 0: is not as ganglion wrote it" in refusal(ours)


def test_damaged_frames_of_ours_are_noticed_though_they_decode(ours, refusal):
    path = ours / "videos/observation.images.front/chunk-000/file-000.mp4"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 255
    path.write_bytes(whole)
    assert "file-000.mp4: shows other pixels than were written; " in refusal(ours)


def test_a_damaged_value_of_ours_is_noticed(ours, refusal):
    whole = bytearray((ours / DATA).read_bytes())
    column = pq.ParquetFile(ours / DATA).metadata.row_group(0).column(0)
    whole[column.data_page_offset + column.total_compressed_size - 9] ^= 1
    (ours / DATA).write_bytes(whole)
    assert re.search("file-000.parquet: is no whole Parquet file .*checksum", refusal(ours))


def test_an_export_that_can_not_be_is_refused(tmp_path, capsys):
    def line(*arguments: str) -> str:
        assert main(["data", "export", *arguments]) == 2
        (found,) = capsys.readouterr().err.splitlines()
        assert found.rpartition("; ")[2] and not (tmp_path / "out").exists()
        return str(found)

    folder, out = str(tmp_path / "set"), str(tmp_path / "out")
    assert "set: holds no episodes; " in line(folder, "--out", out)
    broken = CameraStream(np.arange(2), [picture(0), picture(1)[:200]])
    large = CameraStream(np.arange(2), [picture(0), picture(1, height=13)])
    written(tmp_path / "set", episode(0), episode(1, cameras={"wrist": broken}))
    written(tmp_path / "other", episode(0, cameras={"front": large}))
    assert "unknown kind 'zip'; use lerobot" in line(folder, "--kind", "zip", "--out", out)
    assert "no folder to write to; add --out DIR" in line(folder)
    assert "episode 000001, camera wrist, frame 1: is no whole JPEG or PNG" in line(folder, "--out", out)
    assert "episode 000000, camera front, frame 1: is 16 x 13 pixels" in line(str(tmp_path / "other"), "--out", out)
    (tmp_path / "set/episodes/000001/actions.npy").write_bytes(b"")
    assert "000001: is damaged (actions.npy" in line(folder, "--out", out)
