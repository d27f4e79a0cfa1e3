"""exo_assist rows whose images are frames of the walk's camera: as the drawn ones but for the pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.errors import GanglionError
from ganglion.core.tasks import EXO_ASSIST
from ganglion.core.tasks.exo_assist import TERRAINS
from ganglion.simulation.exo_walk import draw_walk
from ganglion.training.data.exo import walks
from ganglion.training.data.exo.rows import exo_row, terrain_of
from ganglion.training.data.exo.walks import walk_image


@pytest.fixture(scope="module", autouse=True)
def offscreen() -> None:
    """Skip where nothing can be rendered at all, which is not this package's fault."""
    try:
        walk_image(0, 0, 28)
    except GanglionError as error:
        pytest.skip(str(error))


def synth(out: Path, *options: str) -> int:
    words = ("--out", str(out), "--workers", "1", "--view", "exo_walk", "--size", "56")
    return main(["data", "synth", "exo_assist", *words, *options])


def test_the_set_is_one_to_train_on_with_the_rows_of_drawn_terrain(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "10", "--seed", "3", "--rows_per_image", "2") == 0
    examples = read_datafile(tmp_path / "d/data.json", EXO_ASSIST)
    assert len(examples) == 10
    for index, example in enumerate(examples):
        drawn = exo_row(3, index, rows_per_image=2)
        assert {key: example.row[key] for key in drawn} == drawn
        assert Image.open(example.images[0]).size == (56, 56)
    assert [e.row["expected_output"]["task"] for e in examples[::2]] == list(TERRAINS)


def test_same_seed_and_index_give_the_same_pixels_and_others_do_not() -> None:
    first = np.asarray(walk_image(3, 1, 40))
    assert np.array_equal(first, np.asarray(walk_image(3, 1, 40)))
    for other in ((4, 1), (3, 6)):
        assert np.abs(first.astype(float) - np.asarray(walk_image(*other, 40))).mean() > 3


def test_the_walks_are_of_the_images_terrain_and_none_that_is_kept_for_tests(monkeypatch) -> None:
    drawn = []

    def watch(seed: int, terrain: str):
        drawn.append((seed, terrain))
        return draw_walk(seed, terrain)

    monkeypatch.setattr("ganglion.simulation.exo_walk.draw_walk", watch)
    for index in range(3):
        walk_image(0, index, 28)
    assert [terrain for _, terrain in drawn] == [terrain_of(index) for index in range(3)]
    assert min(seed for seed, _ in drawn) >= walks.FIRST_SEED and len({seed for seed, _ in drawn}) == 3


@pytest.mark.parametrize(("option", "value"), [("--view", "photographed"), ("--size", "500")])
def test_what_can_not_be_rendered_is_refused(tmp_path: Path, option: str, value: str, capsys) -> None:
    assert synth(tmp_path / "d", option, value) == 2
    assert f"{option} is" in capsys.readouterr().err
