"""The positions of a chess_board data set: played at random here, or drawn from a file of positions, all distinct."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from itertools import count as count_from
from pathlib import Path
from typing import Any

from ganglion.core.chess_fen import fen_from_pieces, pieces_from_fen
from ganglion.core.errors import InputError
from ganglion.core.tasks.answers import strict_json
from ganglion.training.data.chess.play import PHASES, random_position

SPLITS = ("train", "val", "test")
_TENTHS = ("train",) * 8 + ("val", "test")


def played_positions(seed: int, count: int, phase: str | None = None) -> Iterator[dict[str, str]]:
    """Positions, square -> piece, by random play, of all phases in turn or of one; a longer set begins as a shorter."""
    known: set[str] = set()
    phases = list(PHASES) if phase is None else [phase]
    for index in range(count):
        for attempt in count_from():
            pieces = random_position(seed, index, attempt, phases[index % len(phases)])
            if (fen := fen_from_pieces(pieces)) not in known:
                known.add(fen)
                yield pieces
                break


def positions_of_file(path: Path, seed: int, count: int, split: str | None) -> list[dict[str, str]]:
    """`count` positions of a JSON list of FENs, or of {"fen": ...}, in an order that the seed names.

    Args:
        path: the file.
        seed: names the draw.
        count: how many.
        split: the part to draw from, None for all of the file.

    Raises:
        InputError: the file is no such list, or has too few positions.
    """
    found: dict[str, dict[str, str]] = {}
    for index, entry in enumerate(_read(path)):
        fen = entry.get("fen") if isinstance(entry, dict) else entry
        if not isinstance(fen, str):
            raise InputError(f"is {entry!r:.60}", where=f"{path}: row {index}", remedy='give a FEN, or {"fen": ...}')
        try:
            pieces = pieces_from_fen(fen.strip())
        except InputError as error:
            raise InputError(error.what, where=f"{path}: row {index}", remedy=error.remedy) from None
        found.setdefault(fen_from_pieces(pieces), pieces)
    part = [fen for fen in sorted(found) if split is None or split_of(fen) == split]
    if len(part) < count:
        of = f" of the part {split}" if split else ""
        raise InputError(f"holds {len(part)} different positions{of}", where=path, remedy=f"lower --count from {count}")
    random.Random(f"chess {seed}").shuffle(part)
    return [found[fen] for fen in part[:count]]


def split_of(placement: str) -> str:
    """The part that a position belongs to, by its hash: 80 % train, 10 % val, 10 % test, the same in every file."""
    return _TENTHS[int.from_bytes(hashlib.sha256(placement.encode()).digest()[:8], "big") % len(_TENTHS)]


def _read(path: Path) -> list[Any]:
    try:
        entries = strict_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"can't be read ({error.strerror})", where=path, remedy="correct --positions") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"is not JSON ({reason:.120})", where=path, remedy="give a JSON list of FENs") from None
    if not (isinstance(entries, list) and entries):
        raise InputError("is no list of positions", where=path, remedy="give a JSON list of FENs")
    return entries
