"""A data file on one page that needs nothing else: figures, sample rows with pictures, and pictures that are alike."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ganglion.core.images import upright
from ganglion.core.paths import written_aside
from ganglion.core.tasks import Example
from ganglion.training.data.description.looks import NONE, Pairs, images_of

_THUMBNAIL = (240, 180)  # pixels
_QUALITY = 80
_MOST_TEXT = 700  # characters of a prompt or an answer
_PAIRS = 6
_IMAGES = 3  # of a row


def write_page(
    out: Path,
    title: Mapping[str, Any],
    found: Mapping[str, Any],
    rows: Sequence[Example],
    pairs: Sequence[Pairs],
    *,
    samples: int,
    seed: int,
) -> None:
    """Write the page.

    Args:
        out: the HTML file.
        title: file, task and against, for the head of the page.
        found: all figures, as `stats` has them.
        rows: the examples of the file.
        pairs: images to show side by side.
        samples: how many rows to show; `seed` decides which.
        seed: as said.
    """
    chosen = sorted(random.Random(seed).sample(range(len(rows)), min(samples, len(rows))))
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.get_template("page.html.jinja").render(
        title=title,
        found=found,
        tiles=_tiles(found),
        samples=[_sample(row, rows[row]) for row in chosen],
        pairs=[(group.title, shown) for group in pairs if (shown := _shown(group, rows))],
    )
    with written_aside(out) as aside:
        aside.write_text(text, encoding="utf-8")


def _tiles(found: Mapping[str, Any]) -> list[tuple[int, str]]:
    tiles = [(found["rows"], "rows")]
    if images := found.get("images"):
        tiles += [(images["shown"], "images shown"), (images["distinct"], "distinct images")]
    for kind in ("duplicates", "leakage"):
        for name, rows in found.get(kind, {}).items():
            tiles.append((rows["count"], f"{kind}: {name.replace('_', ' ')}"))
    return tiles


def _sample(row: int, example: Example) -> dict[str, Any]:
    images = images_of(example)
    return {
        "row": row,
        "images": [thumbnail(path) for path in images[:_IMAGES]],
        "more": max(len(images) - _IMAGES, 0),
        "turns": [(_short(turn.prompt), _short(turn.answer)) for turn in example.turns],
    }


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} … ({len(text)} characters)"


def _shown(pairs: Pairs, rows: Sequence[Example]) -> list[dict[str, Any]]:
    there = np.flatnonzero(pairs.found != NONE)
    _, first = np.unique(pairs.own.content[there], return_index=True)  # the same picture is shown once
    shown = []
    for index in there[np.sort(first)][:_PAIRS]:
        match = pairs.found[index]
        row, like = int(pairs.own.rows[index]), int(pairs.other.rows[match])
        images = images_of(rows[row])[pairs.own.places[index]], images_of(pairs.rows[like])[pairs.other.places[match]]
        shown.append({"rows": (row, like), "images": [thumbnail(path) for path in images]})
    return shown


def thumbnail(path: Path) -> str:
    """The image as a small JPEG in a data: URI."""
    with Image.open(path) as image:
        seen = upright(image)
    seen.thumbnail(_THUMBNAIL)
    data = io.BytesIO()
    seen.save(data, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
