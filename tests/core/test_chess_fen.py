"""FEN and positions, held against python-chess on thousands of positions of random play."""

import random

import chess
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.chess_fen import PIECES, SQUARES, fen_from_pieces, in_order, pieces_from_fen, turned
from ganglion.core.chess_position import position_fault
from ganglion.core.errors import InputError

START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR"
# What python-chess calls wrong in the position itself, whoever is to move and whatever was played before.
SAME_NOTION = (
    chess.STATUS_NO_WHITE_KING
    | chess.STATUS_NO_BLACK_KING
    | chess.STATUS_TOO_MANY_KINGS
    | chess.STATUS_TOO_MANY_WHITE_PAWNS
    | chess.STATUS_TOO_MANY_BLACK_PAWNS
    | chess.STATUS_PAWNS_ON_BACKRANK
    | chess.STATUS_TOO_MANY_WHITE_PIECES
    | chess.STATUS_TOO_MANY_BLACK_PIECES
)


def boards(games=60, plies=100):
    rng = random.Random(0)
    for _ in range(games):
        board = chess.Board()
        while not board.is_game_over() and board.ply() < plies:
            board.push(rng.choice(list(board.legal_moves)))
            yield board


def pieces_of(board):
    return {chess.square_name(square): piece.symbol() for square, piece in board.piece_map().items()}


def test_fen_agrees_with_python_chess_both_ways():
    played = 0
    for board in boards():
        pieces = pieces_of(board)
        assert pieces_from_fen(board.fen()) == pieces_from_fen(board.board_fen()) == pieces
        assert fen_from_pieces(pieces) == board.board_fen()
        played += 1
    assert played > 4000


def test_a_turned_board_agrees_with_python_chess():
    for board in boards(games=10):
        other = board.transform(chess.flip_vertical).transform(chess.flip_horizontal)
        assert turned(pieces_of(board)) == pieces_of(other)


@given(st.dictionaries(st.sampled_from(SQUARES), st.sampled_from(PIECES)))
def test_any_placement_goes_there_and_back(pieces):
    assert pieces_from_fen(fen_from_pieces(pieces)) == pieces == turned(turned(pieces))
    assert chess.BaseBoard(fen_from_pieces(pieces)).board_fen() == fen_from_pieces(pieces)
    assert list(in_order(pieces)) == [square for square in SQUARES if square in pieces]


def test_squares_go_from_a8_to_h1_as_in_fen():
    assert (SQUARES[0], SQUARES[7], SQUARES[8], SQUARES[63]) == ("a8", "h8", "a7", "h1")
    assert list(pieces_from_fen("r7/8/8/8/8/8/8/K6k")) == ["a8", "a1", "h1"]


@pytest.mark.parametrize(
    ("fen", "named"),
    [
        ("", "1 ranks"),
        ("8/8/8/8/8/8/8", "7 ranks"),
        (START + "/8", "9 ranks"),
        (START.replace("8", "9", 1), "'9'"),
        (START.replace("8", "0", 1), "'0'"),
        (START.replace("p", "x", 1), "'x'"),
        (START.replace("q", "q~", 1), "'~'"),
        (START.replace("8", "7", 1), "7 squares in rank '7'"),
        (START.replace("q", "qq", 1), "9 squares in rank 'rnbqqkbnr'"),
        ("//////" + "/", "0 squares in rank ''"),
        (START.replace("8", "²", 1), "'²'"),
    ],
)
def test_a_bad_fen_is_one_line_that_names_what_is_wrong(fen, named):
    with pytest.raises(InputError, match="FEN") as refused:
        pieces_from_fen(fen)
    assert named in refused.value.what and refused.value.remedy and "\n" not in str(refused.value)


def test_every_position_of_a_game_is_valid():
    assert all(position_fault(pieces_of(board)) is None for board in boards(games=20))


def test_validity_agrees_with_python_chess_where_the_notions_coincide():
    """Random changes to positions of games: a few pieces more, less, or elsewhere."""
    rng, faults = random.Random(1), set()
    for played in boards(games=30):
        board = played.copy(stack=False)
        for _ in range(rng.randint(1, 6)):
            square = rng.randrange(64)
            piece = rng.choice([None, *PIECES])
            board.set_piece_at(square, chess.Piece.from_symbol(piece) if piece else None)
        pieces = pieces_of(board)
        fault = position_fault(pieces)
        wrong = board.status() & SAME_NOTION
        if wrong:
            assert fault is not None, board.board_fen()
        elif fault:  # the two notions that python-chess has not
            assert "promoted" in fault or "side by side" in fault, board.board_fen()
        faults.add(fault and fault.split(" ", 1)[1].strip("0123456789 "))
    assert len(faults) > 5 and None in faults


@pytest.mark.parametrize(
    ("placement", "fault"),
    [
        (START, None),
        ("8/8/8/8/8/8/8/K1k5", None),
        ("8/8/8/8/8/8/8/8", "white has 0 kings"),
        ("8/8/8/8/8/8/8/K7", "black has 0 kings"),
        ("8/8/8/8/8/8/8/KK1k4", "white has 2 kings"),
        ("8/8/8/8/8/8/8/Kk6", "the kings stand side by side on a1 and b1"),
        ("8/8/8/8/8/8/1k6/K7", "the kings stand side by side on a1 and b2"),
        ("8/8/8/8/8/7k/8/K6P", "a pawn stands on h1"),
        ("p7/8/8/8/8/7k/8/K7", "a pawn stands on a8"),
        ("k7/8/8/8/8/P7/PPPPPPPP/K7", "white has 9 pawns"),
        ("k7/8/8/8/8/Q7/PPPPPPPP/QK6", "white has more promoted pieces than pawns gone"),
        ("k7/8/8/8/8/Q7/PPPPPPP1/QK6", None),
        ("k1nnn3/pppppp2/8/8/8/8/8/K7", None),
        ("k1nnnbbb/ppppppp1/8/8/8/8/8/K7", "black has more promoted pieces than pawns gone"),
        ("k7/8/8/8/R7/RRRRRRRR/RRRRRRRR/K7", "white has 18 pieces"),
    ],
)
def test_validity_of_hand_made_positions(placement, fault):
    assert position_fault(pieces_from_fen(placement)) == fault
