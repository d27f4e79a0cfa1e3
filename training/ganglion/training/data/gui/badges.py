"""Badges: the small colored icon that stands for a word, before it or in its field, on every synthetic screen.

A small model can tell badges apart long before it can read words.
"""

from __future__ import annotations

from PIL import ImageDraw

from ganglion.model.offline.icons import COLORS, ICONS
from ganglion.training.data.gui.looks import Color, Look

_INKS: dict[str, Color] = {"pale": (248, 248, 248), "dark": (20, 20, 24)}
_OUTLINE: Color = (28, 28, 32)
_CORNERS = {"flat": 0.12, "outline": 0.0, "bevel": 0.0, "gradient": 0.2, "round": 0.3}  # share of the side
_GLYPH, _BAR_WIDTH = 0.58, 0.25  # shares of the side


def draw_badge(draw: ImageDraw.ImageDraw, left: int, top: int, word: str, look: Look) -> None:
    """The word's badge, in the square of side `look.badge` whose upper left pixel is (left, top)."""
    icon, side = ICONS[word], look.badge
    color = dict(zip(COLORS, look.tints, strict=True))[icon.color]
    tile = (left, top, left + side - 1, top + side - 1)
    corner = round(_CORNERS[look.theme.relief] * side)
    draw.rounded_rectangle(tile, corner, fill=color, outline=_OUTLINE, width=max(1, look.px(0.8)))
    margin = round(side * (1 - _GLYPH) / 2)
    x0, y0, x1, y1 = left + margin, top + margin, left + side - 1 - margin, top + side - 1 - margin
    if icon.glyph == "disc":
        draw.ellipse((x0, y0, x1, y1), fill=_INKS[icon.shade])
    else:
        off = round(side * (1 - _BAR_WIDTH) / 2) - margin
        box = (x0, y0 + off, x1, y1 - off) if icon.glyph == "bar" else (x0 + off, y0, x1 - off, y1)
        draw.rectangle(box, fill=_INKS[icon.shade])
