"""Where things live, and how files are written so that a crash leaves the old content or the new, never half."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ganglion.core.errors import GanglionError, InputError

_NEW_S = 10.0  # a folder this new may not be locked yet by whoever made it
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def cache_dir() -> Path:
    """The user's cache folder: $GANGLION_CACHE, else $XDG_CACHE_HOME/ganglion, else ~/.cache/ganglion."""
    if own := os.environ.get("GANGLION_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganglion"


def recipe(name: str) -> Path:
    """A recipe that comes with the distribution: beside the packages in a wheel, in recipes/ of a checkout.

    Raises:
        InputError: there is none of that name.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if (folder / name).is_file():
            return folder / name
    raise InputError("no such recipe", where=name, remedy="see the folder recipes/ of the source")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write a file or make a folder at; rename it into place on success.

    At no moment a half-written one bears the final name. An existing file is replaced; an existing folder changes
    places with the new one in one step (on Linux; elsewhere it is moved aside first) and is then removed. On an
    exception the old content stays and the temporary is removed.

    Raises:
        GanglionError: the disk is full or the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        held = os.open(room, os.O_RDONLY)
        with suppress(OSError):  # not every file system has locks; there clear_left finds nothing to remove
            fcntl.flock(held, fcntl.LOCK_EX)  # until this process ends, however it does
    except OSError as error:
        raise _unwritable(path, error) from error
    aside = room / path.name
    try:
        yield aside
        if not path.is_dir() or path.is_symlink():
            os.replace(aside, path)
        elif not _exchanged(aside, path):
            os.replace(path, room / "replaced")
            os.replace(aside, path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _unwritable(path, error) from error
        raise
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(held)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two files or folders change places, renameat2(2); False where system or file system can't."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def clear_left(path: Path) -> None:
    """Remove what killed processes left of what they wrote aside to become `path`; what one writes now is let alone."""
    for room in path.parent.glob(f".{glob.escape(path.name)}.????????"):
        with suppress(OSError):
            if time.time() - room.stat().st_mtime < _NEW_S:
                continue
            held = os.open(room, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(room)
            finally:
                os.close(held)


def clear_aside(folder: Path) -> None:
    """Remove what killed processes left of what they wrote aside in a folder; nobody may be writing there now."""
    for room in folder.glob(".*.*"):
        if room.is_dir() and not room.is_symlink():
            shutil.rmtree(room, ignore_errors=True)


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically; NaN is refused, since JSON has none."""
    text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def read_json(path: Path, remedy: str, *, version: int | None = None) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        path: the file.
        remedy: what to do where it is missing or damaged.
        version: what its `format_version` must be; None asks for none.

    Raises:
        InputError: there is no such file, it can't be read, holds something else or is of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("is missing", where=path, remedy=remedy) from None
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read ({error})", where=path, remedy=remedy) from None
    if not isinstance(data, dict):
        raise InputError(f"holds {type(data).__name__}, not an object", where=path, remedy=remedy)
    if version is not None and data.get("format_version") != version:
        found = data.get("format_version")
        raise InputError(
            f"has format version {found}, this ganglion reads {version}", where=path, remedy=f"upgrade, or {remedy}"
        )
    return data


def _unwritable(path: Path, error: OSError) -> GanglionError:
    return GanglionError(
        f"can't write: {error.strerror or error}", where=path, remedy="free space or choose another folder"
    )
