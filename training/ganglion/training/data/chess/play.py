"""Chess positions by random play: each move is one that the rules allow, and none is a good one.

Castling, capture en passant and underpromotion are left out: positions need them for nothing. A phase is how long is
played, how many pieces may be left, and how eagerly they are captured; what random play leaves over is taken off.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.core.chess_fen import SQUARES, pieces_from_fen

Board = list[str]
"""64 letters of FEN in the order of SQUARES, "" where a square is empty."""


@dataclass(frozen=True)
class Phase:
    """Least and most plies, least and most pieces left, and the share of plies that look for a capture."""

    plies: tuple[int, int]
    pieces: tuple[int, int]
    greed: float


PHASES = {
    "opening": Phase((3, 20), (24, 32), 0.1),
    "middlegame": Phase((24, 70), (14, 28), 0.5),
    "endgame": Phase((60, 140), (3, 13), 0.8),
}
_START = pieces_from_fen("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR")
_STRAIGHT, _DIAGONAL = ((0, 1), (1, 0), (0, -1), (-1, 0)), ((1, 1), (1, -1), (-1, -1), (-1, 1))
_SLIDES = {"R": _STRAIGHT, "B": _DIAGONAL, "Q": _STRAIGHT + _DIAGONAL}
_HOPS = {"N": tuple((a, b) for a in (-2, -1, 1, 2) for b in (-2, -1, 1, 2) if abs(a) != abs(b)), "K": _SLIDES["Q"]}


def _line(square: int, step: tuple[int, int], longest: int) -> tuple[int, ...]:
    row, column = divmod(square, 8)
    line = [(row + k * step[0], column + k * step[1]) for k in range(1, longest + 1)]
    return tuple(8 * r + c for r, c in line if 0 <= r < 8 and 0 <= c < 8)


_LINES = {kind: [[_line(s, step, 7) for step in steps] for s in range(64)] for kind, steps in _SLIDES.items()}
_LINES |= {kind: [[_line(s, step, 1) for step in steps] for s in range(64)] for kind, steps in _HOPS.items()}
_HIT = {
    white: [[_line(s, (-1 if white else 1, side), 1) for side in (-1, 1)] for s in range(64)] for white in (True, False)
}
_FORTH = {white: [_line(s, (-1 if white else 1, 0), 1) for s in range(64)] for white in (True, False)}


def random_position(seed: int, index: int, attempt: int, phase: str) -> dict[str, str]:
    """Square -> piece, by playing from the start; the same arguments give the same position."""
    rng = random.Random(f"chess {seed} {index} {attempt} {phase}")
    board, how = [_START.get(square, "") for square in SQUARES], PHASES[phase]
    least, most = (rng.randint(*how.pieces) for _ in range(2))
    least, most = min(least, most), max(least, most)
    longest, white = rng.randint(*how.plies), True
    for _ in range(longest):
        greed = how.greed if 64 - board.count("") > least else -1.0
        if not _move(rng, board, white, greed):
            break
        white = not white
    _thin_out(rng, board, most)
    return {square: piece for square, piece in zip(SQUARES, board, strict=True) if piece}


def _move(rng: random.Random, board: Board, white: bool, greed: float) -> bool:
    """Play one move in place; False where the side has none. Below zero greed avoids captures where it can."""
    own = [square for square, piece in enumerate(board) if piece and piece.isupper() == white]
    rng.shuffle(own)
    greedy = rng.random() < greed
    later: list[tuple[int, int]] = []
    for square in own:
        goals = list(_goals(board, square))
        rng.shuffle(goals)
        for goal in goals:
            if bool(board[goal]) != greedy and (greedy or (greed < 0 and board[goal])):
                later.append((square, goal))
            elif _play(board, square, goal, white):
                return True
    return any(_play(board, square, goal, white) for square, goal in later)


def _play(board: Board, square: int, goal: int, white: bool) -> bool:
    """Make the move, unless it leaves the own king attacked."""
    piece, taken = board[square], board[goal]
    board[square], board[goal] = "", piece
    if attacked(board, board.index("K" if white else "k"), not white):
        board[square], board[goal] = piece, taken
        return False
    if piece in "Pp" and goal // 8 in (0, 7):
        board[goal] = "Q" if white else "q"
    return True


def _goals(board: Board, square: int) -> Iterator[int]:
    """Where the piece may go, its own king's safety aside."""
    piece = board[square]
    white = piece.isupper()
    if piece in "Pp":
        yield from _pawn_goals(board, square, white)
        return
    for line in _LINES[piece.upper()][square]:
        for goal in line:
            if not board[goal] or board[goal].isupper() != white:
                yield goal
            if board[goal]:
                break


def _pawn_goals(board: Board, square: int, white: bool) -> Iterator[int]:
    for line in _HIT[white][square]:
        for goal in line:
            if board[goal] and board[goal].isupper() != white:
                yield goal
    for goal in _FORTH[white][square]:
        if not board[goal]:
            yield goal
            if square // 8 == (6 if white else 1) and not board[(further := _FORTH[white][goal][0])]:
                yield further


def attacked(board: Board, square: int, by_white: bool) -> bool:
    """Whether a piece of that side could capture on the square."""
    for kind, lines in _LINES.items():
        letters = {kind, "Q"} if kind in "RB" else {kind}
        hostile = letters if by_white else {letter.lower() for letter in letters}
        for line in lines[square]:
            for goal in line:
                if board[goal]:
                    if board[goal] in hostile:
                        return True
                    break
    pawn = "P" if by_white else "p"
    return any(board[goal] == pawn for line in _HIT[not by_white][square] for goal in line)


def _thin_out(rng: random.Random, board: Board, most: int) -> None:
    """Take off pieces until at most `most` are left, none that shields a king."""
    while 64 - board.count("") > most:
        others = [square for square, piece in enumerate(board) if piece and piece not in "Kk"]
        rng.shuffle(others)
        for square in others:
            piece, board[square] = board[square], ""
            if not any(attacked(board, board.index(king), king == "k") for king in "Kk"):
                break
            board[square] = piece
        else:
            return
