"""A synthetic robot_code data set: rows, and beside them the API that their programs are written in."""

from __future__ import annotations

import shutil
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.core.tasks.robot_code import API_FILE, DEFAULT_API
from ganglion.training.data.maker import DATA_FILE, Maker, Options
from ganglion.training.data.robot.rows import PARAPHRASES, robot_rows


def _check(options: Options) -> None:
    if options["paraphrases"] not in PARAPHRASES:
        raise InputError(f"--paraphrases is {options['paraphrases']!r}", remedy=f"use one of {', '.join(PARAPHRASES)}")
    if not 0 <= options["compound_share"] <= 1:
        raise InputError(f"--compound_share is {options['compound_share']}", remedy="give 0 to 1")


def _write(folder: Path, count: int, seed: int, options: Options) -> None:
    write_json(folder / DATA_FILE, list(robot_rows(seed, count, options["paraphrases"], options["compound_share"])))
    shutil.copyfile(DEFAULT_API, folder / API_FILE)


ROBOT_SET = Maker(
    defaults={"paraphrases": "train", "compound_share": 0.4},
    holds=(API_FILE,),
    check=_check,
    write=_write,
)
