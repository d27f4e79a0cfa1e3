"""Icons that synthetic sheets and screens show: small tiles with a glyph in their middle, each with a name.

A network of a few million parameters can tell such icons apart long before it can read words. The finer base learns
what they are called, as a checkpoint from the hub knows the icon of a printer.
"""

from __future__ import annotations

from dataclasses import dataclass

from ganglion.model.offline.canvas import Color

COLORS: dict[str, Color] = {
    "red": (210, 45, 45),
    "orange": (240, 140, 30),
    "yellow": (240, 215, 40),
    "green": (60, 165, 65),
    "cyan": (40, 190, 200),
    "blue": (45, 80, 205),
    "purple": (140, 60, 175),
    "pink": (240, 130, 180),
}
SHADES = ("pale", "dark")
GLYPHS = ("disc", "bar", "column")


@dataclass(frozen=True)
class Icon:
    """A tile of one of COLORS and the glyph on it: one of GLYPHS, in one of SHADES."""

    color: str
    shade: str
    glyph: str


_NAMES = {  # glyph and shade: a name for each color
    ("disc", "pale"): ("cedar", "eagle", "flame", "grape", "honey", "jewel", "lemon", "maple"),
    ("disc", "dark"): ("north", "ocean", "pearl", "raven", "stone", "tiger", "umbra", "zebra"),
    ("bar", "pale"): ("Mute", "Light", "Lock", "Fan", "Heat", "Alarm", "Radio", "Pump"),
    ("bar", "dark"): ("Name", "Team", "City", "Key", "Room", "Seat", "Gate", "Floor"),
    ("column", "pale"): ("Plus", "Minus", "Left", "Right", "OK", "Yes", "No", "One"),
    ("column", "dark"): ("Two", "Save", "Next", "Confirm", "Submit", "Send", "Open", "Print"),
}
ICONS = {
    name: Icon(color, shade, glyph)
    for (glyph, shade), names in _NAMES.items()
    for color, name in zip(COLORS, names, strict=True)
}
