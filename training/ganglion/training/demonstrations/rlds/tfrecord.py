"""TFRecord files, a record at a time: its length, a checksum of that, its data, a checksum of that."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from ganglion.core.errors import InputError

_HEAD, _CHECKSUM = struct.Struct("<QI"), struct.Struct("<I")
_AGAIN = "copy the file again"


def read_records(path: Path) -> Iterator[bytes | InputError]:
    """The records of a file; an InputError in place of one that is damaged, the last one where no next can be found."""
    import google_crc32c

    def masked(data: bytes) -> int:
        checksum: int = google_crc32c.value(data)
        return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    number = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while head := file.read(_HEAD.size):
            where = f"{path.name}, record {number}"
            if len(head) < _HEAD.size:
                yield InputError("is cut short", where=where, remedy=_AGAIN)
                return
            length, checksum = _HEAD.unpack(head)
            if masked(head[:8]) != checksum:
                what = "is no TFRecord file" if not number else "has a length unlike its checksum, and no next is found"
                yield InputError(what, where=where if number else path.name, remedy=_AGAIN)
                return
            if length + _CHECKSUM.size > size - file.tell():
                yield InputError("is cut short", where=where, remedy=_AGAIN)
                return
            data = file.read(length)
            (checksum,) = _CHECKSUM.unpack(file.read(_CHECKSUM.size))
            yield (
                data
                if masked(data) == checksum
                else InputError("has data unlike its checksum", where=where, remedy=_AGAIN)
            )
            number += 1
