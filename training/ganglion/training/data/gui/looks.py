"""How synthetic screens look: themes, fonts and sizes, drawn once per episode."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass

from PIL import ImageFont

from ganglion.model.offline.icons import COLORS

Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

UNITS = 256  # the area of a screen is UNITS x UNITS units, whatever its size and shape
SIZES = ((256, 256), (256, 256), (288, 224), (320, 240), (240, 320), (300, 300), (400, 300), (384, 320), (448, 320))
LETTER_UNITS = (9.0, 9.6)  # least and greatest height of a small letter x that has to be read
_BUILT_IN = ""  # the font that comes with Pillow
FONTS = {  # regular and bold
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    "built-in": (_BUILT_IN, _BUILT_IN),
}
TALL = "Hdg"  # as high and as deep as a line gets
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
ACCENTS: tuple[Color, ...] = (
    *((25, 85, 165), (0, 100, 105), (25, 105, 55), (95, 55, 150), (160, 40, 45), (140, 75, 10), (60, 70, 90)),
    *((125, 30, 100), (40, 45, 50)),
)
BACKDROPS: tuple[tuple[Color, Color], ...] = (
    *(((60, 110, 165), (150, 185, 215)), ((90, 140, 100), (190, 210, 180)), ((120, 125, 130), (200, 200, 205))),
    *(((215, 180, 150), (160, 95, 80)), ((20, 22, 35), (70, 55, 110)), ((10, 45, 60), (20, 110, 115))),
    *(((0, 128, 128), (0, 128, 128)), ((235, 235, 240), (205, 215, 230)), ((30, 30, 30), (55, 55, 60))),
)
BADGE_UNITS = (21.0, 26.0)  # least and greatest side of a badge
_TINT = 12  # how far a channel of a badge's color may be off


@dataclass(frozen=True)
class Theme:
    """Colors and shapes.

    face, ink  of windows and what is written on them
    button     buttons; None: the accent color, written on in white
    relief     of buttons: "flat", "outline", "bevel", "gradient" or "round"
    sunken     fields: "box", "bevel" or "line"
    heading    title bar; None: the accent color, written on in white
    knobs      of the title bar: "right", "left", "cross" or "none"
    """

    face: Color
    ink: Color
    button: Color | None
    field: Color
    border: Color
    relief: str
    sunken: str
    heading: Color | None
    knobs: str


THEMES = {
    "light": Theme(
        (246, 247, 249), (25, 25, 30), (224, 228, 234), WHITE, (160, 166, 176), "flat", "box", None, "right"
    ),
    "paper": Theme(
        (252, 250, 244),
        (50, 40, 30),
        (252, 250, 244),
        WHITE,
        (120, 110, 95),
        "outline",
        "line",
        (236, 230, 216),
        "cross",
    ),
    "dark": Theme(
        (43, 45, 50), (232, 232, 236), (68, 71, 79), (28, 30, 34), (100, 104, 112), "round", "box", (28, 29, 33), "left"
    ),
    "night": Theme((22, 27, 40), (215, 225, 240), None, (36, 44, 62), (72, 88, 120), "flat", "line", None, "cross"),
    "classic": Theme((192, 192, 192), BLACK, (192, 192, 192), WHITE, (128, 128, 128), "bevel", "bevel", None, "right"),
    "contrast": Theme(BLACK, (255, 255, 0), BLACK, BLACK, WHITE, "outline", "box", (0, 0, 0), "cross"),
    "blue": Theme(
        (233, 236, 246), (15, 25, 60), (212, 222, 244), WHITE, (110, 130, 180), "gradient", "bevel", None, "right"
    ),
    "material": Theme(WHITE, (33, 33, 33), None, (240, 240, 240), (150, 150, 150), "round", "line", WHITE, "none"),
    "sand": Theme(
        (236, 229, 214),
        (50, 35, 20),
        (219, 205, 178),
        (250, 246, 238),
        (150, 130, 95),
        "gradient",
        "box",
        (201, 184, 150),
        "left",
    ),
    "rose": Theme((250, 238, 240), (70, 20, 40), (243, 212, 220), WHITE, (195, 130, 150), "round", "box", None, "left"),
}


@dataclass(frozen=True)
class Look:
    """What all screens of an episode have in common.

    size     width and height in pixels
    letter   height in pixels of an x that has to be read
    scenery  names what stands on the desktop and on the window's frame
    badge    side in pixels of the badges
    tints    what the colors of the badges are here, in the order of COLORS
    align    of badge and label in buttons: 0 left, 0.5 in the middle
    """

    size: tuple[int, int]
    theme: Theme
    accent: Color
    backdrop: tuple[Color, Color]
    font: str
    letter: float
    bold_buttons: bool
    scenery: int
    badge: int
    tints: tuple[Color, ...]
    align: float

    @property
    def unit(self) -> float:
        """Pixels per unit."""
        return math.sqrt(self.size[0] * self.size[1]) / UNITS

    def px(self, units: float) -> int:
        """Units as whole pixels."""
        return round(units * self.unit)

    def reading(self, bold: bool = False) -> Font:
        """The font of what has to be read."""
        return font_of(FONTS[self.font][bold], self.letter)

    def small(self) -> Font:
        """The font of decoration."""
        return font_of(FONTS[self.font][0], 4.1 * self.unit)


def draw_look(rng: random.Random) -> Look:
    """Draw the look of an episode."""
    size = rng.choice(SIZES)
    unit = math.sqrt(size[0] * size[1]) / UNITS
    return Look(
        size=size,
        theme=rng.choice(tuple(THEMES.values())),
        accent=rng.choice(ACCENTS),
        backdrop=rng.choice(BACKDROPS),
        font=rng.choice(tuple(FONTS)),
        letter=rng.uniform(*LETTER_UNITS) * unit,
        bold_buttons=rng.random() < 0.3,
        scenery=rng.getrandbits(32),
        badge=round(rng.uniform(*BADGE_UNITS) * unit),
        tints=tuple(_tinted(color, rng) for color in COLORS.values()),
        align=rng.choice((0.0, 0.5)),
    )


def _tinted(color: Color, rng: random.Random) -> Color:
    r, g, b = (min(255, channel + rng.randint(-_TINT, _TINT)) for channel in color)
    return r, g, b


def font_of(file: str, letter: float) -> Font:
    """The font whose x is at least `letter` pixels high."""
    return _font(file, math.ceil(letter / _letter_share(file)))


@functools.cache
def _letter_share(file: str) -> float:
    _, top, _, bottom = _font(file, 200).getbbox("x")
    return (bottom - top) / 200


@functools.lru_cache(maxsize=256)
def _font(file: str, size: int) -> Font:
    if file == _BUILT_IN:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    import matplotlib

    path = f"{matplotlib.get_data_path()}/fonts/ttf/{file}"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
