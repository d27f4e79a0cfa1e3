"""A synthetic chess_board data set: positions, and pictures of them drawn by several processes."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.core.tasks.chess_schema import board_row
from ganglion.training.data.chess.image import DEFAULT_SIZE, Scene, render_board, scene
from ganglion.training.data.chess.play import PHASES
from ganglion.training.data.chess.positions import SPLITS, played_positions, positions_of_file
from ganglion.training.data.chess.svg import piece_sets
from ganglion.training.data.maker import DATA_FILE, Maker, Options, at_least

_IMAGES = "images"
_CHUNK = 32  # pictures a worker takes at once
_Job = tuple[int, Mapping[str, str], Scene]


def _check(options: Options) -> None:
    at_least("size", options["size"], 64)
    at_least("workers", options["workers"], 1)
    if not 0 <= options["flip_share"] <= 1:
        raise InputError(f"--flip_share is {options['flip_share']}", remedy="give 0 to 1")
    for name, known in (("phase", tuple(PHASES)), ("split", SPLITS)):
        if options[name] is not None and options[name] not in known:
            raise InputError(f"--{name} is {options[name]!r}", remedy=f"use one of {', '.join(known)}")
    if options["split"] and not options["positions"]:
        raise InputError("--split is a part of a file", remedy="add --positions FILE.json")
    if options["phase"] and options["positions"]:
        raise InputError("--phase is for positions played here", remedy="leave it out, or --positions")
    if options["piece_set"]:
        piece_sets(Path(options["piece_set"]))


def _write(folder: Path, count: int, seed: int, options: Options) -> None:
    if options["positions"]:
        positions: Iterable[dict[str, str]] = positions_of_file(
            Path(options["positions"]), seed, count, options["split"]
        )
    else:
        positions = played_positions(seed, count, options["phase"])
    (folder / _IMAGES).mkdir(parents=True)
    jobs = [(k, pieces, scene(seed, k, pieces, options["flip_share"])) for k, pieces in enumerate(positions)]
    sets = piece_sets(Path(options["piece_set"])) if options["piece_set"] else []
    draw = functools.partial(_draw, str(folder), seed, options["size"], options["clean"], sets)
    if options["workers"] > 1:
        with multiprocessing.get_context("spawn").Pool(options["workers"]) as pool:
            _exhaust(pool.imap(draw, jobs, _CHUNK), count)
    else:
        _exhaust(map(draw, jobs), count)
    write_json(folder / DATA_FILE, [_row(job) for job in jobs])


def _row(job: _Job) -> dict[str, Any]:
    index, pieces, seen = job
    return board_row(f"{index:06d}", _image_path(index), pieces, seen.view, seen.coordinates)


def _exhaust(drawn: Iterable[None], count: int) -> None:
    for _ in tqdm(drawn, total=count, desc="drawing", unit="image", disable=None):
        pass


def _draw(folder: str, seed: int, size: int, clean: bool, sets: Sequence[Path], job: _Job) -> None:
    index, pieces, seen = job
    image, quality = render_board(pieces, seen, seed, index, size, clean=clean, piece_sets=sets)
    image.save(os.path.join(folder, _image_path(index)), quality=quality)


def _image_path(index: int) -> str:
    return f"{_IMAGES}/{index:06d}.jpg"


CHESS_SET = Maker(
    defaults={
        "phase": None,
        "positions": None,
        "split": None,
        "piece_set": None,
        "flip_share": 0.2,
        "clean": False,
        "size": DEFAULT_SIZE,
        "workers": 2,
    },
    holds=(_IMAGES,),
    check=_check,
    write=_write,
)
