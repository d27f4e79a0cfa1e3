"""A synthetic gui_step data set: episodes as a table of steps, and the screenshots that they are about.

data.csv (Task_id, Image_id, Instruction, Output, Grounding)  images/*.png  steps.json (per step: whether its answer
needs the memory, and the chance of an ideal player without memory)
"""

from __future__ import annotations

import csv
import functools
import json
import multiprocessing
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.training.data.gui.ceiling import memoryless_chances, needs_memory
from ganglion.training.data.gui.drawing import draw_screen
from ganglion.training.data.gui.episodes import draw_plan
from ganglion.training.data.gui.goals import PHRASINGS
from ganglion.training.data.gui.layout import Screen, lay_out
from ganglion.training.data.gui.looks import draw_look
from ganglion.training.data.gui.pages import Episode, Step
from ganglion.training.data.maker import Maker, Options, at_least

COLUMNS = ("Task_id", "Image_id", "Instruction", "Output", "Grounding")
DATA_FILE, STEPS_FILE, _IMAGES = "data.csv", "steps.json", "images"
_CHUNK = 16  # episodes a worker takes at once
_COMPRESSION = 3  # of 9


@dataclass(frozen=True)
class _Written:
    """What an episode adds to the files."""

    rows: list[dict[str, str]]
    steps: list[dict[str, Any]]


def screens_of(episode: Episode, seed: int, index: int) -> list[Screen]:
    """The screen of each page; what the episode asks for has no influence on where things stand."""
    look = draw_look(random.Random(f"gui look {seed} {index}"))
    plain = [page.without_focus() for page in episode.pages]  # what gets the focus stays where it is
    drawn = [random.Random(f"gui page {seed} {index} {plain.index(page)}") for page in plain]
    return [lay_out(page, look, rng) for page, rng in zip(episode.pages, drawn, strict=True)]


def _check(options: Options) -> None:
    at_least("workers", options["workers"], 1)
    if options["phrasing"] not in PHRASINGS:
        raise InputError(f"--phrasing is {options['phrasing']!r}", remedy=f"use one of {', '.join(PHRASINGS)}")


def _write(folder: Path, count: int, seed: int, options: Options) -> Options:
    (folder / _IMAGES).mkdir(parents=True)
    one = functools.partial(_episode, folder, seed, options["phrasing"])
    if options["workers"] > 1:
        with multiprocessing.get_context("spawn").Pool(options["workers"]) as pool:
            written = _all(pool.imap(one, range(count), _CHUNK), count)
    else:
        written = _all(map(one, range(count)), count)
    with (folder / DATA_FILE).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(row for episode in written for row in episode.rows)
    steps = [step for episode in written for step in episode.steps]
    write_json(folder / STEPS_FILE, steps)
    return {
        "steps": len(steps),
        "needs_memory_share": round(sum(step["needs_memory"] for step in steps) / len(steps), 4),
        "memoryless_ceiling": round(sum(step["memoryless_chance"] for step in steps) / len(steps), 4),
    }


def _all(written: Iterable[_Written], count: int) -> list[_Written]:
    return list(tqdm(written, total=count, desc="drawing", unit="episode", disable=None))


def _episode(folder: Path, seed: int, phrasing: str, index: int) -> _Written:
    episode = draw_plan(seed, index, phrasing).episode()
    screens = screens_of(episode, seed, index)
    for at, screen in enumerate(screens):
        draw_screen(screen).save(folder / _image_id(index, at), compress_level=_COMPRESSION)
    task = f"{index:06d}"
    rows = [
        {
            "Task_id": task,
            "Image_id": _image_id(index, step.page),
            "Instruction": episode.goal,
            "Output": json.dumps(_output(step)),
            "Grounding": _grounding(step, screens[step.page]),
        }
        for step in episode.steps
    ]
    judged = zip(needs_memory(episode), memoryless_chances(episode), strict=True)
    steps = [
        {"task_id": task, "step": at, "kind": episode.kind, "needs_memory": needs, "memoryless_chance": chance}
        for at, (needs, chance) in enumerate(judged)
    ]
    return _Written(rows, steps)


def _output(step: Step) -> dict[str, str]:
    whole = {"action": step.action, "target": step.target, "text": step.text, "remember": step.remember}
    return {key: value for key, value in whole.items() if value}


def _grounding(step: Step, screen: Screen) -> str:
    if not step.target:
        return ""
    (box,) = [placed.box for placed in screen.placed if placed.widget.name == step.target]
    return json.dumps({"box": box})


def _image_id(index: int, page: int) -> str:
    return f"{_IMAGES}/{index:06d}_{page}.png"


GUI_SET = Maker(
    defaults={"phrasing": "train", "workers": 2},
    holds=(_IMAGES, STEPS_FILE),
    check=_check,
    write=_write,
    data_file=DATA_FILE,
    counted="episodes",
)
