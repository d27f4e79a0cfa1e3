"""Badges: the small colored icon that stands for a word, before it or in its field, on every synthetic screen.

A small model can tell badges apart long before it can read words.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageDraw

from ganglion.training.data.gui.looks import BADGE_COLORS, Color, Look
from ganglion.training.data.gui.words import ANSWERS, CODES, COMMANDS, COUNTERS, DEVICES, FIELDS, TABS

_INKS: dict[str, Color] = {"light": (248, 248, 248), "dark": (20, 20, 24)}
_OUTLINE: Color = (28, 28, 32)
_CORNERS = {"flat": 0.12, "outline": 0.0, "bevel": 0.0, "gradient": 0.2, "round": 0.3}  # share of the side
_GLYPH, _BAR_HEIGHT = 0.58, 0.25  # shares of the side


@dataclass(frozen=True)
class Badge:
    """A tile and what is on it. color: of BADGE_COLORS; glyph: "disc", "bar" or "triangle"; ink: "light" or "dark"."""

    color: str
    glyph: str
    ink: str


_EIGHTS = {  # glyph and ink: a word for each color
    ("disc", "light"): CODES[:8],
    ("disc", "dark"): CODES[8:],
    ("bar", "light"): DEVICES,
    ("bar", "dark"): FIELDS,
    ("triangle", "light"): COUNTERS + ANSWERS + TABS[:1],
    ("triangle", "dark"): TABS[1:] + COMMANDS,
}
BADGES = {
    word: Badge(color, glyph, ink)
    for (glyph, ink), words in _EIGHTS.items()
    for color, word in zip(BADGE_COLORS, words, strict=True)
}


def draw_badge(draw: ImageDraw.ImageDraw, left: int, top: int, word: str, look: Look) -> None:
    """The word's badge, in the square of side `look.badge` whose upper left pixel is (left, top)."""
    badge, side = BADGES[word], look.badge
    color = dict(zip(BADGE_COLORS, look.tints, strict=True))[badge.color]
    tile = (left, top, left + side - 1, top + side - 1)
    corner = round(_CORNERS[look.theme.relief] * side)
    draw.rounded_rectangle(tile, corner, fill=color, outline=_OUTLINE, width=max(1, look.px(0.8)))
    margin = round(side * (1 - _GLYPH) / 2)
    x0, y0, x1, y1 = left + margin, top + margin, left + side - 1 - margin, top + side - 1 - margin
    if badge.glyph == "disc":
        draw.ellipse((x0, y0, x1, y1), fill=_INKS[badge.ink])
    elif badge.glyph == "triangle":
        draw.polygon(((x0, y1), ((x0 + x1) / 2, y0), (x1, y1)), fill=_INKS[badge.ink])
    else:
        flat = round(side * (1 - _BAR_HEIGHT) / 2)
        draw.rectangle((x0, top + flat, x1, top + side - 1 - flat), fill=_INKS[badge.ink])
