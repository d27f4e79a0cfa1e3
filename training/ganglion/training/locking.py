"""A folder that one run fills at a time; the lock goes with its process, however that ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from ganglion.core.errors import GanglionError, InputError

_LOCK = ".lock"


def open_lock(folder: Path) -> IO[str]:
    """Make a folder, if need be, and open its lock; nothing is locked yet, and closing it frees whatever will be.

    Raises:
        GanglionError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / _LOCK).open("w")
    except OSError as error:
        reason = error.strerror or str(error)
        raise GanglionError(f"can't write: {reason}", where=folder, remedy="choose another --out") from None


def lock(opened: IO[str], *, shared: bool = False) -> None:
    """Lock what `open_lock` gave, for this process alone or for several that share it.

    Raises:
        InputError: another run has it.
    """
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        folder = Path(opened.name).parent
        raise InputError("is being filled by another run", where=folder, remedy="wait for it, or stop it") from None
