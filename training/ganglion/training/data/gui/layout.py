"""Where things stand on a synthetic screen: the window on the desktop, and each widget in the window.

Positions, orders of stacking and gaps are drawn at random and say nothing about the right answer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ganglion.training.data.gui.looks import TALL, Look
from ganglion.training.data.gui.pages import Group, Page, Widget

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, half-open
_ATTEMPTS = 60
_MODEST = 20  # attempts after which nothing is drawn that is not needed


@dataclass(frozen=True)
class Placed:
    """A widget and the rectangle that it fills."""

    widget: Widget
    box: Box


@dataclass(frozen=True)
class Screen:
    """All that is drawn.

    window  with its frame; title, menu and status are strips of it
    bar     the strip along an edge of the desktop that holds a clock
    """

    look: Look
    title_text: str
    window: Box
    title: Box
    menu: Box | None
    status: Box | None
    bar: Box | None
    placed: tuple[Placed, ...]


@dataclass(frozen=True)
class _Block:
    """A group laid out for itself, at (0, 0)."""

    width: int
    height: int
    placed: tuple[Placed, ...]
    side: float  # where it stands in a wider window: 0 left, 1 right


def lay_out(page: Page, look: Look, rng: random.Random) -> Screen:
    """Draw a layout of the page that fits on a screen.

    Raises:
        AssertionError: there is none; the words of a page are too long.
    """
    for attempt in range(_ATTEMPTS):
        if screen := _attempt(page, look, rng, modest=attempt >= _MODEST):
            return screen
    raise AssertionError(f"page {page.title!r} does not fit on {look.size}")


def _attempt(page: Page, look: Look, rng: random.Random, modest: bool) -> Screen | None:
    px, (width, height) = look.px, look.size
    bar_height = 0 if modest or rng.random() < 0.6 else px(14)
    on_top = rng.random() < 0.3
    menu_height = 0 if modest or rng.random() < 0.6 else px(13)
    status_height = 0 if modest or rng.random() < 0.6 else px(12)
    title_height, margin = px(17 if modest else rng.uniform(17, 22)), px(4 if modest else rng.uniform(5, 10))
    gap = px(4 if modest else rng.uniform(4, 9))
    blocks = [_block(group, look, rng, modest) for group in page.groups]
    if page.tabs:
        blocks.insert(0, _tab_block(page.tabs, look, rng))
    inner = max(block.width for block in blocks), sum(block.height for block in blocks) + gap * (len(blocks) - 1)
    least = inner[0] + 2 * margin, inner[1] + 2 * margin + title_height + menu_height + status_height
    room = width - least[0], height - bar_height - least[1]
    if min(room) < 0:
        return None
    more = [round(spare * rng.random() ** 2) for spare in room]
    left = rng.randint(0, room[0] - more[0])
    top = rng.randint(0, room[1] - more[1]) + (bar_height if on_top else 0)
    right, bottom = left + least[0] + more[0], top + least[1] + more[1]
    content = (
        left + margin,
        top + title_height + menu_height + margin,
        right - margin,
        bottom - status_height - margin,
    )
    below_title = top + title_height
    bar_top = 0 if on_top else height - bar_height
    return Screen(
        look=look,
        title_text=page.title,
        window=(left, top, right, bottom),
        title=(left, top, right, below_title),
        menu=(left, below_title, right, below_title + menu_height) if menu_height else None,
        status=(left, bottom - status_height, right, bottom) if status_height else None,
        bar=(0, bar_top, width, bar_top + bar_height) if bar_height else None,
        placed=tuple(_stacked(blocks, content, gap, more[1], rng)),
    )


def _stacked(blocks: Sequence[_Block], content: Box, gap: int, spare: int, rng: random.Random) -> Iterator[Placed]:
    """The blocks from top to bottom; spare height goes above, between and below them."""
    x0, y, x1, _ = content
    shares = [rng.random() for _ in range(len(blocks) + 1)]
    for block, share in zip(blocks, shares, strict=False):
        y += int(spare * share / sum(shares))
        x = x0 + int((x1 - x0 - block.width) * block.side)
        yield from (Placed(one.widget, _moved(one.box, x, y)) for one in block.placed)
        y += block.height + gap


def _moved(box: Box, x: int, y: int) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _block(group: Group, look: Look, rng: random.Random, modest: bool) -> _Block:
    if group.kind == "text":
        return _text_block(group.widgets, look, rng)
    if group.kind == "fields":
        return _field_block(group.widgets, look, rng, modest)
    return _button_block(group.widgets, look, rng, modest, stretched=group.kind == "buttons")


def _text_block(widgets: Sequence[Widget], look: Look, rng: random.Random) -> _Block:
    """Lines below each other, or a line and its value side by side."""
    sizes = [text_size(widget, look) for widget in widgets]
    side, gap = rng.choice((0.0, 0.5)), look.px(rng.uniform(3, 6))
    width, height = max(w for w, _ in sizes), sum(h for _, h in sizes) + gap * (len(sizes) - 1)
    placed, y = [], 0
    for widget, (w, h) in zip(widgets, sizes, strict=True):
        x = int((width - w) * side)
        placed.append(Placed(widget, (x, y, x + w, y + h)))
        y += h + gap
    return _Block(width, height, tuple(placed), side)


def _button_block(widgets: Sequence[Widget], look: Look, rng: random.Random, modest: bool, stretched: bool) -> _Block:
    """Buttons of one size in columns; `stretched` makes some larger than their words need."""
    px, count = look.px, len(widgets)
    sizes = [text_size(widget, look) for widget in widgets]
    columns = rng.randint(1, 3 if count > 2 else count)
    pad = px(4) if modest else px(rng.uniform(5, 9))
    width = max(w for w, _ in sizes) + 2 * pad + (px(rng.choice((0, 0, 20))) if stretched and not modest else 0)
    height = max(h for _, h in sizes) + 2 * px(2 if modest else rng.uniform(2.5, 6))
    gap = px(4 if modest else rng.uniform(4, 10))
    placed = []
    for at, widget in enumerate(widgets):
        row, column = divmod(at, columns)
        x, y = column * (width + gap), row * (height + gap)
        placed.append(Placed(widget, (x, y, x + width, y + height)))
    rows, columns = math.ceil(count / columns), min(columns, count)
    whole = columns * (width + gap) - gap, rows * (height + gap) - gap
    return _Block(*whole, tuple(placed), rng.choice((0.0, 0.5, 1.0)))


def _field_block(widgets: Sequence[Widget], look: Look, rng: random.Random, modest: bool) -> _Block:
    """Fields below each other, what they are beside or above them."""
    px = look.px
    labels = [Widget("text", widget.label) for widget in widgets]
    sizes = [text_size(label, look) for label in labels]
    above = rng.random() < 0.35
    field_width = badge_room(look) + px(50 if modest else rng.uniform(50, 95))
    line = max(look.badge, *(h for _, h in sizes))
    height, gap = line + 2 * px(2.5 if modest else rng.uniform(2.5, 6)), px(4 if modest else rng.uniform(4, 10))
    aside = 0 if above else max(w for w, _ in sizes) + px(6)
    placed, y = [], 0
    for widget, label, (w, h) in zip(widgets, labels, sizes, strict=True):
        label_y = y if above else y + (height - h) // 2
        placed.append(Placed(label, (0, label_y, w, label_y + h)))
        y += h + px(2) if above else 0
        placed.append(Placed(widget, (aside, y, aside + field_width, y + height)))
        y += height + gap
    width = max(aside + field_width, *(w for w, _ in sizes))
    return _Block(width, y - gap, tuple(placed), rng.choice((0.0, 0.5)))


def _tab_block(widgets: Sequence[Widget], look: Look, rng: random.Random) -> _Block:
    px = look.px
    sizes = [text_size(widget, look) for widget in widgets]
    pad, height = px(rng.uniform(6, 12)), max(h for _, h in sizes) + px(8)
    placed, x = [], 0
    for widget, (w, _) in zip(widgets, sizes, strict=True):
        placed.append(Placed(widget, (x, 0, x + w + 2 * pad, height)))
        x += w + 2 * pad + px(2)
    return _Block(x - px(2), height, tuple(placed), 0.0)


def text_size(widget: Widget, look: Look) -> tuple[int, int]:
    """Width of badge and label, and height of the higher of both, in pixels."""
    font = look.reading(bold=is_bold(widget, look))
    _, top, _, bottom = font.getbbox(TALL)
    width, height = math.ceil(font.getlength(widget.label)) + 4, math.ceil(bottom - top) + 2
    return (width + badge_room(look), max(height, look.badge)) if widget.badge else (width, height)


def badge_room(look: Look) -> int:
    """Width in pixels of a badge and the gap after it."""
    return look.badge + look.px(2.5)


def is_bold(widget: Widget, look: Look) -> bool:
    """Whether the label is in bold letters."""
    return widget.kind == "value" or (widget.kind == "button" and look.bold_buttons)
