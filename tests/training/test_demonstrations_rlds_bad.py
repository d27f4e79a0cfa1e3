"""`ganglion data import rlds`: whatever is wrong is one line, and nothing is written."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstrations_for_test import picture
from rlds_for_test import described, example, image, steps, tensor, write_records, write_set

from ganglion.core.cli import main
from ganglion.core.specs import to_dict
from ganglion.training.demonstrations.episode_set import EpisodeSet

Refused = Callable[..., str]
HZ = ("--rate_hz", "10")
SHARD = "tiny-train.tfrecord-00000-of-00001"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_set(tmp_path / "in", steps(3, 0), steps(3, 1))


EPISODES: dict[str, tuple[dict[str, Any], str]] = {
    "no action": ({"steps__action": None}, "has no 'steps/action'"),
    "an image that is none": ({"steps__observation__image_0": [b"GIF89a"] * 3}, "image_0, frame 0: is no whole JPEG"),
    "an image cut short": ({"steps__observation__image_0": [picture(0)[:-200]] * 3}, "frame 0: is no whole JPEG"),
    "an empty image": ({"steps__observation__image_0": [picture(0), b"", picture(0)]}, "frame 1: is no whole JPEG"),
    "a larger image": ({"steps__observation__image_0": [picture(0, 24, 32)] * 3}, "is 32 x 24 pixels; .* 16 x 12"),
    "an image too few": ({"steps__observation__image_0": [picture(0)] * 2}, r"camera image_0: has stamps .* for 2"),
    "half an action": ({"steps__action": np.zeros(8, np.float32)}, "'action' has 8 numbers, not 3 a step"),
    "actions as text": ({"steps__action": [b"left"] * 3}, "'action' has 3 texts, not 3 a step"),
    "a state too few": ({"steps__observation__state": np.zeros(4, np.float32)}, r"state: has stamps .* for 2 readings"),
    "no steps": (
        {
            "steps__action": np.zeros(0, np.float32),
            "steps__observation__state": np.zeros(0, np.float32),
            "steps__language_instruction": [],
            "steps__observation__image_0": [],
            "steps__observation__image_1": [],
        },
        "actions: is empty",
    ),
    "an infinite action": (
        {"steps__action": np.full((3, 3), np.inf, np.float32)},
        "actions: is not finite at reading 0",
    ),
    "two instructions": ({"steps__language_instruction": [b"a", b"a", b"b"]}, "has another instruction from step 2 on"),
}


@pytest.mark.parametrize("case", EPISODES)
def test_a_bad_episode_is_named_with_its_fault(case: str, tmp_path: Path, refused: Refused) -> None:
    changes, message = EPISODES[case]
    folder = write_set(tmp_path / "in", steps(3, 0), steps(3, 1, **changes))
    line = refused("rlds", folder, *HZ)
    assert f"{folder}: episode 1: " in line and re.search(message, line), line
    assert "/room/" not in line, "the folder being made is nobody's business"


def written_features(about: Any) -> Callable[[Path], Any]:
    return lambda folder: (folder / "features.json").write_text(json.dumps(about))


SOURCES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no features": (
        lambda folder: (folder / "features.json").unlink(),
        "features.json: no such file; it belongs beside",
    ),
    "features that are no JSON": (lambda folder: (folder / "features.json").write_text("{"), "describes no features"),
    "features that are a list": (written_features([1]), "features.json: describes no"),
    "features of no steps": (written_features({"featuresDict": {"features": {}}}), "describes no steps"),
    "features without actions": (written_features(described(action=None)), "has no actions; add --columns"),
    "an image of unknown size": (written_features(described({"image_0": image(-1, -1)})), r"camera image_0: has shape"),
    "a record that is none": (lambda folder: (folder / SHARD).write_text("no TFRecord at all"), "is no TFRecord file"),
    "a message that is none": (lambda folder: write_records(folder / SHARD, [b"\x0a\xff"]), "is no tf.train.Example"),
    "an empty file": (lambda folder: (folder / SHARD).write_bytes(b""), "holds no episodes"),
    "no files": (lambda folder: (folder / SHARD).unlink(), "holds no TFRecord files of split 'train'"),
    "a shard missing": (
        lambda folder: (folder / SHARD).rename(folder / "tiny-train.tfrecord-00000-of-00002"),
        "lacks shard 1 of 2 of tiny-train.tfrecord",
    ),
    "another split": (
        lambda folder: (folder / SHARD).rename(folder / "tiny-val.tfrecord-00000-of-00001"),
        "no TFRecord files of split 'train'; add --split, one of val",
    ),
    "a bad dataset_info": (
        lambda folder: (folder / "dataset_info.json").write_text("["),
        "dataset_info.json: is no JSON",
    ),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_bad_source_is_one_line(case: str, source: Path, refused: Refused) -> None:
    change, message = SOURCES[case]
    change(source)
    line = refused("rlds", source, *HZ)
    assert re.search(message, line), line


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path, refused: Refused) -> None:
    assert "no such file or folder" in refused("rlds", tmp_path / "nowhere", *HZ)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "has no times; add --rate_hz"),
        (("--rate_hz", "0"), "--rate_hz is 0; give steps per second"),
        (("--rate_hz", "-5"), "--rate_hz is -5"),
        ((*HZ, "--split", "test"), "no TFRecord files of split 'test'; add --split, one of train"),
        ((*HZ, "--session", "operator"), "has no 'episode_metadata/operator'; --session takes episode, episode_id"),
        ((*HZ, "--columns", '{"actoin": "actions"}'), "has no feature 'actoin' of a step; it has action"),
        ((*HZ, "--columns", '{"action": "front"}'), "'action' holds numbers of shape (3,) and can't be 'front'"),
        ((*HZ, "--columns", '{"observation/image_0": "actions"}'), "'observation/image_0' holds image"),
        ((*HZ, "--columns", '{"observation/state": "state"}'), "has no actions"),
        (
            (*HZ, "--columns", '{"action": "actions", "observation/image_0": "a", "observation/image_1": "a"}'),
            "observation/image_0 and observation/image_1 are both 'a'",
        ),
        ((*HZ, "--columns", '{"action": "actions", "observation/image_0": "a/b"}'), "the name 'a/b' can be no file's"),
        ((*HZ, "--task", "chat"), "--task means nothing for rlds"),
        ((*HZ, "--val_share", "0.1"), "--val_share means nothing for rlds"),
        ((*HZ, "--seed", "1"), "--seed means nothing for rlds"),
        ((*HZ, "--image_base_dir", "/"), "--image_base_dir means nothing for rlds"),
        ((*HZ, "--bad_rows", "fix"), "--bad_rows is 'fix'; use error or skip"),
        ((*HZ, "--robot", "/no/such.json"), "/no/such.json: can't be read as JSON"),
    ],
)
def test_a_bad_option_is_one_line(options: tuple[str, ...], message: str, source: Path, refused: Refused) -> None:
    line = refused("rlds", source, *options)
    assert message in line, line


@pytest.mark.parametrize("kind", ["json", "hf", "oct_needle_pose"])
@pytest.mark.parametrize("option", [("--rate_hz", "5"), ("--robot", "a.json"), ("--session", "x")])
def test_other_kinds_take_none_of_these_options(
    kind: str, option: tuple[str, str], source: Path, refused: Refused
) -> None:
    assert f"{option[0]} means nothing for {kind}" in refused(kind, source, *option)


def rate(robot: dict[str, Any]) -> None:
    robot["actions"]["rate_hz"] = 5


ROBOTS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda robot: robot.update(extra=1), "unknown key 'extra' in RobotSpec"),
    (lambda robot: robot["cameras"][0].update(name="sky"), "has no images for camera 'sky', only image_0, image_1"),
    (lambda robot: robot["state"].update(names=["a"], units=["1"]), "has state of 2 numbers, the robot of 1"),
    (lambda robot: robot["actions"].update(low=[0] * 2), "low has 2 entries for 3 names"),
    (rate, "--rate_hz is 10, but the robot's actions have 5"),
]


@pytest.mark.parametrize(("change", "message"), ROBOTS, ids=[message[:20] for _, message in ROBOTS])
def test_a_robot_that_does_not_fit_is_one_line(
    change: Callable[[dict[str, Any]], Any], message: str, source: Path, tmp_path: Path, refused: Refused
) -> None:
    assert main(["data", "import", "rlds", str(source), "--out", str(tmp_path / "first"), *HZ]) == 0
    robot = to_dict(EpisodeSet(tmp_path / "first").robot)
    change(robot)
    (tmp_path / "robot.json").write_text(json.dumps(robot))
    line = refused("rlds", source, "--robot", str(tmp_path / "robot.json"), *HZ)
    assert message in line, line


def test_only_bad_episodes_make_no_set(tmp_path: Path, refused: Refused) -> None:
    folder = write_set(tmp_path / "in", steps(3, 0, steps__action=[b"x"] * 3))
    assert "holds 1 bad episodes and no good one" in refused("rlds", folder, *HZ, "--bad_rows", "skip")


def test_many_bad_episodes_are_named_up_to_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_set(tmp_path / "in", *(steps(1, k, steps__observation__image_0=[b"x"]) for k in range(25)))
    assert main(["data", "import", "rlds", str(folder), "--out", str(tmp_path / "out"), *HZ]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and "episode 19: " in lines[19] and "and 5 more bad episodes" in lines[20]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_an_import_that_is_stopped_leaves_no_set_and_can_be_run_again(how: int, tmp_path: Path) -> None:
    folder, out = write_set(tmp_path / "in", steps(2, 0)), tmp_path / "room/out"
    write_records(folder / SHARD, [example(steps(2, k % 50)) for k in range(50)] * 40)
    command = ["data", "import", "rlds", str(folder), "--out", str(out), *HZ]
    running = subprocess.Popen([sys.executable, "-m", "ganglion.core.cli", *command], stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.glob("room/.out.*/out/episodes/0*"))) < 5:
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.01)
    running.send_signal(how)
    _, said = running.communicate(timeout=60)
    assert not out.exists()
    if how == signal.SIGINT:
        assert running.returncode == 1 and said.splitlines()[-1].startswith("ganglion: interrupted")
        assert not os.listdir(tmp_path / "room")
    write_records(folder / SHARD, [example(steps(2, 0))])
    assert main(command) == 0 and len(EpisodeSet(out)) == 1


def test_features_that_no_episode_needs_do_no_harm(tmp_path: Path) -> None:
    odd = {"sequence": {"feature": tensor("float32", 3), "length": "-1"}}
    own = described(
        boxes=odd, audio={"audio": {}}, packed={"tensor": {"shape": {}, "dtype": "float32", "encoding": "zlib"}}
    )
    folder = write_set(tmp_path / "in", steps(2, 0), features=own)
    assert main(["data", "import", "rlds", str(folder), "--out", str(tmp_path / "out"), *HZ]) == 0
