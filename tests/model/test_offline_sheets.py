"""Sheets, what is asked about them, and the short training on them."""

import copy
import json
import random
import re

import pytest
import torch

from ganglion.core.chess_fen import PIECES
from ganglion.core.tasks.gui_schema import ACTIONS
from ganglion.model.offline import offline_base
from ganglion.model.offline.build import sheet_corpus
from ganglion.model.offline.codes import SCALE, Codes
from ganglion.model.offline.families import FINE
from ganglion.model.offline.icons import COLORS, GLYPHS, ICONS, SHADES
from ganglion.model.offline.sheet_answers import Questions
from ganglion.model.offline.sheet_lessons import sheet_lesson
from ganglion.model.offline.sheet_pretext import Joining, SheetPretext, train_sheet_pretext
from ganglion.model.offline.sheet_reading import Reading, spread_grid, spread_page
from ganglion.model.offline.sheet_seeing import Seeing
from ganglion.model.offline.sheets import LABELS, sheet
from ganglion.model.offline.signs import LETTERS, NOTHING, Badge, Grid, Page, Shown, Spots, spots
from ganglion.model.offline.steps import Updates, matrices
from ganglion.model.processor import load_processor
from ganglion.model.vlm import load_vlm
from ganglion.training.data.gui.words import BUTTONS, CODES, FIELDS

SHORT = SheetPretext(
    sheets=32,
    seeing=Seeing(steps=3, batch=4),
    reading=Reading(page_steps=3, spread_steps=3, batch=4),
    joining=Joining(steps=2, batch=4),
)


def test_a_sheet_is_the_same_for_its_seed_and_another_for_another():
    assert sheet(3, 5).image.tobytes() == sheet(3, 5).image.tobytes()
    assert sheet(3, 5).image.tobytes() != sheet(4, 5).image.tobytes()


def test_no_word_of_a_screen_is_written_on_a_sheet():
    assert not {word.lower() for word in (*BUTTONS, *CODES, *FIELDS)} & {*LABELS}
    assert len(set(LABELS)) == len(LABELS)


def test_the_name_of_an_icon_is_one_token():
    tokenizer = load_processor(offline_base(FINE, pretext=False)).tokenizer
    for name in ICONS:
        assert len(tokenizer.tokenize(name)) == len(tokenizer.tokenize(f" {name}")) == 1, name
        assert tokenizer.tokenize(f'"{name}"') == ['"', name, '"']


def test_no_key_and_no_action_of_a_task_is_in_the_corpus_of_exercises():
    exercises = "\n".join(text for k in range(200) for text in vars(sheet_lesson(sheet(1, k).shown, k)).values())
    words = set(re.findall(r"[a-z_]+", exercises.lower()))
    assert not words & {"metadata", "view", "coordinates", "pieces", "target", "remember", "point", "goal", *ACTIONS}
    assert "chess" not in "\n".join(sheet_corpus()).lower()


def test_letters_are_not_those_of_pieces_alone():
    assert len(LETTERS) > 2 * len(set(PIECES.upper()))


def test_spots_of_a_square_grid_show_its_cells():
    for k in range(0, 120, 2):
        drawn = sheet(9, k).shown
        if len(drawn.cells) == len(drawn.cells[0]) == 8:
            # Cells near the border may lie under no spot of their own.
            seen = {tuple(sign) for sign in spots(drawn, 8, 8).signs[2:6, 2:6].reshape(-1, 4).tolist()}
            cells = {
                (LETTERS.index(c.upper()) + 1, 0, 1 if c.isupper() else 2, 0) for c in "".join(sum(drawn.cells, ()))
            }
            assert seen <= cells | {NOTHING}


