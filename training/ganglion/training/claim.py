"""Whose an output folder is: one run's, told apart by everything that decides its weights, and whether it is finished.

started.json  what was asked for when the folder was claimed    config.yaml  the resolved config
run.json      written by the run itself, last: it is finished
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json, written_aside

STARTED_FILE, CONFIG_FILE, RUN_FILE = "started.json", "config.yaml", "run.json"


def claim(out: Path, binding: Mapping[str, Any], config: Mapping[str, Any], leaves: Sequence[str], force: bool) -> bool:
    """Make `out` this run's folder; True if the run in it is finished already.

    Args:
        out: the folder.
        binding: what decides the weights, as JSON data: two runs may share a folder only where it is equal.
        config: the resolved config, for config.yaml.
        leaves: names of the files and folders that a run leaves beside the three above.
        force: discard another run that is in the folder, and nothing else.

    Raises:
        InputError: it holds another run, or something else.
    """
    wanted = _flat(json.loads(json.dumps(binding)))
    if not out.exists() or all(path.name.startswith(".") for path in out.iterdir()):
        return _start(out, wanted, config)
    try:
        started: dict[str, Any] = json.loads((out / STARTED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            "holds something other than a training run", where=out, remedy="choose another --out"
        ) from None
    if force:
        _clear(out, leaves)
        return _start(out, wanted, config)
    if difference := first_difference(started, wanted):
        raise InputError(
            f"holds a run with another {difference}",
            where=out,
            remedy="choose another --out, undo the change, or --force to start anew",
        )
    return (out / RUN_FILE).is_file()


def first_difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Which value that is wanted is another than the one that is held, and both; None if all are equal.

    Args:
        held: JSON data; what is not wanted may be anything.
        wanted: JSON data. Nested keys are named joined by dots, as on the command line.
    """
    before, now = _flat(held), _flat(wanted)
    if changed := [key for key in now if now[key] != before.get(key)]:
        key = changed[0]
        return f"{key} ({_short(before.get(key))}, now {_short(now[key])})"
    return None


def _start(out: Path, wanted: dict[str, Any], config: Mapping[str, Any]) -> bool:
    write_json(out / STARTED_FILE, wanted)
    with written_aside(out / CONFIG_FILE) as aside:
        aside.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    return False


def _clear(out: Path, leaves: Sequence[str]) -> None:
    """Remove what a run leaves; the mark of a run goes last."""
    for name in (*leaves, RUN_FILE, CONFIG_FILE, STARTED_FILE):
        if (out / name).is_dir():
            shutil.rmtree(out / name, ignore_errors=True)
        else:
            (out / name).unlink(missing_ok=True)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 48 else text[:45] + "..."
