"""One episode: what can't be learned from is refused by name, and what is written is read back bit by bit."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstrations_for_test import ROBOT, episode, picture, stamps, stream, written
from hypothesis import given, settings
from hypothesis import strategies as st

from ganglion.core.errors import GanglionError, InputError
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream, check_episode
from ganglion.training.demonstrations.episode_set import EpisodeSet, SetWriter
from ganglion.training.demonstrations.storage import (
    content_digest,
    holds_files,
    open_episode,
    read_facts,
    write_episode,
)


def of(values: Any, at: Any = None) -> Stream:
    values = np.asarray(values)
    return Stream(np.arange(len(values), dtype=np.int64) if at is None else np.asarray(at), values)


def nan_at(reading: int) -> Stream:
    values = np.zeros((10_000, 2), np.float32)
    values[reading, 1] = np.nan
    return of(values)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "three actions": ({"actions": of(np.zeros((5, 3), np.float32))}, r"actions: has shape \(5, 3\); .* \(N, 2\)"),
    "a flat list": ({"actions": of(np.zeros(5, np.float32))}, r"actions: has shape \(5,\)"),
    "whole numbers": ({"actions": of(np.zeros((5, 2), np.int64))}, "actions: has type int64"),
    "no reading": ({"actions": of(np.zeros((0, 2), np.float32))}, "actions: is empty"),
    "NaN": ({"actions": nan_at(7000)}, "actions: is not finite at reading 7000"),
    "infinity": ({"state": of([[0, 0, np.inf]])}, "state: is not finite at reading 0"),
    "stamps in seconds": ({"actions": of(np.zeros((2, 2), np.float32), [0.0, 0.05])}, "actions: has stamps float64"),
    "a stamp too few": (
        {"actions": of(np.zeros((3, 2), np.float32), [0, 1])},
        r"has stamps int64 \(2,\) for 3 readings",
    ),
    "a step back": ({"actions": of(np.zeros((3, 2), np.float32), [5, 9, 8])}, "goes back in time at reading 2"),
    "a repeated stamp": ({"actions": of(np.zeros((3, 2), np.float32), [5, 5, 8])}, "goes back in time at reading 1"),
    "an unknown sensor": ({"sensors": {"nose": of(np.zeros((3, 4), np.float32))}}, r"has a sensor 'nose'; .*\['tip'\]"),
    "a narrow sensor": ({"sensors": {"tip": of(np.zeros((3, 1), np.float16))}}, r"sensor tip: has shape \(3, 1\)"),
    "an unknown camera": ({"cameras": {"sky": CameraStream(stamps(1, 1), [b"x"])}}, "has a camera 'sky'"),
    "a frame too few": ({"cameras": {"front": CameraStream(stamps(1, 2), [b"x"])}}, "camera front: has stamps"),
    "an absent group unknown": ({"absent": {"tip": ["taste"]}}, r"calls tip.taste absent; .*\['force', 'scan'\]"),
    "a group of no sensor": ({"absent": {"nose": ["x"]}}, "calls nose.x absent"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_learned_from_is_refused_by_stream_and_reading(case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(InputError, match="day 3.*" + message) as error:
        check_episode(episode(**changes), ROBOT, "day 3")
    assert "\n" not in str(error.value) and "; " in str(error.value)
    check_episode(episode(), ROBOT, "day 3")


def test_a_state_that_the_robot_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="has a state, the robot has none"):
        check_episode(episode(), replace(ROBOT, state=None), "day 3")
    check_episode(episode(state=None), replace(ROBOT, state=None), "day 3")


def same(one: Episode, other: Episode) -> None:
    """Assert that two episodes are bit for bit the same, types included."""
    for mine, yours in ((one.actions, other.actions), (one.state, other.state)):
        same_stream(mine, yours)
    assert list(one.sensors) == list(other.sensors) and list(one.cameras) == list(other.cameras)
    for name, sensed in one.sensors.items():
        same_stream(sensed, other.sensors[name])
    for name, frames in one.cameras.items():
        np.testing.assert_array_equal(frames.stamps_ns, other.cameras[name].stamps_ns)
        assert list(frames.encoded) == list(other.cameras[name].encoded)
    words = ("instruction", "session", "absent", "notes")
    assert [getattr(one, name) for name in words] == [getattr(other, name) for name in words]


def same_stream(one: Stream | None, other: Stream | None) -> None:
    assert (one is None) == (other is None)
    if one and other:
        assert one.values.dtype == other.values.dtype and one.stamps_ns.dtype == other.stamps_ns.dtype == np.int64
        assert one.values.tobytes() == other.values.tobytes()
        np.testing.assert_array_equal(one.stamps_ns, other.stamps_ns)


@settings(max_examples=25)
@given(data=st.data())
def test_any_episode_comes_back_bit_by_bit_at_its_native_rates(data: Any, tmp_path_factory: Any) -> None:
    def any_stream(channels: int) -> Stream:
        gaps = data.draw(st.lists(st.integers(1, 10**9), min_size=1, max_size=30))
        kind = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
        start = data.draw(st.integers(-(2**40), 2**62))
        return stream(data.draw(st.integers(0, 99)), channels, start + np.cumsum(gaps, dtype=np.int64), kind)

    def any_camera() -> CameraStream:
        images = data.draw(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
        return CameraStream(np.arange(len(images), dtype=np.int64) * 7, images)

    made = Episode(
        instruction=data.draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        session=data.draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        actions=any_stream(2),
        state=any_stream(3) if data.draw(st.booleans()) else None,
        sensors={"tip": any_stream(4)} if data.draw(st.booleans()) else {},
        cameras={name: any_camera() for name in data.draw(st.sets(st.sampled_from(["front", "wrist"])))},
        absent=data.draw(st.sampled_from([{}, {"tip": ["force"]}, {"tip": ["force", "scan"]}])),
        notes=data.draw(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.integers(), max_size=3)),
    )
    check_episode(made, ROBOT, "made")
    folder = tmp_path_factory.mktemp("episode") / "000000"
    write_episode(folder, made)
    same(made, open_episode(folder))


def test_an_episode_opened_can_be_written_again_the_same(tmp_path: Path) -> None:
    write_episode(tmp_path / "a", episode())
    write_episode(tmp_path / "b", open_episode(tmp_path / "a"))
    same(episode(), open_episode(tmp_path / "b"))
    assert (tmp_path / "a/episode.json").read_text() == (tmp_path / "b/episode.json").read_text()


def test_images_are_a_sequence(tmp_path: Path) -> None:
    write_episode(tmp_path / "a", episode())
    images, own = open_episode(tmp_path / "a").cameras["front"].encoded, episode().cameras["front"].encoded
    assert images[-1] == own[-1] and images[3:6] == list(own[3:6]) and images[::-7] == list(own[::-7])
    with pytest.raises(IndexError):
        images[30]


@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_arrays_can_not_be_changed(tmp_path: Path, seconds: float) -> None:
    write_episode(tmp_path / "a", episode(seconds=seconds))
    opened = open_episode(tmp_path / "a")
    assert not opened.sensors["tip"].values.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        opened.actions.values[0] = 0


def test_a_small_episode_holds_no_files(tmp_path: Path) -> None:
    write_episode(tmp_path / "small", episode())
    write_episode(tmp_path / "large", episode(seconds=20.0))
    before = len(list(Path("/proc/self/fd").iterdir()))
    small, large = open_episode(tmp_path / "small"), open_episode(tmp_path / "large")
    assert not holds_files(small) and holds_files(large)
    assert all(frames.encoded[0] for frames in small.cameras.values())
    del large
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_digest_tells_every_stream_apart_and_not_the_words(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"actions": stream(9, 2, stamps(20, 1))},
        {"actions": stream(0, 2, stamps(20, 1) + 1)},
        {"state": None},
        {"state": stream(1, 3, stamps(50, 1), np.float32)},
        {"sensors": {}},
        {"cameras": {name: frames for name, frames in episode().cameras.items() if name == "front"}},
        {"cameras": {**episode().cameras, "wrist": CameraStream(stamps(10, 1), [picture(k) for k in range(10)])}},
    ]
    digests = []
    for number, change in enumerate(changes):
        write_episode(tmp_path / str(number), episode(**change))
        digests.append(read_facts(tmp_path / str(number))["digest"])
        assert digests[-1] == content_digest(tmp_path / str(number))
    assert len(set(digests)) == len(changes)
    write_episode(tmp_path / "words", episode(session="tuesday", instruction="x", notes={}))
    assert read_facts(tmp_path / "words")["digest"] == digests[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def pickled(path: Path) -> None:
    np.save(path.with_suffix(""), np.array([{}], dtype=object), allow_pickle=True)


def shorter_array(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def number(path: Path) -> None:
    np.save(path, np.int64(5))


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("actions.npy", Path.unlink, r"actions\.npy: is missing"),
    ("actions.npy", cut, r"actions\.npy"),
    ("actions.npy", emptied, r"actions\.npy"),
    ("actions.npy", pickled, r"actions\.npy"),
    ("actions.npy", shorter_array, "actions has 19 readings and 20 stamps"),
    ("state.stamps.npy", shorter_array, "state has 50 readings and 49 stamps"),
    ("state.stamps.npy", number, "damaged"),
    ("sensor.tip.npy", cut, r"sensor\.tip\.npy"),
    ("camera.front.images", cut, r"camera\.front\.images has \d+ bytes, not what its index says"),
    ("camera.front.images", longer, r"camera\.front\.images"),
    ("camera.front.images", Path.unlink, r"camera\.front\.images: is missing"),
    ("camera.front.ends.npy", shorter_array, r"camera\.front\.images"),
    ("camera.front.stamps.npy", shorter_array, "camera.front has 30 images and 29 stamps"),
    ("episode.json", Path.unlink, r"episode\.json: is missing"),
    ("episode.json", cut, r"episode\.json: is damaged"),
    ("episode.json", emptied, r"episode\.json: is damaged"),
    ("episode.json", lambda path: path.write_text("[1]"), r"episode\.json: is damaged"),
    ("episode.json", lambda path: path.write_text('{"digest": "", "session": ""}'), r"is damaged \('instruction'\)"),
    ("episode.json", lambda path: path.write_bytes(b"\xff\xfe{"), r"episode\.json: is damaged"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), DAMAGE, ids=[f"{n}-{d[0]}" for n, d in enumerate(DAMAGE)])
def test_a_damaged_file_is_one_line_that_names_it(
    name: str, spoil: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "000000"
    write_episode(folder, episode())
    spoil(folder / name)
    with pytest.raises(InputError, match=message) as error:
        open_episode(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value) and "; " in str(error.value)


def test_an_empty_image_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    frames = CameraStream(stamps(10, 0.3), [picture(0), b"", picture(1)])
    with pytest.raises(InputError, match=r"camera\.wrist: has no image at reading 1"):
        write_episode(tmp_path / "room/000000", episode(cameras={"wrist": frames}))
    assert not list((tmp_path / "room").iterdir())


@pytest.mark.parametrize("seconds", [1.0, 100.0], ids=["in an image", "in an array"])
def test_a_full_disk_is_one_line_and_leaves_nothing(seconds: float, tmp_path: Path) -> None:
    one = episode(actions=stream(0, 2, stamps(20, seconds)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(GanglionError, match=r"can't write: File too large; free space"):
            write_episode(tmp_path / "room/000000", one)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list((tmp_path / "room").iterdir())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_writer_that_is_stopped_leaves_no_half_episode(how: int, tmp_path: Path) -> None:
    """One that writes an endless camera is stopped in the middle; another goes on with the set."""
    folder = tmp_path / "set"
    written(folder, episode())
    code = (
        "import itertools, sys; sys.path.insert(0, sys.argv[2])\n"
        "from demonstrations_for_test import *\n"
        "class Endless(list):\n"
        "    def __len__(self): return 1\n"
        "    def __iter__(self): return itertools.repeat(b'x' * 10000)\n"
        "SetWriter(Path(sys.argv[1])).add(episode(cameras={'front': CameraStream(stamps(1, 1), Endless())}))\n"
    )
    running = subprocess.Popen([sys.executable, "-c", code, folder, Path(__file__).parent], stderr=subprocess.DEVNULL)
    while not list(folder.glob("episodes/.000001.*/000001/camera.front.images")):
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, how)
    running.wait(timeout=60)
    assert EpisodeSet(folder).names == ["000000"]
    assert how == signal.SIGKILL or os.listdir(folder / "episodes") == ["000000"]
    assert SetWriter(folder).add(episode(1)) == "000001"
    same(EpisodeSet(folder)[1], episode(1))


def test_facts_are_plain_json(tmp_path: Path) -> None:
    write_episode(tmp_path / "a", episode())
    facts = json.loads((tmp_path / "a/episode.json").read_text())
    assert facts["absent"] == {"tip": ["force"]} and facts["cameras"] == ["front", "wrist"]
