"""Badges of synthetic GUI screens: one for each word, before it wherever it stands, large enough and never mixed up."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from ganglion.model.offline.icons import COLORS, ICONS
from ganglion.training.data.gui.badges import draw_badge
from ganglion.training.data.gui.data_set import screens_of
from ganglion.training.data.gui.drawing import draw_screen
from ganglion.training.data.gui.episodes import draw_plan
from ganglion.training.data.gui.ink import draw_icon
from ganglion.training.data.gui.layout import Placed, Screen
from ganglion.training.data.gui.looks import SIZES, Look, draw_look
from ganglion.training.data.gui.words import ANSWERS, BUTTONS, CODES, COMMANDS, COUNTERS, DEVICES, FIELDS, TABS

LEAST = 20  # units


def screens(count: int) -> Iterator[Screen]:
    return (screen for index in range(count) for screen in screens_of(draw_plan(4, index, "train").episode(), 4, index))


def alone(word: str, look: Look) -> np.ndarray:
    image = Image.new("RGB", (look.badge, look.badge))
    draw_badge(ImageDraw.Draw(image), 0, 0, word, look)
    return np.asarray(image).astype(int)


def test_each_word_has_a_badge_of_its_own() -> None:
    assert set(ICONS) == {*CODES, *BUTTONS, *FIELDS}
    assert len(set(ICONS.values())) == len(ICONS) == 48


def test_words_that_stand_together_differ_in_color_or_in_whether_the_glyph_is_light() -> None:
    for group in (CODES, DEVICES, FIELDS, (*COUNTERS, *ANSWERS, *COMMANDS, *TABS)):
        assert len({(ICONS[word].color, ICONS[word].shade) for word in group}) == len(group)
    for group in (("One", "Two"), ANSWERS, COUNTERS, COMMANDS, DEVICES, FIELDS):
        assert len({ICONS[word].color for word in group}) == len(group)


def test_any_two_badges_differ_in_many_pixels_in_every_look() -> None:
    rng = random.Random(2)
    for _ in range(20):
        look = draw_look(rng)
        drawn = [alone(word, look) for word in ICONS]
        for one, other in itertools.combinations(drawn, 2):
            assert (np.abs(one - other).max(axis=2) > 40).mean() > 0.05


def test_a_badges_color_varies_and_stays_nearest_to_its_own() -> None:
    rng, base = random.Random(1), np.array(list(COLORS.values()))
    tints = np.array([draw_look(rng).tints for _ in range(200)])
    distances = np.abs(tints[:, :, None] - base).sum(axis=-1)
    assert (distances.argmin(axis=-1) == np.arange(len(base))).all()
    assert tints.std(axis=0).min() > 3 and tints.max() <= 255


def test_all_that_can_be_named_carries_its_badge() -> None:
    seen = set()
    for screen in screens(600):
        for widget in (placed.widget for placed in screen.placed):
            assert widget.kind == "text" or widget.badge, widget
            assert not widget.name or widget.badge == widget.name
            if widget.badge:
                assert widget.label.removesuffix(" ?") in (widget.badge, widget.badge.upper())
                seen.add((widget.kind, widget.badge))
    assert seen >= {("value", word) for word in CODES} | {(kind, name) for name in FIELDS for kind in ("field", "text")}
    assert seen >= {("button", word) for word in (*CODES, *DEVICES, *COUNTERS, *COMMANDS, *ANSWERS)}
    assert seen >= {("tab", word) for word in TABS}


def repainted(screen: Screen, placed: Placed, **changes: str) -> tuple[int, int, int, int]:
    """The box in which the screen changes when the widget does."""
    other = replace(placed, widget=replace(placed.widget, **changes))
    rest = tuple(other if one is placed else one for one in screen.placed)
    box = ImageChops.difference(draw_screen(screen), draw_screen(replace(screen, placed=rest))).getbbox()
    assert box is not None
    return box


def test_a_badge_stands_in_its_widget_before_the_word_and_is_at_least_twenty_units_high_and_wide() -> None:
    sizes, kinds = set(), set()
    for screen in screens(45):
        sizes.add(screen.look.size)
        for placed in screen.placed:
            widget = placed.widget
            if not widget.badge:
                continue
            kinds.add(widget.kind)
            other = next(word for word in CODES if ICONS[word].color != ICONS[widget.badge].color)
            x0, y0, x1, y1 = repainted(screen, placed, badge=other)
            rim = 2 * max(1, screen.look.px(0.8))  # the outline stays
            assert min(x1 - x0, y1 - y0) + rim >= LEAST * screen.look.unit
            assert placed.box[0] < x0 and x1 < placed.box[2] and placed.box[1] < y0 and y1 < placed.box[3]
            if widget.kind == "field":
                assert x1 <= repainted(screen, placed, note="")[0]
    assert sizes == set(SIZES) and kinds == {"button", "field", "tab", "value", "text"}


def test_the_word_begins_right_of_its_badge() -> None:
    for screen in screens(25):
        for placed in screen.placed:
            if placed.widget.badge and placed.widget.kind in ("value", "text"):  # begin at the left of their boxes
                left = repainted(screen, placed, label="")[0]
                assert 0 < left - (placed.box[0] + screen.look.badge) <= screen.look.px(9)


def test_the_scenerys_icons_are_gray() -> None:
    rng = random.Random(0)
    for _ in range(40):
        image = Image.new("RGB", (16, 16))
        draw_icon(ImageDraw.Draw(image), (0, 0, 16, 16), rng)
        assert np.ptp(np.asarray(image).astype(int), axis=2).max() <= 12
