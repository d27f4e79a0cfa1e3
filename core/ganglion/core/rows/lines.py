"""Lines of a text file, one after another; a line without end is noticed, not loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ganglion.core.errors import InputError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors put it before the first character
_PIECE = 2**20


@dataclass(frozen=True)
class Line:
    """One line.

    number  from 1
    data    its bytes with the line end; the first ones only where it is not whole
    whole   whether `data` is all of it
    """

    number: int
    data: bytes
    whole: bool

    def text(self) -> str:
        """The line decoded.

        Raises:
            ValueError: it is not UTF-8.
        """
        return self.data.decode("utf-8")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading bytes.

    Raises:
        InputError: it is missing, a folder, or can't be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="correct the path") from None
    except IsADirectoryError:
        raise InputError("is a folder", where=path, remedy="give the data file in it") from None
    except OSError as error:
        raise InputError(f"can't be read ({error.strerror})", where=path, remedy="correct its permissions") from None
    with file:
        yield file


def lines(path: Path, most_bytes: int) -> Iterator[Line]:
    """The lines of a file; of one longer than `most_bytes` the beginning, and the rest is passed over.

    Raises:
        InputError: as `opened`.
    """
    with opened(path) as file:
        number = 0
        while data := file.readline(most_bytes):
            number += 1
            whole = len(data) < most_bytes or data.endswith(b"\n")
            yield Line(number, data.removeprefix(_BYTE_ORDER_MARK) if number == 1 else data, whole)
            while not whole and data and not data.endswith(b"\n"):
                data = file.readline(_PIECE)
