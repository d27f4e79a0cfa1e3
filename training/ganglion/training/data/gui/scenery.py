"""What stands around the widgets of a synthetic screen: desktop, other windows, the window itself. All decoration."""

from __future__ import annotations

import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ganglion.training.data.gui.ink import draw_icon, inside, mixed, write
from ganglion.training.data.gui.layout import Box, Screen
from ganglion.training.data.gui.looks import BLACK, WHITE, Color, Look

_MENUS = ("File", "Edit", "View", "Tools")
_DOTS = ((235, 95, 85), (240, 190, 60), (95, 190, 90))
_STATES = ("Connected", "2 items", "Local", "Ln 1, Col 1")


def backdrop(look: Look, rng: random.Random) -> Image.Image:
    """The desktop: a color or a gradient."""
    near, far = look.backdrop
    if rng.random() < 0.4:
        return Image.new("RGB", look.size, near)
    mask = Image.linear_gradient("L").resize(look.size)
    if rng.random() < 0.3:
        mask = Image.radial_gradient("L").resize(look.size)
    return Image.composite(Image.new("RGB", look.size, far), Image.new("RGB", look.size, near), mask)


def draw_desktop(draw: ImageDraw.ImageDraw, screen: Screen, rng: random.Random) -> None:
    """Icons, another window behind, and the bar with a clock."""
    look = screen.look
    px, (width, height) = look.px, look.size
    if rng.random() < 0.4:
        x, y = rng.randint(-width // 4, width // 2), rng.randint(0, height // 2)
        w, h = rng.randint(width // 3, width), rng.randint(height // 3, height)
        draw.rectangle((x, y, x + w, y + h), fill=look.theme.face, outline=look.theme.border)
        draw.rectangle((x, y, x + w, y + px(14)), fill=mixed(look.theme.border, look.theme.face, 0.5))
    for _ in range(rng.randint(0, 5)):
        x, y, edge = rng.randint(0, width), rng.randint(0, height), px(rng.uniform(9, 15))
        draw_icon(draw, (x, y, x + edge, y + edge), rng)
    clock, icons = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}", rng.randint(1, 4)
    if screen.bar:
        _, y0, x1, y1 = screen.bar
        draw.rectangle(inside(screen.bar), fill=mixed(look.accent, BLACK, 0.3))
        write(draw, (x1 - px(34), y0, x1 - px(2), y1), clock, look.small(), WHITE)
        for at in range(icons):
            x = px(3 + 14 * at)
            draw_icon(draw, (x, y0 + px(3), x + px(9), y1 - px(3)), rng)


def draw_window(draw: ImageDraw.ImageDraw, screen: Screen, rng: random.Random) -> None:
    """The window, still without its widgets."""
    look, theme = screen.look, screen.look.theme
    x0, y0, x1, y1 = screen.window
    if rng.random() < 0.5:
        shadow = look.px(3)
        box = (x0 + shadow, y0 + shadow, x1 + shadow, y1 + shadow)
        draw.rectangle(inside(box), fill=mixed(look.backdrop[0], BLACK, 0.6))
    draw.rectangle(inside(screen.window), fill=theme.face)
    _title(draw, screen, align=rng.choice((0.0, 0.5)))
    menus, state = rng.sample(_MENUS, rng.randint(2, 4)), rng.choice(_STATES)
    if screen.menu:
        _menu(draw, screen.menu, menus, look)
    if screen.status:
        draw.line((x0, screen.status[1], x1 - 1, screen.status[1]), fill=theme.border)
        write(draw, screen.status, state, look.small(), theme.ink, align=0.0, pad=look.px(4))
    draw.rectangle(inside(screen.window), outline=theme.border)


def _menu(draw: ImageDraw.ImageDraw, box: Box, names: Sequence[str], look: Look) -> None:
    """As many of the names as there is room for."""
    x0, y0, x1, y1 = box
    x = x0 + look.px(4)
    for name in names:
        after = x + int(look.small().getlength(name)) + look.px(9)
        if after < x1:
            write(draw, (x, y0, after, y1), name, look.small(), look.theme.ink, align=0.0)
        x = after


def _title(draw: ImageDraw.ImageDraw, screen: Screen, align: float) -> None:
    """The title bar, with the title between the knobs."""
    look, theme = screen.look, screen.look.theme
    color = WHITE if theme.heading is None else theme.ink
    x0, y0, x1, y1 = screen.title
    draw.rectangle(inside(screen.title), fill=theme.heading or look.accent)
    length = look.small().getlength(screen.title_text)
    left = look.px(26 if theme.knobs == "left" else 5)
    right = look.px({"right": 36, "cross": 15}.get(theme.knobs, 3))
    if left + length + right > x1 - x0:  # no room for all knobs
        right = look.px(15)
        _cross(draw, screen.title, look, color)
    else:
        _knobs(draw, screen.title, look, color)
    write(draw, (x0 + left, y0, x1 - right, y1), screen.title_text, look.small(), color, align=align)


def _knobs(draw: ImageDraw.ImageDraw, title: Box, look: Look, color: Color) -> None:
    """What closes, enlarges and hides a window."""
    px, knobs = look.px, look.theme.knobs
    x0, y0, x1, y1 = title
    y, r = (y0 + y1) // 2, px(2.5)
    if knobs == "left":
        for at, dot in enumerate(_DOTS):
            x = x0 + px(6 + 7 * at)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=dot)
    if knobs in ("right", "cross"):
        _cross(draw, title, look, color)
    if knobs == "right":
        near, far = x1 - px(20), x1 - px(30)
        draw.rectangle((near - r, y - r, near + r, y + r), outline=color)
        draw.line((far - r, y + r, far + r, y + r), fill=color)


def _cross(draw: ImageDraw.ImageDraw, title: Box, look: Look, color: Color) -> None:
    x, y, r = title[2] - look.px(9), (title[1] + title[3]) // 2, look.px(2.5)
    draw.line((x - r, y - r, x + r, y + r), fill=color)
    draw.line((x - r, y + r, x + r, y - r), fill=color)
