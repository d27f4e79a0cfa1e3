"""`ganglion data synth TASK --out DIR --count N --seed S`: a synthetic data set, made here and now.

Of a task: DIR/data.json or DIR/data.csv (the task's data file)  DIR/synth.json (the options it was made with, and what
is told of it)  and what else the task's rows need. Of a simulated world: a set of episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json, written_aside
from ganglion.simulation.scenario import scenario_names
from ganglion.training.data.chess.data_set import CHESS_SET
from ganglion.training.data.exo.data_set import EXO_SET
from ganglion.training.data.gui.data_set import GUI_SET
from ganglion.training.data.maker import OPTIONS_FILE, EpisodeMaker, Maker, Options, at_least
from ganglion.training.data.robot.data_set import ROBOT_SET
from ganglion.training.data.worlds import world_set

_MAKERS: dict[str, Maker | EpisodeMaker] = {
    "chess_board": CHESS_SET,
    "exo_assist": EXO_SET,
    "gui_step": GUI_SET,
    "robot_code": ROBOT_SET,
    **{name: world_set(name) for name in scenario_names()},
}
_SPEED_ONLY = ("workers",)  # options that change nothing in what is made


@dataclass(frozen=True)
class SynthConfig:
    """Options of `ganglion data synth`."""

    task: str
    """Task to make data for: chess_board, exo_assist, gui_step or robot_code; or simulated world to record episodes in:
    exo_walk or insertion. There an interrupted command goes on when it is given again, and a larger --count adds to a
    set."""
    out: Path | None = None
    """Folder to write; required."""
    count: int = 500
    """Number of rows; of gui_step, exo_walk and insertion: of episodes; with --glances: of scenes."""
    seed: int = 0
    """Names the data set: the same seed and index give the same row and pixels."""
    limit_share: float | None = None
    """exo_assist: share of rows whose change is cut by a limit; default 0 draws the assistance so far evenly, as for a
    test."""
    rows_per_image: int | None = None
    """exo_assist: rows that share an image, each with other feedback; default 1."""
    turns_max: int | None = None
    """exo_assist: most turns of a row, default 1; from 2 on rows are dialogues, some with a new image on the way."""
    view: str | None = None
    """exo_assist: drawn (default), or exo_walk: through the camera of simulated walks."""
    size: int | None = None
    """exo_assist, chess_board, exo_walk, insertion: image edge in pixels; default 112, 256 and what the robot has."""
    workers: int | None = None
    """exo_assist, gui_step, chess_board, exo_walk, insertion: processes that render; default 2. They don't change the
    result."""
    paraphrases: str | None = None
    """robot_code: train (default), or heldout: sentences of which none occurs in training data."""
    compound_share: float | None = None
    """robot_code: share of rows with several commands or a condition; default 0.4, all five categories alike."""
    phrasing: str | None = None
    """gui_step: train (default), or heldout: goals said as none is in training data."""
    phase: str | None = None
    """chess_board: opening, middlegame or endgame; default all three, in turn."""
    positions: Path | None = None
    """chess_board: JSON list of FENs, or of {"fen": ...}, to draw positions from; default they are played at random."""
    split: str | None = None
    """chess_board: train, val or test, the part of --positions to draw from; a position is always in the same one."""
    piece_set: Path | None = None
    """chess_board: folder with wK.svg ... bP.svg, or of such folders; default pieces are glyphs of a font."""
    flip_share: float | None = None
    """chess_board: share of boards seen by black; default 0.2."""
    clean: bool | None = None
    """chess_board: draw boards without crop, tilt, noise and blur; default false."""
    noise: bool | None = None
    """exo_walk, insertion: push the expert off its way, but keep what it commands itself, so that it shows how to come
    back; default true."""
    glances: int | None = None
    """insertion: record so many short looks at each scene, without the sensor and each with another goal and start,
    instead of whole episodes; default none."""
    cameras: str | list[str] | None = None
    """exo_walk, insertion: the camera to record, or a list of them; default all: forward; wrist and scene."""
    video: Path | None = None
    """exo_walk, insertion: .mp4 or .gif to show the first episode in."""
    plot: Path | None = None
    """exo_walk, insertion: .png for a plot of the first episode."""
    force: bool = False
    """Replace a data set that is already in the folder."""


def run(config: SynthConfig) -> None:
    """Write the data set. A set of episodes grows under `config.out`; of other data, there is never half a set there.

    Raises:
        InputError: an option is out of range or is not the task's, the task has no synthetic data, or the folder
            holds something.
        GanglionError: the disk is full, or recording failed.
    """
    if config.out is None:
        raise InputError("no folder to write to", remedy="add --out DIR")
    if config.task not in _MAKERS:
        raise InputError(f"there are no synthetic data of {config.task!r}", remedy=f"use one of {', '.join(_MAKERS)}")
    maker = _MAKERS[config.task]
    options = _options(config, maker)
    at_least("count", config.count, 1)
    at_least("seed", config.seed, 0)
    maker.check(options)
    if isinstance(maker, Maker):
        _write_whole(config, config.out, maker, options)
    else:
        print(maker.grow(config.out, config.count, config.seed, options, config.force))


def _write_whole(config: SynthConfig, out: Path, maker: Maker, options: Options) -> None:
    if out.exists():
        _check_replaceable(out, maker, config.force)
    with written_aside(out) as aside:
        aside.mkdir(parents=True)
        found = maker.write(aside, config.count, config.seed, options) or {}
        told = {k: str(v) if isinstance(v, Path) else v for k, v in options.items() if k not in _SPEED_ONLY}
        told |= found
        write_json(aside / OPTIONS_FILE, {"task": config.task, "count": config.count, "seed": config.seed, **told})
    print(f"{config.count} {maker.counted} of {config.task} in {out / maker.data_file}")


def _options(config: SynthConfig, maker: Maker | EpisodeMaker) -> Options:
    """The task's own options, defaults filled in; one that it does not have must not be given."""
    for name in sorted({name for other in _MAKERS.values() for name in other.defaults} - set(maker.defaults)):
        if getattr(config, name) is not None:
            raise InputError(
                f"--{name} is no option of {config.task}", remedy=f"leave it out; use {', '.join(maker.defaults)}"
            )
    given = {name: getattr(config, name) for name in maker.defaults}
    return {name: maker.defaults[name] if value is None else value for name, value in given.items()}


def _check_replaceable(out: Path, maker: Maker, force: bool) -> None:
    """An empty folder may be filled; with --force a data set may be replaced, but nothing else is ever deleted."""
    if not out.is_dir():
        raise InputError("is not a folder", where=out, remedy="choose another --out")
    found = {path.name for path in out.iterdir()}
    if found and not force:
        raise InputError("is not empty", where=out, remedy="choose another --out, or --force to replace a data set")
    if strange := sorted(found - {maker.data_file, OPTIONS_FILE, *maker.holds}):
        raise InputError(f"holds {strange[0]!r}, which is no part of a data set", where=out, remedy="move it away")
