"""Named shared memory between processes that leaves nothing behind: a file in /dev/shm that its users hold locked.

Not `multiprocessing.shared_memory`, whose resource tracker (Python < 3.13) unlinks segments that a process merely
attached to. Everyone who has a segment open holds a shared lock on it, so what a crash of all parties left behind is
recognized and removed by `remove_abandoned`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Callable
from pathlib import Path

from ganglion.core.errors import GanglionError

SHM = Path("/dev/shm")
KINDS = ("ring", "world")


class Segment:
    """Mapped shared memory: `create` makes it, `attach` opens it by name; anyone may `unlink` it."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name, self._descriptor = name, descriptor
        self.memory = mmap.mmap(descriptor, 0)

    @classmethod
    def create(cls, kind: str, size: int, begin: Callable[[], bytes], what: str) -> Segment:
        """A new segment of `size` bytes, under a name of its own.

        Args:
            kind: one of KINDS, part of its name.
            size: bytes.
            begin: makes its first bytes, once there is room for them; the others are zero.
            what: it holds, for the error.

        Raises:
            GanglionError: shared memory is full or not there.
        """
        name = f"ganglion-{kind}-{secrets.token_hex(8)}"
        fresh = SHM / f".{name}"
        try:
            descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                os.posix_fallocate(descriptor, 0, size)
                os.pwrite(descriptor, begin(), 0)
                os.rename(fresh, SHM / name)  # only a locked segment bears a name that remove_abandoned looks at
            except BaseException:
                fresh.unlink(missing_ok=True)
                os.close(descriptor)
                raise
        except OSError as error:
            raise GanglionError(
                f"can't hold {what} ({error.strerror})", where=SHM, remedy="enlarge /dev/shm"
            ) from error
        return cls(name, descriptor)

    @classmethod
    def attach(cls, name: str) -> Segment:
        """Open an existing segment.

        Raises:
            GanglionError: there is none of that name.
        """
        try:
            descriptor = os.open(SHM / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise GanglionError(f"can't be opened ({error.strerror})", where=SHM / name) from error
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return cls(name, descriptor)

    def claim(self) -> bool:
        """Become the one that may do something; False if another one is. Lasts until `close` or the process's end."""
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _whole(fcntl.F_WRLCK))  # of another kind than flock's
        except OSError:
            return False
        return True

    def unlink(self) -> None:
        """Remove the name; the memory goes with the last process that maps it. Harmless when called twice."""
        (SHM / self.name).unlink(missing_ok=True)

    def close(self) -> None:
        """Give locks and descriptor back; the mapping goes with this object. Harmless when called twice."""
        if self._descriptor >= 0:
            # The mapping has a descriptor of its own, which would keep them.
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _whole(fcntl.F_UNLCK))
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1


def remove_abandoned() -> list[str]:
    """Remove segments that no living process has open (all of them were killed); returns their names."""
    removed = []
    for path in [path for kind in KINDS for path in SHM.glob(f"ganglion-{kind}-*")]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            removed.append(path.name)
        except BlockingIOError:
            pass  # in use
        finally:
            os.close(descriptor)
    return removed


def _whole(kind: int) -> bytes:
    """C's struct flock: a lock of the whole file."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)
