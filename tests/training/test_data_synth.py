"""Synthetic terrain data: deterministic, balanced, valid, and never over what is already there."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import EXO_ASSIST
from ganglion.core.tasks.exo_assist import FEEDBACK, TERRAINS, feedback_kind
from ganglion.training.data.exo.camera import Camera
from ganglion.training.data.exo.rows import exo_image, exo_row, terrain_of
from ganglion.training.data.exo.terrain import render_terrain


def synth(out: Path, *options: str) -> int:
    return main(["data", "synth", "exo_assist", "--out", str(out), "--workers", "1", *options])


@pytest.mark.parametrize("terrain", TERRAINS)
def test_same_seed_and_index_give_the_same_pixels_and_others_do_not(terrain: str) -> None:
    first = np.asarray(render_terrain(terrain, 3, 7))
    assert first.shape == (112, 112, 3)
    assert np.array_equal(first, np.asarray(render_terrain(terrain, 3, 7)))
    assert not np.array_equal(first, np.asarray(render_terrain(terrain, 3, 8)))
    assert not np.array_equal(first, np.asarray(render_terrain(terrain, 4, 7)))


def test_size_is_what_was_asked_for() -> None:
    assert render_terrain("flat", 0, 0, size=70).size == (70, 70)


def test_camera_projects_like_a_pinhole() -> None:
    # Level camera 1.5 m up, 90 degrees across 100 pixels: focal length 50. A point 5 m ahead on the ground, 1 m right.
    level = Camera(100, 1.5, pitch=0, roll=0, yaw=0, fov=math.pi / 2, offset_meters=0)
    assert np.allclose(level.project(np.array([[1.0, 5.0, 0.0]])), [[50 + 50 * 1 / 5, 50 + 50 * 1.5 / 5]])
    # Pitched down, a point straight along the optical axis falls in the middle, and the horizon above it.
    pitched = Camera(100, 1.5, pitch=0.3, roll=0, yaw=0, fov=math.pi / 2, offset_meters=0)
    assert np.allclose(pitched.project(np.array([[0.0, 1.5 / math.tan(0.3), 0.0]])), [[50, 50]])
    horizon = pitched.project(np.array([[0.0, 1e9, 0.0]]))[0, 1]
    assert horizon == pytest.approx(50 - 50 * math.tan(0.3), abs=1e-3)
    signs = np.sign(pitched.elevation()[:, 0])
    assert np.flatnonzero(np.diff(signs)).tolist() == [pytest.approx(horizon - 0.5, abs=1)]


def test_terrain_can_be_told_from_where_the_edges_are() -> None:
    """A linear readout of edge strengths, blind to color and brightness: the class is in the geometry."""

    def edges(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = []
        for index in range(count):
            gray = np.asarray(exo_image(seed, index, 56).convert("L"), dtype=float)
            steps = np.abs(np.diff(gray, axis=0))[:54, :54], np.abs(np.diff(gray, axis=1))[:54, :54]
            row = np.concatenate([step.reshape(18, 3, 18, 3).mean((1, 3)).ravel() for step in steps])
            rows.append(np.append(row / np.linalg.norm(row), 1))
        return np.array(rows), np.array([list(TERRAINS).index(terrain_of(index)) for index in range(count)])

    seen, labels = edges(1, 400)
    ridge = seen.T @ seen + 0.03 * np.eye(seen.shape[1])
    readout = np.linalg.solve(ridge, seen.T @ np.eye(len(TERRAINS))[labels])
    fresh, expected = edges(2, 100)
    assert np.mean((fresh @ readout).argmax(1) == expected) > 0.85


def test_rows_are_valid_and_balanced_with_limit_cases(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "60", "--seed", "2") == 0
    examples = read_datafile(tmp_path / "d/data.json", EXO_ASSIST)
    pairs = Counter((e.row["expected_output"]["task"], feedback_kind(e.row["user_feedback"])) for e in examples)
    assert pairs == {(terrain, kind): 2 for terrain in TERRAINS for kind in FEEDBACK}
    assert all(Image.open(e.images[0]).size == (112, 112) for e in examples)


def test_as_many_asked_changes_meet_a_limit_as_was_asked_for_and_round_numbers_often_do_not() -> None:
    rows = [exo_row(5, index, limit_share=0.3) for index in range(1200)]
    reasons = [row["expected_output"]["reasoning"] for row in rows]
    asked = [reason for reason in reasons if "no change" not in reason]
    assert 0.25 < sum("limit reached" in reason for reason in asked) / len(asked) < 0.35
    met = Counter((row["previous_assistance"], "limit" in reason) for row, reason in zip(rows, reasons, strict=True))
    assert min(met[0, False], met[20, False], met[10, False]) > 40
    assert met[10, True] == 0


def test_the_assistance_so_far_is_drawn_evenly_where_nothing_is_said() -> None:
    drawn = Counter(exo_row(5, index)["previous_assistance"] for index in range(4200))
    assert set(drawn) == set(range(21)) and min(drawn.values()) > 140 and max(drawn.values()) < 260


def test_rows_may_share_an_image_and_then_differ_in_feedback(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "61", "--rows_per_image", "2") == 0
    assert len(list((tmp_path / "d/images").iterdir())) == 31
    examples = read_datafile(tmp_path / "d/data.json", EXO_ASSIST)
    for one, two in zip(examples[::2], examples[1::2], strict=False):
        assert one.images == two.images
        assert one.row["expected_output"]["task"] == two.row["expected_output"]["task"]
        assert feedback_kind(one.row["user_feedback"]) != feedback_kind(two.row["user_feedback"])
    pairs = Counter((e.row["expected_output"]["task"], feedback_kind(e.row["user_feedback"])) for e in examples[:60])
    assert pairs == {(terrain, kind): 2 for terrain in TERRAINS for kind in FEEDBACK}


def test_terrain_does_not_follow_from_the_words() -> None:
    said = {terrain: Counter() for terrain in TERRAINS}
    for index in range(3000):
        row = exo_row(9, index)
        said[terrain_of(index)][feedback_kind(row["user_feedback"])] += 1
    assert len({tuple(sorted(counter.items())) for counter in said.values()}) == 1


def test_result_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    assert synth(tmp_path / "one", "--count", "6") == 0
    assert synth(tmp_path / "two", "--count", "6", "--workers", "2") == 0
    for path in sorted((tmp_path / "one").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_filled_folder_is_refused_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(tmp_path / "d", "--count", "5", "--seed", "1") == 0
    before = (tmp_path / "d/data.json").read_bytes()
    assert synth(tmp_path / "d", "--count", "5", "--seed", "2") == 2
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "d/data.json").read_bytes() == before
    assert synth(tmp_path / "d", "--count", "4", "--seed", "2", "--force") == 0
    assert len(json.loads((tmp_path / "d/data.json").read_text())) == 4


def test_force_never_deletes_what_is_no_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert synth(tmp_path, "--count", "5", "--force") == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["exo_assist"], "--out"),
        (["chess", "--out", "x"], "chess"),
        (["exo_assist", "--out", "x", "--count", "0"], "--count is 0"),
        (["exo_assist", "--out", "x", "--seed", "-1"], "--seed is -1"),
        (["exo_assist", "--out", "x", "--limit_share", "1.5"], "--limit_share is 1.5"),
    ],
)
def test_bad_options_are_named_in_one_line(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synth", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]