def test_lettering_changes_the_picture_where_the_spot_says_so():
    """A grid drawn with and without letters differs within the cells that have one."""
    for k in (0, 2, 4):
        drawn = sheet(5, k).shown
        assert isinstance(drawn, Grid)
        for row, letters in enumerate(drawn.cells):
            for column, sign in enumerate(letters):
                x, y = drawn.x + (column + 0.5) * drawn.cell_width, drawn.y + (row + 0.5) * drawn.cell_height
                (letter, _, shade, _), middle = drawn.sign_at(x + 1, y - 1)
                assert middle == ((x, y) if letter else (x + 1, y - 1))
                said = LETTERS[letter - 1] if letter else ""
                assert (said if shade == 1 else said.lower()) == sign
        assert drawn.sign_at(drawn.x - 1, drawn.y)[0] == drawn.sign_at(drawn.x, drawn.y - 1)[0] == NOTHING


def test_grids_are_read_rightly_from_every_side():
    ways = set()
    for k in range(0, 300, 2):
        drawn, taught = sheet(2, k).shown, sheet_lesson(sheet(2, k).shown, k)
        down, from_top, from_left = (word in taught.prompt for word in ("grid down", "the top", "the left"))
        ways.add((down, from_top, from_left))
        rows = json.loads(taught.answer)["grid"]
        cells = drawn.cells
        order = list(range(len(cells))) if down else list(range(len(cells)))[::-1]
        for (number, said), row in zip(rows.items(), order, strict=True):
            assert int(number) == (row + 1 if from_top else len(cells) - row)
            signs = [sign or "." for sign in cells[row]]
            assert said.split(" ") == (signs if from_left else signs[::-1])
    assert len(ways) == 8


def test_badges_are_found_where_they_are():
    kinds = set()
    for k in range(1, 300, 2):
        page = sheet(2, k).shown
        taught = sheet_lesson(page, k)
        kinds.add(taught.prompt.split()[0])
        boxes = {badge.name: badge.box for badge in page.badges}
        for said in json.loads(taught.answer):
            x0, y0, x1, y1 = boxes[said["sign"]]
            x, y = (part * side / 1000 for part, side in zip(said["at"], page.size, strict=True))
            assert x0 <= x < x1 and y0 <= y < y1
            if "Where" in taught.prompt:
                assert said["sign"] in taught.prompt
        if side := re.search(r"What is at the (\w+)\?", taught.prompt):
            edge, outermost = {"left": (0, min), "top": (1, min), "right": (2, max), "bottom": (3, max)}[side[1]]
            reached = outermost(box[edge % 2] + box[edge % 2 + 2] for box in boxes.values())
            box = boxes[said["sign"]]
            assert box[edge % 2] + box[edge % 2 + 2] == reached
        if noted := re.findall(r"(\d+)\. (\w+)", taught.prompt):
            number = re.search(r"Find number (\d+)", taught.prompt)[1]
            assert dict(noted)[number] == said["sign"]
            assert [name for _, name in noted if name in boxes] == [said["sign"]]
    assert kinds == {"Where", "What", "Noted:"}


def test_a_badge_is_drawn_in_its_color_where_it_is():
    for k in range(1, 60, 2):
        drawn = sheet(4, k)
        for badge in drawn.shown.badges:
            x0, y0, x1, y1 = badge.box
            tile = drawn.image.getpixel((int(x0 + 0.2 * (x1 - x0)), int(y0 + 0.2 * (y1 - y0))))
            middle = drawn.image.getpixel((int((x0 + x1) / 2), int((y0 + y1) / 2)))
            icon = ICONS[badge.name]
            assert (sum(middle) > sum(tile)) == (icon.shade == "pale") or icon.color == "yellow"


