"""Recorded OCT volumes as a stream: the raster, the split, and files that are not what they should be."""

from pathlib import Path

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.simulation.oct_replay import (
    COLUMNS,
    RASTER_SAMPLES,
    ROWS,
    OctReplay,
    OctVolume,
    oct_robot,
    read_volume,
    scan,
    split_volumes,
    volume_paths,
)


def write_volume(path: Path, pose: float, seed: int = 0) -> None:
    data = np.random.default_rng(seed).integers(0, 255, (512, 64, 64), np.uint8)
    np.savez(path, data=data, pos=np.full(6, pose))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(3):
        write_volume(tmp_path / f"v{index}.npz", float(index), index)
    return tmp_path


def test_the_spec_is_a_mirror_and_512_bins_at_650_hz_with_a_window_of_one_raster() -> None:
    robot = oct_robot()
    sensor = robot.sensors[0]
    assert (sensor.channels, sensor.rate_hz, sensor.window_samples) == (514, 650.0, RASTER_SAMPLES)
    assert [group.channels for group in sensor.groups] == [2, 512]
    assert robot.cameras == () and (robot.actions.horizon, robot.actions.dim) == (1, 6)


def test_a_sample_is_the_a_scan_under_the_mirror(folder: Path) -> None:
    volume = read_volume(folder / "v0.npz")
    recorded = np.load(folder / "v0.npz")["data"]
    samples = scan(volume, np.arange(RASTER_SAMPLES))
    places = np.rint((samples[:, :2] / 3.0 + 0.5) * 63).astype(int)
    for sample, (row, column) in zip(samples, places, strict=True):
        np.testing.assert_array_equal(sample[2:], recorded[:, row, column])
    assert len({tuple(place) for place in places}) == ROWS * COLUMNS
    assert places.min(0).tolist() == [0, 0] and places.max(0).tolist() == [63, 63]


def test_any_second_covers_the_whole_field(folder: Path) -> None:
    volume = read_volume(folder / "v0.npz")
    whole = {tuple(place) for place in scan(volume, np.arange(RASTER_SAMPLES))[:, :2]}
    later = {tuple(place) for place in scan(volume, np.arange(RASTER_SAMPLES) + 4 * 650 + 221)[:, :2]}
    assert whole == later


def test_a_moved_volume_is_seen_where_it_moved_to() -> None:
    data = np.zeros((64, 64, 512), np.uint8)
    data[20, 30, 100] = 255
    rows = np.arange(RASTER_SAMPLES)

    def brightest(moved: tuple[float, float]) -> list[int]:
        samples = scan(OctVolume("v", data, np.zeros(6, np.float32)), rows, moved)
        place = samples[samples[:, 102].argmax(), :2]
        return np.rint((place / 3.0 + 0.5) * 63).astype(int).tolist()

    assert brightest((21 - 20, 30 - 30)) == [21, 30]
    assert brightest((34 - 20, 50 - 30)) == [34, 50]


def test_replay_goes_from_volume_to_volume_and_knows_whose_window_is_whole(folder: Path) -> None:
    replay = OctReplay(folder, ["v2.npz", "v0.npz"], rasters_per_volume=2)
    block = replay.samples(1295, 10)
    assert block.shape == (10, 514) and block.dtype == np.float32
    for index in range(10):
        np.testing.assert_array_equal(replay.sample(1295 + index), block[index])
    assert [replay.pose(index)[0] for index in (0, 1299, 1300, 2600)] == [2, 2, 0, 2]
    assert [replay.settled(index) for index in (0, 648, 649, 1299, 1300, 1948, 1949)] == [0, 0, 1, 1, 0, 0, 1]


def test_split_is_fixed_disjoint_and_complete() -> None:
    names = [f"{n}.npz" for n in range(100)]
    parts = split_volumes(names)
    assert parts == split_volumes(names[::-1])
    assert {part: len(members) for part, members in parts.items()} == {"train": 70, "validation": 10, "test": 20}
    assert sorted(name for members in parts.values() for name in members) == sorted(names)
    with pytest.raises(InputError, match="too few"):
        split_volumes(["a.npz", "b.npz"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": np.zeros((512, 64, 64), np.uint8)}, "has no array 'pos'"),
        ({"pos": np.zeros(6)}, "has no array 'data'"),
        ({"data": np.zeros((512, 64, 63), np.uint8), "pos": np.zeros(6)}, r"data is uint8 \(512, 64, 63\)"),
        ({"data": np.zeros((512, 64, 64), np.float32), "pos": np.zeros(6)}, "data is float32"),
        ({"data": np.zeros((512, 64, 64), np.uint8), "pos": np.zeros(7)}, "pos is not 6 finite"),
        ({"data": np.zeros((512, 64, 64), np.uint8), "pos": np.full(6, np.nan)}, "pos is not 6 finite"),
        ({"data": np.zeros((512, 64, 64), np.uint8), "pos": np.array(["a"] * 6)}, "pos is not 6 finite"),
        ({"data": np.array([{}]), "pos": np.zeros(6)}, "can't be read"),
    ],
)
def test_a_wrong_volume_is_one_line_that_names_the_file(arrays: dict, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=r"bad\.npz: " + message) as error:
        read_volume(tmp_path / "bad.npz")
    assert "\n" not in str(error.value) and ";" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", "truncated"])
def test_a_damaged_file_is_one_line_that_names_it(content: bytes | str, folder: Path) -> None:
    bad = folder / "v1.npz"
    bad.write_bytes(bad.read_bytes()[:5000] if isinstance(content, str) else content)
    with pytest.raises(InputError, match=r"v1\.npz: can't be read") as error:
        OctReplay(folder, ["v1.npz"])
    assert "\n" not in str(error.value)


def test_a_flipped_byte_in_a_volume_is_noticed(folder: Path) -> None:
    bad = folder / "v1.npz"
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    with pytest.raises(InputError, match=r"v1\.npz: can't be read"):
        read_volume(bad)


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        volume_paths(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no \.npz"):
        volume_paths(tmp_path)


def test_the_public_volumes_read_and_their_tips_follow_the_poses(shared_data: Path) -> None:
    volumes = [read_volume(path) for path in volume_paths(shared_data / "oct_needle_pose")[:12]]
    depths = [np.flatnonzero((v.data > 128).sum((0, 1))[140:] > 20).max(initial=0) for v in volumes]
    assert np.corrcoef(depths, [v.pose[2] for v in volumes])[0, 1] < -0.9
