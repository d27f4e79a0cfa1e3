"""Synthetic dialogues: valid, varied, in range by the rules, and nothing changed where none are asked for."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import EXO_ASSIST
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS, FEEDBACK, TERRAINS, expected_answer, feedback_kind
from ganglion.training.data.exo.dialogues import exo_dialogue, later_images
from ganglion.training.data.exo.rows import exo_image, exo_row, terrain_of

# Sha256 of data.json of a set of 12 rows, from before there were dialogues.
ROWS_WITHOUT = "efb9c492af79afe0accf3cbebeff87460a42da32a505551f0887433552f221da"


def synth(out: Path, *options: str) -> int:
    return main(["data", "synth", "exo_assist", "--out", str(out), "--workers", "1", "--size", "56", *options])


def rows(count: int, turns_max: int = 4) -> list[dict[str, Any]]:
    return [exo_dialogue(3, index, turns_max, str) for index in range(count)]


def test_without_dialogues_every_byte_is_what_it_was(tmp_path: Path) -> None:
    options = ["--count", "12", "--seed", "4", "--limit_share", "0.3", "--rows_per_image", "2"]
    assert synth(tmp_path / "d", *options) == 0
    assert hashlib.sha256((tmp_path / "d/data.json").read_bytes()).hexdigest() == ROWS_WITHOUT
    assert synth(tmp_path / "one", *options, "--turns_max", "1") == 0
    for path in (tmp_path / "d").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "one" / path.relative_to(tmp_path / "d")).read_bytes()


def test_dialogues_are_valid_rows_with_their_images(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "12", "--seed", "3", "--turns_max", "4") == 0
    examples = read_datafile(tmp_path / "d/data.json", EXO_ASSIST)
    assert len(examples) == 12 and len({len(e.turns) for e in examples}) > 2
    shown = [path for e in examples for turn in e.turns for path in turn.images]
    assert len(shown) > 12 and len(shown) == len(list((tmp_path / "d/images").iterdir()))
    assert json.loads((tmp_path / "d/synth.json").read_text())["turns_max"] == 4
    later = next(number for number in later_images(3, 12, 4))
    written = np.asarray(Image.open(tmp_path / f"d/images/{later:06d}.jpg")).astype(float)
    assert np.abs(written - np.asarray(exo_image(3, later, 56))).mean() < 8  # JPEG's loss


def test_any_number_of_turns_is_as_likely_and_a_single_one_is_the_plain_row() -> None:
    made = rows(800)
    lengths = Counter(len(row["turns"]) if "turns" in row else 1 for row in made)
    assert set(lengths) == {1, 2, 3, 4} and min(lengths.values()) > 150
    assert all(row == exo_row(3, index) for index, row in enumerate(made) if "turns" not in row)


def test_the_assistance_runs_on_by_the_rules_and_stays_in_range() -> None:
    low, high = ASSISTANCE_LIMITS
    at_limit = 0
    for index, row in enumerate(rows(300, 8)):
        if "turns" in row:
            level, terrain = row["previous_assistance"], terrain_of(index)
            assert row["turns"][0] == {k: v for k, v in exo_row(3, index).items() if k != "previous_assistance"}
            for turn in row["turns"]:
                terrain = terrain_of(int(turn["image_path"])) if "image_path" in turn else terrain
                kind = feedback_kind(turn["user_feedback"])
                assert kind is not None and turn["expected_output"] == expected_answer(terrain, kind, level)
                level += turn["expected_output"]["assistance_delta"]
                at_limit += "limit reached" in turn["expected_output"]["reasoning"]
                assert low <= level <= high
    assert at_limit > 20


def test_later_turns_have_every_feedback_and_sometimes_any_new_terrain() -> None:
    turns = [(index, turn) for index, row in enumerate(rows(800)) for turn in row.get("turns", [])[1:]]
    kinds = Counter(feedback_kind(turn["user_feedback"]) for _, turn in turns)
    assert set(kinds) == set(FEEDBACK) and min(kinds.values()) > len(turns) / 9
    new = [(index, int(turn["image_path"])) for index, turn in turns if "image_path" in turn]
    assert 0.28 < len(new) / len(turns) < 0.39
    pairs = Counter((terrain_of(index), terrain_of(image)) for index, image in new)
    assert len(pairs) == len(TERRAINS) ** 2  # the new terrain does not follow from the first
    images = [image for _, image in new]
    assert images == later_images(3, 800, 4) and len(set(images)) == len(images)


def test_a_row_does_not_depend_on_how_many_there_are() -> None:
    assert rows(40)[:10] == rows(10)


def test_no_turn_at_all_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(tmp_path / "d", "--turns_max", "0") == 2
    assert "--turns_max is 0; give 1 or more" in capsys.readouterr().err
