"""Files of one kind, numbered as LeRobotDataset v3.0 does; a new one is begun when the last is large enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ganglion.training.demonstrations.lerobot.layout import FILES_PER_CHUNK


class _File(Protocol):
    def close(self) -> None: ...


F = TypeVar("F", bound=_File)


class NumberedFiles(Generic[F]):
    """Files that are written one after the other.

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
