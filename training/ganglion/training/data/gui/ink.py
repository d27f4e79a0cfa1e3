"""Strokes that the widgets and the scenery of a synthetic screen share: text, bevels, mixed colors, icons."""

from __future__ import annotations

import random

from PIL import ImageDraw

from ganglion.training.data.gui.layout import Box
from ganglion.training.data.gui.looks import BLACK, TALL, WHITE, Color, Font, Look


def write(
    draw: ImageDraw.ImageDraw, box: Box, text: str, font: Font, color: Color, align: float = 0.5, pad: int = 0
) -> None:
    """A line of text in the middle of the height of the box; align: 0 left, 0.5 in the middle."""
    x0, y0, x1, y1 = box
    _, top, _, bottom = font.getbbox(TALL)
    x = x0 + pad + max(0, x1 - x0 - 2 * pad - font.getlength(text)) * align
    draw.text((int(x) + 2 * (align == 0), y0 + (y1 - y0 - bottom - top) // 2), text, fill=color, font=font)


def bevel(draw: ImageDraw.ImageDraw, box: Box, face: Color, look: Look, raised: bool) -> None:
    """A filled box whose edges are lit from above left, as if raised or sunken."""
    x0, y0, x1, y1 = inside(box)
    light, shade = (WHITE, (100, 100, 100)) if raised else ((100, 100, 100), WHITE)
    draw.rectangle((x0, y0, x1, y1), fill=face)
    for at in range(max(1, look.px(1.5))):
        draw.line((x0 + at, y1 - at, x0 + at, y0 + at, x1 - at, y0 + at), fill=light)
        draw.line((x0 + at, y1 - at, x1 - at, y1 - at, x1 - at, y0 + at), fill=shade)


def draw_icon(draw: ImageDraw.ImageDraw, box: Box, rng: random.Random) -> None:
    """A simple shape in gray: color is for what has to be told apart."""
    color = rng.choice(((95, 100, 105), (140, 145, 150), (175, 180, 185), (220, 220, 225)))
    x0, y0, x1, y1 = box
    shape = rng.randrange(4)
    if shape == 0:
        draw.ellipse((x0, y0, x1 - 1, y1 - 1), fill=color)
    elif shape == 1:
        draw.polygon(((x0, y1 - 1), ((x0 + x1) // 2, y0), (x1 - 1, y1 - 1)), fill=color)
    elif shape == 2:
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=color, outline=mixed(color, BLACK, 0.4))
    else:
        draw.rectangle((x0, (y0 * 3 + y1) // 4, x1 - 1, y1 - 1), fill=color)
        draw.rectangle((x0, y0, (x0 + x1) // 2, (y0 * 3 + y1) // 4), fill=mixed(color, BLACK, 0.2))


def inside(box: Box) -> Box:
    """What Pillow, which draws the far edges too, needs to fill a half-open box."""
    return box[0], box[1], box[2] - 1, box[3] - 1


def mixed(color: Color, other: Color, share: float) -> Color:
    """`share` of the other color, the rest of the first."""
    r, g, b = (round(one * (1 - share) + two * share) for one, two in zip(color, other, strict=True))
    return r, g, b
