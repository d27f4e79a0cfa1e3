"""What it takes to make data for a task or in a world; ganglion.training.data.synth has the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError

DATA_FILE, OPTIONS_FILE = "data.json", "synth.json"
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Maker:
    """How a task's data set comes about.

    defaults  the options that this task has and another need not have
    holds     what a data set consists of, beside data_file and OPTIONS_FILE
    check     raises InputError where an option is out of range
    write     (folder, count, seed, options): writes data_file and the rest into an empty folder; what it returns is
              told in OPTIONS_FILE beside the options
    counted   what --count counts
    """

    defaults: Options
    holds: tuple[str, ...]
    check: Callable[[Options], None]
    write: Callable[[Path, int, int, Options], Options | None]
    data_file: str = DATA_FILE
    counted: str = "rows"


@dataclass(frozen=True)
class EpisodeMaker:
    """How a set of episodes comes about: it may take hours, so it grows in its place, and can be gone on with.

    defaults  as in Maker
    check     as in Maker
    grow      (folder, count, seed, options, force): brings the set to its count; returns what to say of it
    """

    defaults: Options
    check: Callable[[Options], None]
    grow: Callable[[Path, int, int, Options, bool], str]


def at_least(name: str, value: float, least: float) -> None:
    """Check an option.

    Raises:
        InputError: the value is lower.
    """
    if value < least:
        raise InputError(f"--{name} is {value}", remedy=f"give {least} or more")
