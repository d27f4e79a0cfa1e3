"""A synthetic exo_assist data set: images rendered by several processes, and the rows that ask about them."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.training.data.exo_rows import exo_image, exo_row
from ganglion.training.data.exo_terrain import DEFAULT_SIZE
from ganglion.training.data.maker import DATA_FILE, Maker, Options, at_least

_IMAGES = "images"
_JPEG_QUALITY = 92
_CHUNK = 32  # images a worker takes at once


def _check(options: Options) -> None:
    for name, least in (("rows_per_image", 1), ("size", 28), ("workers", 1)):
        at_least(name, options[name], least)
    if not 0 <= options["limit_share"] <= 1:
        raise InputError(f"--limit_share is {options['limit_share']}", remedy="give 0 to 1")


def _write(folder: Path, count: int, seed: int, options: Options) -> None:
    (folder / _IMAGES).mkdir(parents=True)
    each, workers = options["rows_per_image"], options["workers"]
    draw, images = functools.partial(_draw, str(folder), seed, options["size"]), math.ceil(count / each)
    if workers > 1:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            names = _collect(pool.imap(draw, range(images), _CHUNK), images)
    else:
        names = _collect(map(draw, range(images)), images)
    rows = (exo_row(seed, index, options["limit_share"], each) for index in range(count))
    write_json(folder / DATA_FILE, [{"image_path": names[index // each], **row} for index, row in enumerate(rows)])


def _collect(names: Iterable[str], count: int) -> list[str]:
    return list(tqdm(names, total=count, desc="rendering", unit="image", disable=None))


def _draw(folder: str, seed: int, size: int, index: int) -> str:
    """Write one image, return its name."""
    name = f"{_IMAGES}/{index:06d}.jpg"
    exo_image(seed, index, size).save(os.path.join(folder, name), quality=_JPEG_QUALITY)
    return name


EXO_SET = Maker(
    defaults={"limit_share": 0.0, "rows_per_image": 1, "size": DEFAULT_SIZE, "workers": 2},
    holds=(_IMAGES,),
    check=_check,
    write=_write,
)
