"""The Unix socket on which a policy host listens: of this user alone, and of one host."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.core.local_wire import default_socket

_BACKLOG = 64


def check_free(path: Path) -> None:
    """See that no host listens there and that one could.

    Raises:
        InputError: one does, something else has that name, or its folder is not this user's.
    """
    _check_folder(path)
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    if not stat.S_ISSOCK(kind):
        raise _unusable(path, "is there, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left by a server that was killed
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                raise _unusable(path, error.strerror or str(error)) from None
    raise InputError("a server listens there", where=f"--socket {path}", remedy="end it, or choose another --socket")


@contextmanager
def listen(path: Path) -> Iterator[socket.socket]:
    """A socket that listens there; its file is removed at the end.

    Raises:
        InputError: as `check_free`.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with listening:
        folder = _locked(path)
        try:
            check_free(path)
            path.unlink(missing_ok=True)
            listening.bind(str(path))
            path.chmod(0o600)
            listening.listen(_BACKLOG)
            ours = path.lstat()
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from None
        finally:
            os.close(folder)
        try:
            yield listening
        finally:
            with suppress(OSError):
                if os.path.samestat(path.lstat(), ours):
                    path.unlink()


def _locked(path: Path) -> int:
    """The folder, locked, so that of two servers that start at once one alone takes a name over."""
    _check_folder(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(folder)
        raise _unusable(path, "another server is starting in its folder") from None
    return folder


def _check_folder(path: Path) -> None:
    if len(os.fsencode(path)) > 107:  # unix(7), sun_path
        raise _unusable(path, "is longer than a socket's name may be, 107 bytes")
    folder = path.parent
    if path == default_socket() and "XDG_RUNTIME_DIR" not in os.environ:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise _unusable(path, "its folder is not this user's alone")
    elif not folder.is_dir():
        raise _unusable(path, "its folder is not there")


def _unusable(path: Path, why: str) -> InputError:
    return InputError(why, where=f"--socket {path}", remedy="choose another --socket")
