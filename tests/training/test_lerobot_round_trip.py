"""Out as a LeRobotDataset and in again: every stamp, value and pixel is what it was, at every stream's own rate."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from demonstrations_for_test import ROBOT, episode, picture, stream, written
from PIL import Image
from stopping_for_test import stopped

from ganglion.core.cli import main
from ganglion.core.images import upright
from ganglion.core.specs import CameraSpec, ChannelGroup, RobotSpec, SensorSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stamps, Stream
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.lerobot import exporting, layout

Exported = Callable[..., Path]
DAY = 86_400 * 10**9


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """exported(*episodes, robot=): the folder of a data set with these, from a set in tmp_path/set."""

    def run(*episodes: Episode, robot: RobotSpec = ROBOT) -> Path:
        written(tmp_path / "set", *episodes, robot=robot, source={"kind": "test", "notes": ["by hand"]})
        assert main(["data", "export", str(tmp_path / "set"), "--kind", "lerobot", "--out", str(tmp_path / "out")]) == 0
        return tmp_path / "out"

    return run


def brought_back(folder: Path) -> EpisodeSet:
    back = folder.parent / "back"
    assert main(["data", "import", "lerobot", str(folder), "--out", str(back)]) == 0
    return EpisodeSet(back)


def pixels(encoded: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(upright(Image.open(io.BytesIO(encoded))))


def same_stream(one: Stream | None, other: Stream | None) -> None:
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.values.dtype == other.values.dtype
        assert one.values.tobytes() == other.values.tobytes() and one.stamps_ns.tobytes() == other.stamps_ns.tobytes()


def same(one: Episode, other: Episode) -> None:
    """Everything but the bytes of images."""
    for name in ("instruction", "session", "absent", "notes"):
        assert getattr(one, name) == getattr(other, name)
    same_stream(one.actions, other.actions)
    same_stream(one.state, other.state)
    assert set(one.sensors) == set(other.sensors) and set(one.cameras) == set(other.cameras)
    for name in one.sensors:
        same_stream(one.sensors[name], other.sensors[name])
    for name in one.cameras:
        assert (one.cameras[name].stamps_ns == other.cameras[name].stamps_ns).all()
        for before, after in zip(one.cameras[name].encoded, other.cameras[name].encoded, strict=True):
            assert (pixels(before) == pixels(after)).all()


def jittered(rate_hz: float, seconds: float, seed: int, start_ns: int) -> Stamps:
    """Stamps at a rate, each off by up to 0.45 of a period, after a start that is no round number."""
    steps = np.arange(round(rate_hz * seconds))
    off = np.random.default_rng(seed).uniform(-0.45, 0.45, len(steps))
    return start_ns + np.sort((steps + off) / rate_hz * 1e9).astype(np.int64)


def recording(seed: int, lacks: tuple[str, ...] = (), **changes: Any) -> Episode:
    """A second of ROBOT with stamps as a real recorder gives them, without the streams named."""
    at = {name: jittered(rate, 1, seed + k, 3 * DAY - 77) for k, (name, rate) in enumerate(RATES.items())}
    cameras = {
        "front": CameraStream(at["front"], [picture(seed * 100 + k) for k in range(len(at["front"]))]),
        "wrist": CameraStream(at["wrist"], [picture(seed * 100 + k, kind="PNG") for k in range(len(at["wrist"]))]),
    }
    whole = episode(
        seed,
        actions=stream(seed, 2, at["actions"]),
        state=None if "state" in lacks else stream(seed, 3, at["state"], np.float64),
        sensors={} if "tip" in lacks else {"tip": stream(seed, 4, at["tip"], np.float16)},
        cameras={name: frames for name, frames in cameras.items() if name not in lacks},
        absent={},
    )
    return replace(whole, **changes)


RATES = {"actions": 20, "state": 50, "tip": 100, "front": 30, "wrist": 10}


def test_jittered_stamps_missing_streams_and_sessions_come_back_bit_by_bit(exported):
    episodes = [
        recording(0, absent={"tip": ["force"]}, notes={"ü": [1, None, {"deep": 0.1}]}),
        recording(1, lacks=("tip",), instruction="let go", session="tuesday"),
        recording(2, lacks=("wrist", "state"), session="tuesday\n🦾"),
        recording(3, lacks=("front", "wrist", "tip", "state"), instruction=""),
        recording(4, lacks=("front",), absent={"tip": ["force", "scan"]}),
    ]
    back = brought_back(exported(*episodes))
    assert back.robot == ROBOT and len(back) == len(episodes)
    for number, one in enumerate(episodes):
        same(one, back[number])


def test_where_the_data_were_from_is_kept(exported):
    source = brought_back(exported(recording(0))).source
    assert source["kind"] == "test" and source["notes"][0] == "by hand"


def test_types_differ_between_episodes_and_each_gets_its_own_back(exported):
    at = np.array([-5, 0, 1, 2**62], np.int64)
    tiny = np.array([[1e-300], [-0.0], [np.pi], [6e4]])
    episodes = [
        episode(k, actions=Stream(at, np.tile(tiny, 2).astype(dtype)), sensors={}, state=None, cameras={}, absent={})
        for k, dtype in enumerate((np.float32, np.float64, np.float16))
    ]
    back = brought_back(exported(*episodes))
    for number, one in enumerate(episodes):
        same(one, back[number])


def test_one_reading_of_each_is_enough(exported):
    one = np.array([7], np.int64)
    least = episode(
        actions=stream(0, 2, one),
        state=stream(0, 3, one),
        sensors={"tip": stream(0, 4, one)},
        cameras={"front": CameraStream(one, [picture(1)])},
    )
    same(least, brought_back(exported(least))[0])


def test_a_burst_and_a_long_pause_come_back(exported):
    burst = np.concatenate([np.arange(500), 10**10 + np.arange(500)])
    frames = np.array([3, 4, 5, 10**11])
    one = episode(
        actions=stream(0, 2, np.array([0, 10**9])),
        sensors={"tip": stream(0, 4, burst)},
        cameras={"front": CameraStream(frames, [picture(k) for k in range(4)])},
    )
    same(one, brought_back(exported(one))[0])


def test_odd_sizes_turned_photographs_and_transparent_pictures_are_kept_as_they_look(exported):
    robot = replace(ROBOT, cameras=(CameraSpec("odd", 7, 5, 30.0),))
    turned, clear, gray = io.BytesIO(), io.BytesIO(), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    noise = np.random.default_rng(0).integers(0, 255, (7, 7, 4), np.uint8)
    Image.fromarray(noise[:5, :7, :3]).save(turned, "JPEG", exif=exif)
    Image.fromarray(noise[:, :5]).save(clear, "PNG")
    Image.fromarray(noise[:, :5, 0]).save(gray, "PNG")
    frames = CameraStream(np.arange(3) * 10**8, [file.getvalue() for file in (turned, clear, gray)])
    one = episode(cameras={"odd": frames})
    same(one, brought_back(exported(one, robot=robot))[0])


def test_many_files_are_as_good_as_one(exported, monkeypatch):
    monkeypatch.setattr(layout, "DATA_FILE_MB", 0)
    monkeypatch.setattr(exporting, "_VIDEO_SECONDS", 2.5)
    monkeypatch.setattr("ganglion.training.demonstrations.lerobot.files.FILES_PER_CHUNK", 2)
    monkeypatch.setattr("ganglion.training.demonstrations.lerobot.description._AT_ONCE", 2)
    monkeypatch.setattr("ganglion.training.demonstrations.lerobot.columns._BATCH_BYTES", 5000)
    episodes = [recording(seed) for seed in range(5)]
    folder = exported(*episodes)
    assert len(list(folder.glob("data/chunk-*/file-*.parquet"))) == 5
    assert len(list(folder.glob("videos/observation.images.front/chunk-*/*.mp4"))) == 3
    assert (folder / "data/chunk-002/file-000.parquet").exists()
    back = brought_back(folder)
    for number, one in enumerate(episodes):
        same(one, back[number])


def test_a_plain_reader_sees_the_usual_keys_of_the_usual_types(exported):
    folder = exported(recording(0), recording(1, lacks=("tip",), instruction="let go"))
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 50 and info["robot_type"] == "small"
    assert info["total_episodes"] == info["total_tasks"] == 2 and info["splits"] == {"train": "0:2"}
    shapes = {key: (feature["dtype"], feature["shape"]) for key, feature in info["features"].items()}
    assert shapes["action"] == ("float32", [2]) and shapes["observation.state"] == ("float64", [3])
    assert shapes["observation.sensors.tip"] == ("float32", [4, 4])  # 100 samples a second, 50 rows
    assert shapes["observation.images.front"] == ("video", [12, 16, 3])
    own = [key for key in shapes if key.startswith(("action", "observation")) and "ganglion" in key]
    assert own == []  # LeRobot would take them for inputs and outputs
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    videos = {key for key, (dtype, _) in shapes.items() if dtype == "video"}
    assert set(table) == set(shapes) - videos and info["total_frames"] == len(table["index"])
    assert table["index"] == list(range(len(table["index"])))
    frames = np.array(table["frame_index"])
    assert (np.array(table["timestamp"], np.float32) == (frames / 50).astype(np.float32)).all()
    statistics = json.loads((folder / "meta/stats.json").read_text())
    assert set(statistics) == {key for key in shapes if not key.startswith("ganglion.")}


def test_statistics_are_of_what_was_recorded(exported):
    one, other = recording(0), recording(1, lacks=("tip", "wrist"))
    folder = exported(one, other)
    statistics = json.loads((folder / "meta/stats.json").read_text())
    samples = one.sensors["tip"].values.astype(np.float64)
    np.testing.assert_allclose(statistics["observation.sensors.tip"]["mean"], samples.mean(axis=0))
    assert statistics["observation.sensors.tip"]["count"] == [len(samples)]
    assert statistics["observation.images.wrist"]["min"] != [[[0.0]]] * 3 or 0 in pixels(
        one.cameras["wrist"].encoded[0]
    )
    actions = np.concatenate([one.actions.values, other.actions.values])
    np.testing.assert_allclose(statistics["action"]["max"], actions.max(axis=0))


def test_what_is_there_is_not_touched(exported, capsys):
    folder = exported(recording(0))
    before = (folder / "meta/info.json").stat().st_mtime_ns
    assert main(["data", "export", str(folder.parent / "set"), "--out", str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (folder / "meta/info.json").stat().st_mtime_ns == before


def command(source: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "ganglion.core.cli", "data", "export", str(source), "--out", str(out)]


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGKILL]], ids=["interrupted", "killed"])
def test_an_export_that_is_stopped_leaves_no_data_set(signals, tmp_path):
    frames = CameraStream(np.arange(10_000) * 10**7, [picture(0)] * 10_000)
    written(tmp_path / "set", episode(cameras={"front": frames}))
    out = tmp_path / "room" / "out"
    code, said = stopped(command(tmp_path / "set", out), tmp_path, "room/.out.*/out/videos/*/*/*.mp4", signals)
    assert not out.exists()
    if signals == [signal.SIGINT]:
        assert code == 1 and said[-1].startswith("ganglion: interrupted")
        assert not os.listdir(tmp_path / "room")


@pytest.mark.parametrize("limit", [2**13, 2**18], ids=["in a table", "in a video"])
def test_a_full_disk_is_one_line_and_leaves_nothing(limit, tmp_path):
    noise = CameraStream(np.arange(400) * 10**7, [picture(k, kind="PNG") for k in range(400)])
    written(tmp_path / "set", episode(cameras={"front": noise}))
    code = (
        "import resource, sys; from ganglion.core.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        f"sys.exit(main({command(tmp_path / 'set', tmp_path / 'room' / 'out')[3:]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ganglion: ") and "can't write: " in line and "free space" in line
    assert not os.listdir(tmp_path / "room")


WATCHED = """
import sys, threading, time
from ganglion.core.cli import main
from ganglion.training.demonstrations.lerobot import columns, exporting, native  # take memory of their own

def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) // 1024

def watch():
    while True:
        most[0] = max(most[0], held())
        time.sleep(0.005)

columns._BATCH_BYTES = 2**21
before = held()
most = [before]
threading.Thread(target=watch, daemon=True).start()
code = main(sys.argv[1:])
print(most[0] - before)
sys.exit(code)
"""


def test_neither_way_holds_an_episode_in_memory(tmp_path):
    samples = stream(0, 400, np.arange(100_000) * 10**6)  # 160 MB
    tip = SensorSpec("tip", (ChannelGroup("scan", 400, "dB"),), 1000.0)
    pose = stream(0, 2, np.arange(1, 5000) * 2 * 10**7)
    one = episode(actions=pose, state=None, sensors={"tip": samples}, absent={}, cameras={})
    written(tmp_path / "set", one, robot=replace(ROBOT, sensors=(tip,)))
    for arguments in (
        ["export", str(tmp_path / "set"), "--out", str(tmp_path / "out")],
        ["import", "lerobot", str(tmp_path / "out"), "--out", str(tmp_path / "back")],
    ):
        command = [sys.executable, "-c", WATCHED, "data", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.split()[-1]) < 120, (arguments, done.stdout)  # MB
    same(one, EpisodeSet(tmp_path / "back")[0])
