"""A LeRobotDataset by another hand becomes episodes, as far as it tells what a robot needs."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from lerobot_for_test import FPS, HEIGHT, LENGTHS, TASKS, WIDTH, brightness, noise, plain_dataset, side_picture
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.specs import ActionSpec, CameraSpec, RobotSpec, StateSpec, to_dict
from ganglion.training.demonstrations.episode_set import EpisodeSet

Imported = Callable[..., EpisodeSet]
ARM = RobotSpec(
    name="my arm",
    cameras=(CameraSpec("top", HEIGHT, WIDTH, float(FPS)),),
    sensors=(),
    actions=ActionSpec(("gripper",), ("mm",), (-9.0,), (9.0,), (5.0,), float(FPS), horizon=4),
    state=StateSpec(("hip", "knee", "toe"), ("rad",) * 3, float(FPS)),
)


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    """imported(folder, *options): the set it becomes."""

    def run(folder: Path, *options: str) -> EpisodeSet:
        assert main(["data", "import", "lerobot", str(folder), "--out", str(tmp_path / "set"), *options]) == 0
        return EpisodeSet(tmp_path / "set")

    return run


def test_rows_become_streams_of_one_rate(imported, tmp_path):
    episodes = imported(plain_dataset(tmp_path / "in"))
    assert len(episodes) == 2
    first = 0
    for number, length in enumerate(LENGTHS):
        one = episodes[number]
        stamps = np.arange(length) * 10**9 // FPS
        for stream in (one.actions, one.state, *one.cameras.values()):
            assert (stream.stamps_ns == stamps).all()
        assert (one.actions.values[:, 0] == noise(3, sum(LENGTHS))[first : first + length]).all()
        assert one.actions.values.dtype == np.float32
        assert (one.state.values.ravel() == noise(1, sum(LENGTHS) * 3)[first * 3 : (first + length) * 3]).all()
        assert list(one.cameras["side"].encoded) == [side_picture(first + k) for k in range(length)]
        first += length


def test_each_row_has_the_video_frame_of_its_time(imported, tmp_path):
    episodes = imported(plain_dataset(tmp_path / "in"))
    shown = [image for number in range(2) for image in episodes[number].cameras["top"].encoded]
    assert len(shown) == sum(LENGTHS)
    for number, image in enumerate(shown):
        frame = Image.open(io.BytesIO(image))
        assert frame.format == "PNG" and frame.size == (WIDTH, HEIGHT)
        assert abs(np.asarray(frame).mean() - brightness(number)) < 3


def test_words_and_sessions(imported, tmp_path):
    episodes = imported(plain_dataset(tmp_path / "in"))
    assert [episodes[number].instruction for number in range(2)] == [TASKS[0]] * 2
    assert episodes[0].notes == {} and episodes[1].notes == {"tasks": list(TASKS)}  # the task changed on the way
    assert len({episodes[number].session for number in range(2)}) == 2


def test_the_robot_is_as_far_as_the_data_tell(imported, tmp_path, capsys):
    episodes = imported(plain_dataset(tmp_path / "in"))
    robot, actions = episodes.robot, noise(3, sum(LENGTHS))
    assert robot.name == "arm" and robot.sensors == ()
    assert robot.cameras == (CameraSpec("top", HEIGHT, WIDTH, 10.0), CameraSpec("side", 8, 6, 10.0))
    assert robot.state == StateSpec(("hip", "knee", "toe"), ("unknown",) * 3, 10.0)
    assert robot.actions.names == ("gripper",) and robot.actions.units == ("unknown",)
    assert robot.actions.low == (actions.min(),) and robot.actions.high == (actions.max(),)
    said = capsys.readouterr().out
    assert "left out: next.done, observation.effort" in said and "no units" in said
    assert episodes.source["kind"] == "lerobot" and episodes.source["name"] == "in"


def test_a_robot_that_is_given_tells_units_and_limits_and_what_to_take(imported, tmp_path):
    (tmp_path / "arm.json").write_text(json.dumps(to_dict(ARM)))
    episodes = imported(plain_dataset(tmp_path / "in"), "--robot", str(tmp_path / "arm.json"))
    assert episodes.robot == ARM and set(episodes[0].cameras) == {"top"}
    assert "left out: next.done, observation.effort, observation.images.side" in episodes.source["notes"]


def test_rows_at_times_of_their_own_keep_them(imported, tmp_path):
    uneven = np.concatenate([np.arange(length) / FPS for length in LENGTHS])
    uneven += 0.01 * (np.arange(sum(LENGTHS)) % 3)

    def table(columns):
        return columns | {"timestamp": pa.array(uneven.astype(np.float32))}

    stamps = imported(plain_dataset(tmp_path / "in", table=table))[0].actions.stamps_ns
    assert abs(stamps - uneven[: LENGTHS[0]] * 1e9).max() < 1e3 and stamps[3] == 300_000_000


def test_a_state_of_whole_numbers_and_unnamed_dimensions_are_taken(imported, tmp_path):
    def info(described):
        described["features"]["observation.state"] |= {"dtype": "int64", "names": None}
        return described

    def table(columns):
        whole = pa.FixedSizeListArray.from_arrays(np.arange(sum(LENGTHS) * 3), 3)
        return columns | {"observation.state": whole}

    episodes = imported(plain_dataset(tmp_path / "in", info, table))
    assert episodes.robot.state.names == tuple(f"observation.state_{i}" for i in range(3))
    assert episodes[0].state.values.dtype == np.float32 and episodes[0].state.values[1].tolist() == [3, 4, 5]


def test_a_bad_episode_can_be_left_out(imported, tmp_path):
    def table(columns):
        action = noise(3, sum(LENGTHS)).copy()
        action[2] = np.nan
        return columns | {"action": pa.array(action)}

    episodes = imported(plain_dataset(tmp_path / "in", table=table), "--bad_rows", "skip")
    assert len(episodes) == 1 and len(episodes[0].actions.values) == LENGTHS[1]


def test_ours_without_our_notes_is_like_anyones(imported, tmp_path):
    from demonstrations_for_test import ROBOT, episode, written

    written(tmp_path / "ours", episode(), robot=replace(ROBOT, name="small"))
    out = tmp_path / "lerobot"
    assert main(["data", "export", str(tmp_path / "ours"), "--out", str(out)]) == 0
    (out / "meta/ganglion.json").unlink()
    episodes = imported(out)
    assert episodes.robot.actions.rate_hz == 50 and "observation.sensors.tip" in episodes.source["notes"][-2]
    assert len(episodes[0].cameras["front"].encoded) == len(episodes[0].actions.values) == 50
