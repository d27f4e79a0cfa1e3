"""`ganglion data synth TASK --out DIR --count N --seed S`: a synthetic data set, rendered here and now.

DIR/data.json (the task's data file)  DIR/images/*.jpg  DIR/synth.json (the options it was made with)
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json, written_aside
from ganglion.core.tasks import get_task
from ganglion.training.data.exo_dialogues import exo_dialogue, later_images
from ganglion.training.data.exo_rows import exo_image, exo_row
from ganglion.training.data.exo_terrain import DEFAULT_SIZE

DATA_FILE, IMAGE_FOLDER, OPTIONS_FILE = "data.json", "images", "synth.json"
_JPEG_QUALITY = 92
_CHUNK = 32  # images a worker takes at once


@dataclass(frozen=True)
class SynthConfig:
    """Options of `ganglion data synth`."""

    task: str
    """Task to make data for: exo_assist."""
    out: Path | None = None
    """Folder to write; required."""
    count: int = 500
    """Number of rows."""
    seed: int = 0
    """Names the data set: the same seed and index give the same row and pixels."""
    limit_share: float = 0.0
    """exo_assist: share of rows whose change is cut by a limit; 0 draws the assistance so far evenly, as for a test."""
    rows_per_image: int = 1
    """Rows that share an image, each with other feedback."""
    turns_max: int = 1
    """exo_assist: most turns of a row; from 2 on rows are dialogues, some with a new image on the way."""
    size: int = DEFAULT_SIZE
    """Image edge in pixels."""
    workers: int = 2
    """Processes that render; the result does not depend on it."""
    force: bool = False
    """Replace a data set that is already in the folder."""


@dataclass(frozen=True)
class _Maker:
    """How a task's data comes about: row(seed, index, limit_share, rows_per_image), image(seed, index, size)."""

    row: Callable[[int, int, float, int], dict[str, Any]]
    image: Callable[[int, int, int], Image.Image]


_MAKERS = {"exo_assist": _Maker(exo_row, exo_image)}


def run(config: SynthConfig) -> None:
    """Write the data set; at no moment is there half of one under `config.out`.

    Raises:
        InputError: an option is out of range, the task has no synthetic data, or the folder holds something.
    """
    out = _check(config)
    with written_aside(out) as aside:
        (aside / IMAGE_FOLDER).mkdir(parents=True)
        draw, images = functools.partial(_draw, config, str(aside)), _images(config)
        if config.workers > 1:
            with multiprocessing.get_context("spawn").Pool(config.workers) as pool:
                names = _collect(pool.imap(draw, images, _CHUNK), len(images))
        else:
            names = _collect(map(draw, images), len(images))
        write_json(aside / DATA_FILE, [_row(config, index, names) for index in range(config.count)])
        write_json(aside / OPTIONS_FILE, _options(config))
    print(f"{config.count} rows of {config.task} in {out / DATA_FILE}")


def _images(config: SynthConfig) -> list[int]:
    """Numbers of all images: those that rows begin with, then those that later turns bring."""
    own = range(math.ceil(config.count / config.rows_per_image))
    return [*own, *(later_images(config.seed, config.count, config.turns_max) if config.turns_max > 1 else ())]


def _options(config: SynthConfig) -> dict[str, Any]:
    """What decides the data set; `turns_max` only where there are dialogues, as sets without them always said."""
    left_out = {"out", "workers"} | ({"turns_max"} if config.turns_max == 1 else set())
    return {name: value for name, value in asdict(config).items() if name not in left_out}


def _collect(names: Iterable[str], count: int) -> list[str]:
    return list(tqdm(names, total=count, desc="rendering", unit="image", disable=None))


def _draw(config: SynthConfig, folder: str, index: int) -> str:
    """Write one image, return its name."""
    name = _image_path(index)
    image = _MAKERS[config.task].image(config.seed, index, config.size)
    image.save(os.path.join(folder, name), quality=_JPEG_QUALITY)
    return name


def _image_path(index: int) -> str:
    return f"{IMAGE_FOLDER}/{index:06d}.jpg"


def _row(config: SynthConfig, index: int, images: list[str]) -> dict[str, Any]:
    options = (config.limit_share, config.rows_per_image)
    if config.turns_max > 1:
        row = exo_dialogue(config.seed, index, config.turns_max, _image_path, *options)
    else:
        row = _MAKERS[config.task].row(config.seed, index, *options)
    return {"image_path": images[index // config.rows_per_image], **row}


def _check(config: SynthConfig) -> Path:
    if config.out is None:
        raise InputError("no folder to write to", remedy="add --out DIR")
    if get_task(config.task).name not in _MAKERS:
        raise InputError(f"task {config.task!r} has no synthetic data", remedy=f"use one of {sorted(_MAKERS)}")
    for name, least in (
        ("count", 1),
        ("rows_per_image", 1),
        ("turns_max", 1),
        ("seed", 0),
        ("size", 28),
        ("workers", 1),
    ):
        if getattr(config, name) < least:
            raise InputError(f"--{name} is {getattr(config, name)}", remedy=f"give {least} or more")
    if not 0 <= config.limit_share <= 1:
        raise InputError(f"--limit_share is {config.limit_share}", remedy="give 0 to 1")
    if config.out.exists():
        _check_replaceable(config.out, config.force)
    return config.out


def _check_replaceable(out: Path, force: bool) -> None:
    """An empty folder may be filled; with --force a data set may be replaced, but nothing else is ever deleted."""
    if not out.is_dir():
        raise InputError("is not a folder", where=out, remedy="choose another --out")
    found = {path.name for path in out.iterdir()}
    if found and not force:
        raise InputError("is not empty", where=out, remedy="choose another --out, or --force to replace a data set")
    if strange := sorted(found - {DATA_FILE, IMAGE_FOLDER, OPTIONS_FILE}):
        raise InputError(f"holds {strange[0]!r}, which is no part of a data set", where=out, remedy="move it away")
