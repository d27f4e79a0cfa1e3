"""LeRobot opens what we write, and sees every reading and every pixel.

Needs an environment of its own, in which `from lerobot.datasets.lerobot_dataset import LeRobotDataset` works:

    GANGLION_LEROBOT_PYTHON=/path/to/python pytest tests/training/test_lerobot_itself.py -s
"""

import io
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from demonstrations_for_test import episode, stamps, stream, written
from PIL import Image

from ganglion.core.cli import main
from ganglion.training.demonstrations.episode import Episode, Stamps
from ganglion.training.demonstrations.episode_set import EpisodeSet

PYTHON = os.environ.get("GANGLION_LEROBOT_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="GANGLION_LEROBOT_PYTHON names no Python that has lerobot")
READER = Path(__file__).with_name("read_with_lerobot.py")
Columns = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> EpisodeSet:
    jitter = np.random.default_rng(0).integers(0, 10**7, 20)
    return written(
        tmp_path_factory.mktemp("lerobot") / "set",
        episode(0),
        episode(1, actions=stream(1, 2, stamps(20, 1) + jitter), instruction="let go"),
        episode(2, sensors={}, absent={}, seconds=0.5),
    )


@pytest.fixture(scope="module")
def read(episodes: EpisodeSet) -> Columns:
    """What lerobot reads of the exported set."""
    assert PYTHON is not None
    folder, found = episodes.folder.parent / "out", episodes.folder.parent / "read.npz"
    assert main(["data", "export", str(episodes.folder), "--kind", "lerobot", "--out", str(folder)]) == 0
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder.parent / "cache")}
    command = [PYTHON, str(READER), str(folder), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout.splitlines()[-1])
    return dict(np.load(found))


def in_each(episodes: EpisodeSet, read: Columns) -> list[tuple[Episode, Columns]]:
    """Each episode with its rows."""
    per_row = {key: column for key, column in read.items() if len(column) == len(read["index"])}
    return [
        (episodes[k], {key: column[read["episode_index"] == k] for key, column in per_row.items()})
        for k in range(len(episodes))
    ]


def items(shown: Stamps, recorded: Stamps) -> npt.NDArray[np.int64]:
    """Which reading each row shows, by its stamp; each is shown by some."""
    assert set(shown.tolist()) == set(recorded.tolist())
    return np.searchsorted(recorded, shown)


def test_each_frame_is_shown_pixel_by_pixel(episodes, read):
    for one, rows in in_each(episodes, read):
        for name, frames in one.cameras.items():
            key = f"observation.images.{name}"
            shown = items(rows[f"ganglion.stamps_ns.{key}"], frames.stamps_ns)
            pixels = [np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in frames.encoded]
            expected = np.stack([pixels[item] for item in shown]).transpose(0, 3, 1, 2)
            assert (np.rint(rows[key] * 255) == expected).all()  # it gives them as 0 to 1 in float32


def test_each_action_and_state_is_shown(episodes, read):
    for one, rows in in_each(episodes, read):
        for key, found in (("action", one.actions), ("observation.state", one.state)):
            shown = items(rows[f"ganglion.stamps_ns.{key}"], found.stamps_ns)
            assert (rows[key] == found.values[shown].astype(np.float32)).all()  # it makes float32 of all


def test_each_sample_is_shown_once(episodes, read):
    key = "observation.sensors.tip"
    for one, rows in in_each(episodes, read):
        blocks, counts = rows[key], rows[f"ganglion.count.{key}"]
        there = np.arange(blocks.shape[1]) < counts[:, None]
        if not one.sensors:
            assert not counts.any() and not blocks.any()
            continue
        assert (blocks[there] == one.sensors["tip"].values).all()
        assert (rows[f"ganglion.stamps_ns.{key}"][there] == one.sensors["tip"].stamps_ns).all()


def test_statistics_are_what_it_would_compute(episodes, read):
    noted = pq.read_table(episodes.folder.parent / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()[0]
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(noted[f"stats/action/{name}"], read[f"statistics/{name}"], rtol=1e-5)
    for name in ("q01", "q10", "q50", "q90", "q99"):  # its own are those of a histogram: of few rows, others
        assert np.shape(noted[f"stats/action/{name}"]) == read[f"statistics/{name}"].shape


def test_words_times_and_chunks_are_what_its_policies_expect(episodes, read):
    for one, rows in in_each(episodes, read):
        assert set(rows["task"].tolist()) == {one.instruction}
        np.testing.assert_array_equal(rows["timestamp"], (np.arange(len(rows["index"])) / 50).astype(np.float32))
    assert (read["episode_1"] == read["index"][read["episode_index"] == 1]).all()
    assert (read["chunk"] == read["action"][:4]).all()
    cameras = ["observation.images.front", "observation.images.wrist"]
    assert read["policy_inputs"].tolist() == ["action", *cameras, "observation.sensors.tip", "observation.state"]
