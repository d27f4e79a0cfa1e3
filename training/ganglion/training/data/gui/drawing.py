"""Drawing synthetic screens: desktop, window and widgets, each widget within its box."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from ganglion.training.data.gui.badges import draw_badge
from ganglion.training.data.gui.ink import bevel, inside, mixed, write
from ganglion.training.data.gui.layout import Placed, Screen, badge_room, is_bold, text_size
from ganglion.training.data.gui.looks import BLACK, WHITE, Color, Font, Look
from ganglion.training.data.gui.scenery import backdrop, draw_desktop, draw_window

_FIELD_PAD = 4  # units before the badge of a field


def draw_screen(screen: Screen) -> Image.Image:
    """The screenshot, RGB in the size of the look."""
    rng = random.Random(screen.look.scenery)
    image = backdrop(screen.look, rng)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L"
    draw_desktop(draw, screen, rng)
    draw_window(draw, screen, rng)
    for placed in screen.placed:
        _WIDGETS[placed.widget.kind](draw, placed, screen.look)
    return image


def _text(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    font = look.reading(bold=is_bold(placed.widget, look))
    _label(draw, placed, look, font, look.theme.ink)


def _button(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    theme, widget = look.theme, placed.widget
    filled = theme.button is None or (widget.marked and theme.relief in ("flat", "round"))
    face, ink = (look.accent, WHITE) if filled or theme.button is None else (theme.button, theme.ink)
    x0, y0, x1, y1 = placed.box
    whole = inside(placed.box)
    if theme.relief == "bevel":
        bevel(draw, placed.box, face, look, raised=True)
    elif theme.relief == "gradient":
        draw.rounded_rectangle(whole, look.px(3), fill=face, outline=theme.border)
        rim = look.px(2)
        draw.rectangle((x0 + rim, y0 + rim, x1 - 1 - rim, (y0 + y1) // 2), fill=mixed(face, WHITE, 0.5))
    elif theme.relief == "round":
        draw.rounded_rectangle(whole, min(look.px(9), (y1 - y0) // 2 - 1), fill=face, outline=theme.border)
    elif theme.relief == "outline":
        draw.rectangle(whole, fill=face, outline=theme.border, width=look.px(2 if widget.marked else 1))
    else:
        draw.rectangle(whole, fill=face)
    _label(draw, placed, look, look.reading(bold=is_bold(widget, look)), ink, look.align, pad=look.px(4))


def _field(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    theme = look.theme
    x0, y0, x1, y1 = placed.box
    if theme.sunken == "bevel":
        bevel(draw, placed.box, theme.field, look, raised=False)
    elif theme.sunken == "line":
        draw.rectangle(inside(placed.box), fill=theme.field)
        draw.rectangle((x0, y1 - look.px(1.5), x1 - 1, y1 - 1), fill=theme.ink)
    else:
        draw.rectangle(inside(placed.box), fill=theme.field, outline=theme.border)
    left = x0 + look.px(_FIELD_PAD)
    draw_badge(draw, left, _middle(placed, look), placed.widget.badge, look)
    left += badge_room(look)
    note = (left + look.px(5), y0, x1, y1)
    write(draw, note, placed.widget.note, look.small(), mixed(theme.ink, theme.field, 0.5), align=0.0)
    if placed.widget.marked:
        color = look.accent if sum(theme.field) > 384 else (120, 200, 255)
        draw.rectangle(inside(placed.box), outline=color, width=look.px(2.5))
        draw.line((left + look.px(1), y0 + look.px(6), left + look.px(1), y1 - look.px(7)), fill=theme.ink)


def _tab(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    theme, front = look.theme, placed.widget.marked
    back = mixed(theme.face, theme.border, 0.35)
    draw.rectangle(inside(placed.box), fill=theme.face if front else back, outline=theme.border)
    x0, y0, x1, _ = placed.box
    if front:
        draw.rectangle((x0, y0, x1 - 1, y0 + look.px(2)), fill=look.accent if theme.face != BLACK else WHITE)
    _label(draw, placed, look, look.reading(), theme.ink, align=0.5)


def _label(
    draw: ImageDraw.ImageDraw, placed: Placed, look: Look, font: Font, ink: Color, align: float = 0.0, pad: int = 0
) -> None:
    """Badge and label as one; align: 0 left, 0.5 in the middle of the box."""
    x0, y0, x1, y1 = placed.box
    widget, width = placed.widget, text_size(placed.widget, look)[0]
    left = x0 + pad + int(max(0, x1 - x0 - 2 * pad - width) * align)
    if widget.badge:
        draw_badge(draw, left, _middle(placed, look), widget.badge, look)
        left += badge_room(look)
    write(draw, (left, y0, x1, y1), widget.label, font, ink, align=0.0)


def _middle(placed: Placed, look: Look) -> int:
    """Where the badge begins that stands in the middle of the height."""
    _, y0, _, y1 = placed.box
    return y0 + (y1 - y0 - look.badge) // 2


_WIDGETS = {"text": _text, "value": _text, "button": _button, "field": _field, "tab": _tab}
