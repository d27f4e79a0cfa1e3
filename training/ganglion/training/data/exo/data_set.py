"""A synthetic exo_assist data set: images rendered by several processes, and the rows that ask about them."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.training.data.exo.dialogues import exo_dialogue, later_images
from ganglion.training.data.exo.rows import exo_image
from ganglion.training.data.exo.terrain import DEFAULT_SIZE
from ganglion.training.data.exo.walks import LARGEST_SIZE, walk_image
from ganglion.training.data.maker import DATA_FILE, Maker, Options, at_least

_IMAGES = "images"
_JPEG_QUALITY = 92
_CHUNK = 32  # images a worker takes at once
_VIEWS = {"drawn": exo_image, "exo_walk": walk_image}


def _check(options: Options) -> None:
    for name, least in (("rows_per_image", 1), ("turns_max", 1), ("size", 28), ("workers", 1)):
        at_least(name, options[name], least)
    if options["view"] not in _VIEWS:
        raise InputError(f"--view is {options['view']!r}", remedy=f"use one of {', '.join(_VIEWS)}")
    if options["view"] == "exo_walk" and options["size"] > LARGEST_SIZE:
        raise InputError(f"--size is {options['size']}", remedy=f"give at most {LARGEST_SIZE} with --view exo_walk")
    if not 0 <= options["limit_share"] <= 1:
        raise InputError(f"--limit_share is {options['limit_share']}", remedy="give 0 to 1")


def _write(folder: Path, count: int, seed: int, options: Options) -> None:
    (folder / _IMAGES).mkdir(parents=True)
    draw, images = (
        functools.partial(_draw, str(folder), seed, options["size"], options["view"]),
        _images(count, seed, options),
    )
    if options["workers"] > 1:
        with multiprocessing.get_context("spawn").Pool(options["workers"]) as pool:
            _exhaust(pool.imap(draw, images, _CHUNK), len(images))
    else:
        _exhaust(map(draw, images), len(images))
    write_json(folder / DATA_FILE, [_row(seed, index, options) for index in range(count)])


def _images(count: int, seed: int, options: Options) -> list[int]:
    """Numbers of all images: those that rows begin with, then those that later turns bring."""
    own = range(math.ceil(count / options["rows_per_image"]))
    return [*own, *later_images(seed, count, options["turns_max"])]


def _row(seed: int, index: int, options: Options) -> dict[str, Any]:
    each, turns = options["rows_per_image"], options["turns_max"]
    row = exo_dialogue(seed, index, turns, _image_path, options["limit_share"], each)
    return {"image_path": _image_path(index // each), **row}


def _exhaust(drawn: Iterable[None], count: int) -> None:
    for _ in tqdm(drawn, total=count, desc="rendering", unit="image", disable=None):
        pass


def _draw(folder: str, seed: int, size: int, view: str, index: int) -> None:
    _VIEWS[view](seed, index, size).save(os.path.join(folder, _image_path(index)), quality=_JPEG_QUALITY)


def _image_path(index: int) -> str:
    return f"{_IMAGES}/{index:06d}.jpg"


EXO_SET = Maker(
    defaults={
        "limit_share": 0.0,
        "rows_per_image": 1,
        "turns_max": 1,
        "size": DEFAULT_SIZE,
        "view": "drawn",
        "workers": 2,
    },
    holds=(_IMAGES,),
    check=_check,
    write=_write,
)
