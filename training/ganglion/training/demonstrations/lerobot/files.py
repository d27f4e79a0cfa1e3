"""Files of a data set: numbered as LeRobotDataset v3.0 does as they are written, and named if they can't be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ganglion.core.errors import InputError
from ganglion.training.demonstrations.lerobot.layout import AGAIN, FILES_PER_CHUNK


class _File(Protocol):
    def close(self) -> None: ...


F = TypeVar("F", bound=_File)


class NumberedFiles(Generic[F]):
    """Files that are written one after the other; a new one is begun when the last is large enough.

    Args:
        path: of a file, from the numbers of its chunk and of itself.
        begin: opens one to write.
        size_mb: after how many megabytes an episode goes into the next file.
    """

    def __init__(self, path: Callable[[dict[str, int]], Path], begin: Callable[[Path], F], size_mb: int) -> None:
        self._path, self._begin, self._size = path, begin, size_mb * 2**20
        self._number = -1
        self.file: F | None = None

    @property
    def place(self) -> dict[str, int]:
        """The numbers of the file that is being written, as episodes note them."""
        chunk, file = divmod(self._number, FILES_PER_CHUNK)
        return {"chunk_index": chunk, "file_index": file}

    def next(self, full: bool = False) -> F:
        """The file that the next episode goes into; a new one if the last is `full` or large."""
        if self.file is None or full or self._path(self.place).stat().st_size >= self._size:
            self.close()
            self._number += 1
            path = self._path(self.place)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self._begin(path)
        return self.file

    def close(self) -> None:
        """Finish the last file."""
        if self.file is not None:
            self.file.close()


@contextmanager
def readable(path: Path, kind: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Name the file if what is done with it fails.

    Args:
        path: the file.
        kind: what it should be.
        errors: raised by readers when it is not.

    Raises:
        InputError: it is missing, damaged or something else.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError("is missing", where=path, remedy=AGAIN) from None
    except errors as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InputError(f"is no whole {kind} ({reason:.120})", where=path, remedy=AGAIN) from None
