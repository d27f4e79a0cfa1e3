"""Sheets, what is asked about them, and the short training on them."""

import copy
import json
import re

import pytest
import torch

from ganglion.core.chess_fen import PIECES
from ganglion.core.tasks.gui_schema import ACTIONS
from ganglion.model.offline import offline_base
from ganglion.model.offline.build import sheet_corpus
from ganglion.model.offline.codes import SCALE, Codes
from ganglion.model.offline.families import FINE
from ganglion.model.offline.sheet_lessons import is_square, plain_reading, sheet_lesson
from ganglion.model.offline.sheet_pretext import SheetPretext, train_sheet_pretext
from ganglion.model.offline.sheets import LABELS, SIGNS, Grid, sheet
from ganglion.model.processor import load_processor
from ganglion.model.vlm import load_vlm
from ganglion.training.data.gui.words import BUTTONS, CODES, FIELDS

SHORT = SheetPretext(sheets=16, batch=4, see_steps=3, read_steps=3, join_steps=2)


def test_a_sheet_is_the_same_for_its_seed_and_another_for_another():
    assert sheet(3, 5).image.tobytes() == sheet(3, 5).image.tobytes()
    assert sheet(3, 5).image.tobytes() != sheet(4, 5).image.tobytes()


def test_no_word_of_a_screen_is_on_a_sheet():
    assert not {word.lower() for word in (*BUTTONS, *CODES, *FIELDS)} & set(LABELS)
    assert len(set(LABELS)) == len(LABELS)


def test_no_key_and_no_action_of_a_task_is_in_the_corpus_of_exercises():
    exercises = "\n".join(text for k in range(200) for text in vars(sheet_lesson(sheet(1, k), k)).values())
    words = set(re.findall(r"[a-z_]+", exercises.lower()))
    assert not words & {"metadata", "view", "coordinates", "pieces", "target", "remember", "point", "goal", *ACTIONS}
    assert "chess" not in "\n".join(sheet_corpus()).lower()


def test_letters_are_not_those_of_pieces_alone():
    assert len({sign.upper() for sign in SIGNS if len(sign) == 1}) > 2 * len(set(PIECES.upper()))


def test_spots_of_a_square_grid_show_its_cells():
    for k in range(0, 120, 2):
        drawn = sheet(9, k)
        if is_square(drawn):
            seen = drawn.signs(8, 8)
            said = [["" if sign == 0 else SIGNS[sign - 1] for sign in row] for row in seen]
            middle = [row[2:6] for row in said[2:6]]  # cells near the border may lie under no spot of their own
            cells = {sign for row in drawn.shown.cells for sign in row}
            assert {sign for row in middle for sign in row} <= cells | {""}


def test_lettering_changes_the_picture_where_the_spot_says_so():
    """A grid drawn with and without letters differs within the cells that have one."""
    for k in (0, 2, 4):
        drawn = sheet(5, k).shown
        assert isinstance(drawn, Grid)
        for row, signs in enumerate(drawn.cells):
            for column, sign in enumerate(signs):
                x, y = drawn.x + (column + 0.5) * drawn.cell_width, drawn.y + (row + 0.5) * drawn.cell_height
                assert drawn.sign_at(x, y) == sign
        assert drawn.sign_at(drawn.x - 1, drawn.y) == drawn.sign_at(drawn.x, drawn.y - 1) == ""


def test_grids_are_read_rightly_from_every_side():
    ways = set()
    for k in range(0, 300, 2):
        drawn, taught = sheet(2, k), sheet_lesson(sheet(2, k), k)
        down, from_top, from_left = (word in taught.prompt for word in ("grid down", "the top", "the left"))
        ways.add((down, from_top, from_left))
        rows = json.loads(taught.answer)["grid"]
        cells = drawn.shown.cells
        order = list(range(len(cells))) if down else list(range(len(cells)))[::-1]
        for (number, said), row in zip(rows.items(), order, strict=True):
            assert int(number) == (row + 1 if from_top else len(cells) - row)
            signs = [sign or "." for sign in cells[row]]
            assert said.split(" ") == (signs if from_left else signs[::-1])
    assert len(ways) == 8


def test_a_plain_reading_starts_at_the_upper_left():
    drawn = sheet(2, 0)
    first = next(iter(json.loads(plain_reading(drawn).answer)["grid"].items()))
    assert first == ("1", " ".join(sign or "." for sign in drawn.shown.cells[0]))


def test_labels_are_found_where_they_are():
    kinds = set()
    for k in range(1, 300, 2):
        drawn, taught = sheet(2, k), sheet_lesson(sheet(2, k), k)
        answer = json.loads(taught.answer)
        box = next(label.box for label in drawn.shown.labels if label.word == answer["word"])
        kinds.add(taught.prompt.split()[0])
        at = answer.get("at") or json.loads(re.search(r"\[\d+, \d+\]", taught.prompt)[0])
        x, y = (part * side / 1000 for part, side in zip(at, drawn.image.size, strict=True))
        assert box[0] <= x < box[2] and box[1] <= y < box[3]
        if noted := re.findall(r"(\d+)\. (\w+)", taught.prompt):
            number = re.search(r"Find number (\d+)", taught.prompt)[1]
            assert dict(noted)[number] == answer["word"]
            assert [word for _, word in noted if word in {label.word for label in drawn.shown.labels}] == [
                answer["word"]
            ]
    assert kinds == {"Where", "What", "Noted:"}


def test_codes_tell_signs_and_places_apart():
    codes = Codes(10, 128, 0)
    same = codes.of(torch.zeros(8, 8, dtype=torch.long))
    apart = torch.cdist(same, same) + torch.eye(64) * 1e9
    assert apart.min() > 4 * SCALE, "neighboring places"
    assert torch.cdist(codes.signs, codes.signs).add(torch.eye(10) * 1e9).min() > 10 * SCALE
    assert codes.places(8, 8).std() == pytest.approx(2**0.5 * SCALE, rel=0.15)
    whole, half = codes.places(4, 4), codes.places(12, 4)
    assert torch.allclose(whole[1, 2], half[4, 2], atol=1e-5), "the same place of a finer grid"


def test_a_short_training_is_repeatable_and_leaves_the_random_state_alone():
    path = offline_base(FINE, pretext=False)
    processor, model = load_processor(path), load_vlm(path)
    models = [copy.deepcopy(model) for _ in range(2)]
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    for one in models:
        train_sheet_pretext(one, processor, SHORT)
    assert torch.equal(torch.rand(4), expected)
    first, second = (one.state_dict() for one in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], value) for name, value in model.state_dict().items())
    assert not models[0].training