def of_spots(shown: Shown) -> Spots:
    return spots(shown, shown.size[1] // 32, shown.size[0] // 32)


def test_pages_that_are_not_drawn_have_each_icon_in_a_spot_of_its_own():
    draw = random.Random(1)
    pages = [spread_page(draw) for _ in range(80)]
    for page in pages:
        seen = sorted(tuple(sign) for sign in of_spots(page).signs.reshape(-1, 4).tolist() if any(sign))
        assert seen == sorted(badge.sign for badge in page.badges)
    assert {len(page.badges) for page in pages} == set(range(1, 13))


def test_grids_that_are_not_drawn_have_a_spot_to_a_cell_and_grow():
    draw = random.Random(1)
    for reached, longest in ((0, 1), (0.5, 4), (1, 8)):
        grids = [spread_grid(draw, reached) for _ in range(80)]
        for grid in grids:
            letters = of_spots(grid).signs[..., 0]
            assert [[bool(letter) for letter in row] for row in letters] == [
                [bool(cell) for cell in row] for row in grid.cells
            ]
        assert max(len(grid.cells) for grid in grids) == longest


def test_what_is_named_or_to_be_named_next_is_told_by_its_code():
    processor, codes = load_processor(offline_base(FINE, pretext=False)), Codes(128, 0)
    questions, draw, where = Questions(processor, codes), random.Random(3), set()
    for seed in range(60):
        page = spread_page(draw)
        asked = questions.about(page, seed, torch.zeros(4, 8), torch.tensor([1, 4, 4]))
        (prompt, answer), badges = asked.row, {badge.name: badge for badge in page.badges}
        words = [processor.tokenizer.decode([token]).strip() for token in prompt + answer]
        named = [(at, name) for at, name in enumerate(words) if name in badges]
        named += [(at - 1, name) for at, name in named if at >= len(prompt)]
        assert asked.at.tolist() == [at for at, _ in named]
        for code, (_, name) in zip(asked.known, named, strict=True):
            x, y = badges[name].middle
            at = torch.tensor([[y / page.size[1], x / page.size[0]]])
            assert torch.allclose(code, codes.at(torch.tensor([badges[name].sign]), at)[0], atol=1e-5)
        where |= {at < len(prompt) for at, _ in named}
    assert where == {True, False}, "in questions and in answers"
    assert not len(questions.in_text("3").at)


def blank(rows: int, columns: int) -> Spots:
    return spots(Page((), (columns, rows)), rows, columns)


def test_codes_tell_signs_and_places_apart():
    codes = Codes(128, 0)
    same = codes.of(blank(8, 8))
    apart = torch.cdist(same, same) + torch.eye(64) * 1e9
    assert apart.min() > 4 * SCALE, "neighboring places"
    badges = [Badge(name, (0, 0, 1, 1)).sign for name in ICONS]
    assert len(set(badges)) == len(COLORS) * len(SHADES) * len(GLYPHS)
    letters = [(letter, 0, shade, 0) for letter in range(1, 17) for shade in (1, 2)]
    every = torch.tensor([NOTHING, *badges, *letters])
    known = codes.of(Spots(every[:, None], torch.full((len(every), 1, 2), 0.5)))
    assert torch.cdist(known, known).add(torch.eye(len(every)) * 1e9).min() > 10 * SCALE
    assert codes.places(torch.rand(2000, 2)).var() == pytest.approx(codes.place_variance, rel=0.1)


def test_all_spots_of_a_badge_say_where_its_middle_is():
    page = Page((Badge("Pump", (60, 100, 84, 124)),), (256, 128))
    seen = spots(page, 4, 8)
    on_it = (seen.signs > 0).any(-1)
    assert on_it.nonzero().tolist() == [[3, 2]] or on_it.sum() > 1
    assert torch.allclose(seen.places[on_it], torch.tensor([112 / 128, 72 / 256]))
    assert torch.allclose(seen.places[0, 5], torch.tensor([0.5 / 4, 5.5 / 8])), "where nothing is, its own middle"


def test_matrices_are_linear_layers_without_tables():
    words, layer = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 4)
    head = torch.nn.Linear(4, 10, bias=False)
    head.weight = words.weight
    assert [id(matrix) for matrix in matrices(torch.nn.Sequential(words, layer, head))] == [id(layer.weight)]


def test_an_update_of_a_matrix_is_near_orthogonal_and_the_rest_is_updated_too():
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    updates = Updates(layer.parameters(), 1e-3, 100, [layer.weight], 0.02)
    layer(torch.randn(8, 64)).square().mean().backward()
    updates.step()
    change = torch.linalg.svdvals(layer.weight.detach() - before[0])[:8]  # a batch of 8 gives a gradient of rank 8
    assert change.max() < 2.5 * change.min()
    assert not torch.equal(layer.bias, before[1])


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
