"""OCT volumes in, episodes out: what the scanner feels, the pose, and what was recorded together."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ganglion.core.cli import main
from ganglion.simulation.oct_replay import oct_robot, read_volume, scan
from ganglion.training.demonstrations.cutting import cut_chunk, cut_window
from ganglion.training.demonstrations.episode_set import EpisodeSet


def write_volume(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    np.savez(path, data=rng.integers(0, 256, (512, 64, 64), np.uint8), pos=rng.uniform(0, 1, 6))


def imported(folder: Path, *options: str) -> EpisodeSet:
    assert main(["data", "import", "oct_needle_pose", str(folder), "--out", str(folder.parent / "out"), *options]) == 0
    return EpisodeSet(folder.parent / "out")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(("1565077565.98", "1565078212.77", "1565080481.29", "found on a shelf")):
        write_volume(tmp_path / f"in/{name}.npz", seed)
    return tmp_path / "in"


def test_every_moment_has_a_whole_raster_before_it_and_the_pose_to_tell(folder: Path) -> None:
    found, volume = imported(folder), read_volume(folder / "1565077565.98.npz")
    assert found.robot == oct_robot() and len(found) == 4
    episode, sensor = found[0], oct_robot().sensors[0]
    assert len(episode.actions.values) == 51 and np.diff(episode.actions.stamps_ns).min() >= 19_999_999
    for row, now in enumerate(episode.actions.stamps_ns):
        window = cut_window(episode.sensors["oct"], sensor, int(now))
        exact = scan(volume, np.arange(650) + 13 * row)
        assert window.present.all() and window.samples.dtype == np.float16
        np.testing.assert_array_equal(window.samples[:, 2:], exact[:, 2:])
        np.testing.assert_allclose(window.samples[:, :2], exact[:, :2], atol=0.0005)
        chunk, real = cut_chunk(episode.actions, found.robot.actions, int(now))
        np.testing.assert_array_equal(chunk, [volume.pose])
        assert real.all()


def test_volumes_of_one_hour_are_a_session(folder: Path) -> None:
    sessions = {episode.notes["volume"]: episode.session for episode in imported(folder)}
    assert sessions == {
        "1565077565.98.npz": "2019-08-06T07Z",
        "1565078212.77.npz": "2019-08-06T07Z",
        "1565080481.29.npz": "2019-08-06T08Z",
        "found on a shelf.npz": "found on a shelf",
    }


@pytest.mark.parametrize("name", ["5", "nan", "inf", "-1e30", "99999999999999"])
def test_a_name_that_tells_no_likely_time_is_its_own_session(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / f"in/{name}.npz", 0)
    assert imported(tmp_path / "in")[0].session == name


def test_a_damaged_volume_is_named_or_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "1565078212.77.npz").write_bytes(b"no volume")
    np.savez(folder / "nan.npz", data=np.zeros((512, 64, 64), np.uint8), pos=np.full(6, np.nan))
    assert main(["data", "import", "oct_needle_pose", str(folder), "--out", str(folder.parent / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "1565078212.77.npz: can't be read" in lines[0] and "pos is not 6 finite" in lines[1]
    assert len(imported(folder, "--bad_rows", "skip")) == 3
    listed = (folder.parent / "out/bad_rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["episode"] for line in listed] == [1, 4]


def test_a_folder_without_volumes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "import", "oct_needle_pose", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no .npz file" in capsys.readouterr().err


def test_the_public_volumes_are_of_one_night(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for path in sorted((shared_data / "oct_needle_pose").glob("*.npz"))[::12]:
        (tmp_path / "in" / path.name).symlink_to(path)
    found = imported(tmp_path / "in")
    counted = Counter(episode.session for episode in found)
    assert len(found) == 9 and all(session.startswith("2019-08-0") for session in counted)
    low, high = np.array(found.robot.actions.low), np.array(found.robot.actions.high)
    assert all(((episode.actions.values >= low) & (episode.actions.values <= high)).all() for episode in found)
