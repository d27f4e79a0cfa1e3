"""Drawing synthetic screens: desktop, window and widgets, each widget within its box."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from ganglion.training.data.gui_layout import Box, Placed, Screen, is_bold
from ganglion.training.data.gui_looks import BLACK, WHITE, Color, Font, Look

_MENUS = ("File", "Edit", "View", "Tools")
_STATES = ("Connected", "2 items", "Local", "Ln 1, Col 1")


def draw_screen(screen: Screen) -> Image.Image:
    """The screenshot, RGB in the size of the look."""
    rng = random.Random(screen.scenery)
    image = _backdrop(screen.look, rng)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L"
    _scenery(draw, screen, rng)
    _window(draw, screen, rng)
    for placed in screen.placed:
        _WIDGETS[placed.widget.kind](draw, placed, screen.look)
    return image


def _backdrop(look: Look, rng: random.Random) -> Image.Image:
    near, far = look.backdrop
    if rng.random() < 0.4:
        return Image.new("RGB", look.size, near)
    mask = Image.linear_gradient("L").resize(look.size)
    if rng.random() < 0.3:
        mask = Image.radial_gradient("L").resize(look.size)
    return Image.composite(Image.new("RGB", look.size, far), Image.new("RGB", look.size, near), mask)


def _scenery(draw: ImageDraw.ImageDraw, screen: Screen, rng: random.Random) -> None:
    """Icons, another window behind, and the bar with a clock."""
    look = screen.look
    px, (width, height) = look.px, look.size
    if rng.random() < 0.4:
        x, y = rng.randint(-width // 4, width // 2), rng.randint(0, height // 2)
        w, h = rng.randint(width // 3, width), rng.randint(height // 3, height)
        draw.rectangle((x, y, x + w, y + h), fill=look.theme.face, outline=look.theme.border)
        draw.rectangle((x, y, x + w, y + px(14)), fill=_mixed(look.theme.border, look.theme.face, 0.5))
    for _ in range(rng.randint(0, 5)):
        x, y, edge = rng.randint(0, width), rng.randint(0, height), px(rng.uniform(10, 18))
        _icon(draw, (x, y, x + edge, y + edge), rng)
    if screen.bar:
        x0, y0, x1, y1 = screen.bar
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=_mixed(look.accent, BLACK, 0.3))
        clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        _write(draw, (x1 - px(34), y0, x1 - px(2), y1), clock, look.small(), WHITE)
        for at in range(rng.randint(1, 4)):
            x = px(3) + at * px(14)
            _icon(draw, (x, y0 + px(3), x + px(9), y1 - px(3)), rng)


def _icon(draw: ImageDraw.ImageDraw, box: Box, rng: random.Random) -> None:
    color = rng.choice(((230, 180, 60), (90, 160, 220), (120, 190, 110), (210, 90, 80), (220, 220, 225)))
    x0, y0, x1, y1 = box
    shape = rng.randrange(4)
    if shape == 0:
        draw.ellipse((x0, y0, x1 - 1, y1 - 1), fill=color)
    elif shape == 1:
        draw.polygon(((x0, y1 - 1), ((x0 + x1) // 2, y0), (x1 - 1, y1 - 1)), fill=color)
    elif shape == 2:
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=color, outline=_mixed(color, BLACK, 0.4))
    else:
        draw.rectangle((x0, (y0 * 3 + y1) // 4, x1 - 1, y1 - 1), fill=color)
        draw.rectangle((x0, y0, (x0 + x1) // 2, (y0 * 3 + y1) // 4), fill=_mixed(color, BLACK, 0.2))


def _window(draw: ImageDraw.ImageDraw, screen: Screen, rng: random.Random) -> None:
    look, theme = screen.look, screen.look.theme
    px = look.px
    x0, y0, x1, y1 = screen.window
    if rng.random() < 0.5:
        draw.rectangle((x0 + px(3), y0 + px(3), x1 + px(2), y1 + px(2)), fill=_mixed(look.backdrop[0], BLACK, 0.6))
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=theme.face)
    heading = theme.heading or look.accent
    draw.rectangle(_inside(screen.title), fill=heading)
    on_heading = WHITE if theme.heading is None else theme.ink
    middle = rng.random() < 0.4
    _write(
        draw,
        screen.title,
        screen.title_text,
        look.small(),
        on_heading,
        align=0.5 if middle else 0.0,
        pad=px(26 if theme.knobs == "left" else 5),
    )
    _knobs(draw, screen, on_heading)
    if screen.menu:
        x = screen.menu[0] + px(4)
        for name in rng.sample(_MENUS, rng.randint(2, 4)):
            width = int(look.small().getlength(name)) + px(9)
            if x + width < screen.menu[2]:
                _write(draw, (x, screen.menu[1], x + width, screen.menu[3]), name, look.small(), theme.ink, align=0.0)
            x += width
    if screen.status:
        draw.line((x0, screen.status[1], x1 - 1, screen.status[1]), fill=theme.border)
        _write(draw, screen.status, rng.choice(_STATES), look.small(), theme.ink, align=0.0, pad=px(4))
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=theme.border)


def _knobs(draw: ImageDraw.ImageDraw, screen: Screen, color: Color) -> None:
    px, knobs = screen.look.px, screen.look.theme.knobs
    x0, y0, x1, y1 = screen.title
    y, r = (y0 + y1) // 2, px(2.5)
    if knobs == "left":
        for at, dot in enumerate(((235, 95, 85), (240, 190, 60), (95, 190, 90))):
            x = x0 + px(6 + 7 * at)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=dot)
    elif knobs != "none":
        x = x1 - px(9)
        draw.line((x - r, y - r, x + r, y + r), fill=color)
        draw.line((x - r, y + r, x + r, y - r), fill=color)
    if knobs == "right":
        draw.rectangle((x - px(11) - r, y - r, x - px(11) + r, y + r), outline=color)
        draw.line((x - px(21) - r, y + r, x - px(21) + r, y + r), fill=color)


def _text(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    font = look.reading(bold=is_bold(placed.widget, look))
    _write(draw, placed.box, placed.widget.label, font, look.theme.ink, align=0.0)


def _button(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    theme, widget = look.theme, placed.widget
    filled = theme.button is None or (widget.marked and theme.relief in ("flat", "round"))
    face, ink = (look.accent, WHITE) if filled or theme.button is None else (theme.button, theme.ink)
    x0, y0, x1, y1 = placed.box
    inside = _inside(placed.box)
    if theme.relief == "bevel":
        _bevel(draw, placed.box, face, look, raised=True)
    elif theme.relief == "gradient":
        draw.rounded_rectangle(inside, look.px(3), fill=face, outline=theme.border)
        draw.rectangle(
            (x0 + look.px(2), y0 + look.px(2), x1 - 1 - look.px(2), (y0 + y1) // 2), fill=_mixed(face, WHITE, 0.5)
        )
    elif theme.relief == "round":
        draw.rounded_rectangle(inside, min(look.px(9), (y1 - y0) // 2 - 1), fill=face, outline=theme.border)
    elif theme.relief == "outline":
        draw.rectangle(inside, fill=face, outline=theme.border, width=look.px(2 if widget.marked else 1))
    else:
        draw.rectangle(inside, fill=face)
    _write(draw, placed.box, widget.label, look.reading(bold=is_bold(widget, look)), ink)


def _field(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    theme = look.theme
    x0, _, x1, y1 = placed.box
    if theme.sunken == "bevel":
        _bevel(draw, placed.box, theme.field, look, raised=False)
    elif theme.sunken == "line":
        draw.rectangle(_inside(placed.box), fill=theme.field)
        draw.rectangle((x0, y1 - look.px(1.5), x1 - 1, y1 - 1), fill=theme.ink)
    else:
        draw.rectangle(_inside(placed.box), fill=theme.field, outline=theme.border)
    if placed.widget.marked:
        color = look.accent if sum(theme.field) > 384 else (120, 200, 255)
        draw.rectangle(_inside(placed.box), outline=color, width=look.px(2.5))
        draw.line((x0 + look.px(6), placed.box[1] + look.px(5), x0 + look.px(6), y1 - look.px(6)), fill=theme.ink)


def _tab(draw: ImageDraw.ImageDraw, placed: Placed, look: Look) -> None:
    theme, front = look.theme, placed.widget.marked
    back = _mixed(theme.face, theme.border, 0.35)
    draw.rectangle(_inside(placed.box), fill=theme.face if front else back, outline=theme.border)
    x0, y0, x1, _ = placed.box
    if front:
        draw.rectangle((x0, y0, x1 - 1, y0 + look.px(2)), fill=look.accent if theme.face != BLACK else WHITE)
    _write(draw, placed.box, placed.widget.label, look.reading(), theme.ink)


def _bevel(draw: ImageDraw.ImageDraw, box: Box, face: Color, look: Look, raised: bool) -> None:
    x0, y0, x1, y1 = _inside(box)
    light, shade = (WHITE, (100, 100, 100)) if raised else ((100, 100, 100), WHITE)
    draw.rectangle((x0, y0, x1, y1), fill=face)
    for at in range(max(1, look.px(1.5))):
        draw.line((x0 + at, y1 - at, x0 + at, y0 + at, x1 - at, y0 + at), fill=light)
        draw.line((x0 + at, y1 - at, x1 - at, y1 - at, x1 - at, y0 + at), fill=shade)


def _write(
    draw: ImageDraw.ImageDraw, box: Box, text: str, font: Font, color: Color, align: float = 0.5, pad: int = 0
) -> None:
    """A line of text in the middle of the height of the box; align: 0 left, 0.5 in the middle."""
    x0, y0, x1, y1 = box
    _, top, _, bottom = font.getbbox("Hg")
    x = x0 + pad + max(0, x1 - x0 - 2 * pad - font.getlength(text)) * align
    draw.text((int(x) + (align == 0), y0 + (y1 - y0 - bottom - top) // 2), text, fill=color, font=font)


def _inside(box: Box) -> Box:
    """What Pillow, which draws the far edges too, needs to fill a half-open box."""
    return box[0], box[1], box[2] - 1, box[3] - 1


def _mixed(color: Color, other: Color, share: float) -> Color:
    r, g, b = (round(one * (1 - share) + two * share) for one, two in zip(color, other, strict=True))
    return r, g, b


_WIDGETS = {"text": _text, "value": _text, "button": _button, "field": _field, "tab": _tab}
