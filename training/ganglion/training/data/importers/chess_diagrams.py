"""Real diagrams as chess_board data: books, scans and screenshots, for measuring a model that learned from drawn ones.

The source is a folder with labels.json, a list of {"image": path in the folder, "placement": first field of a FEN}, as
shown: the upper left square comes first. The rows say that white is below, and their source is the image's folder.
Whether coordinates are printed is an entry's own `coordinates`; for the images of Chess_diagram_to_FEN, which say
nothing of it, it was seen by eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ganglion.core.chess_fen import pieces_from_fen
from ganglion.core.chess_position import position_fault
from ganglion.core.datafile import check_image
from ganglion.core.errors import InputError
from ganglion.core.tasks import RowError
from ganglion.core.tasks.answers import strict_json
from ganglion.core.tasks.chess_schema import VIEWS, board_row

_LABELS = "labels.json"
_BOOKS = ("1001", "imagination")  # without coordinates, all of them
_SITE = "lichess"  # with coordinates where it shows a game; its editor, in which pieces were strewn about, has none


def chess_diagram_rows(source: Path) -> Iterator[dict[str, Any]]:
    """The rows of all labels; image paths are absolute.

    Raises:
        InputError: labels.json is missing or bad, or an image can't be read.
    """
    path = source / _LABELS
    for index, entry in enumerate(_read(path)):
        where = f"{path}: row {index}"
        image = _image(entry, source, where)
        pieces = _pieces(entry, where)
        name = image.parts[0] if len(image.parts) > 1 else source.resolve().name
        coordinates = _coordinates(entry, name, pieces, where)
        picture = str(source.resolve() / image)
        yield board_row(image.with_suffix("").as_posix(), picture, pieces, VIEWS[0], coordinates, name)


def _read(path: Path) -> list[Mapping[str, Any]]:
    try:
        entries = strict_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"can't be read ({error.strerror})", where=path, remedy="give the folder of chess_diagrams"
        ) from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"is not JSON ({reason:.120})", where=path, remedy="take it again") from None
    if not (isinstance(entries, list) and entries):
        raise InputError("is no list of labels", where=path, remedy='give [{"image": ..., "placement": ...}]')
    for index, entry in enumerate(entries):
        if not (isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("image", "placement"))):
            raise InputError(f"is {entry!r:.60}", where=f"{path}: row {index}", remedy="give image and placement")
    return entries


def _image(entry: Mapping[str, Any], source: Path, where: str) -> PurePosixPath:
    image = PurePosixPath(entry["image"])
    if image.is_absolute() or ".." in image.parts or not image.name:
        raise InputError(f"column 'image': {entry['image']!r:.100} is not in the folder", where=where, remedy="move it")
    try:
        check_image(source / image, "image")
    except RowError as error:
        raise InputError(str(error), where=where) from None
    return image


def _pieces(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    try:
        return pieces_from_fen(entry["placement"])
    except InputError as error:
        raise InputError(f"column 'placement': {error.what}", where=where, remedy=error.remedy) from None


def _coordinates(entry: Mapping[str, Any], name: str, pieces: Mapping[str, str], where: str) -> bool:
    said = entry.get("coordinates", name == _SITE and position_fault(pieces) is None)
    if "coordinates" not in entry and name not in (*_BOOKS, _SITE):
        raise InputError("column 'coordinates' is missing", where=where, remedy="add true or false")
    if not isinstance(said, bool):
        raise InputError(f"column 'coordinates': is {said!r:.40}", where=where, remedy="give true or false")
    return said
