"""chess_board: rows that are refused, answers that are judged, each case by hand or by python-chess."""

import json
import random
from collections import Counter
from pathlib import Path

import chess
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from ganglion.core.chess_fen import PIECES, SQUARES, fen_from_pieces, pieces_from_fen, turned
from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.tasks import CHESS_BOARD, read_answer
from ganglion.core.tasks.chess_faults import answer_fault
from ganglion.core.tasks.chess_schema import PROMPT, SCHEMA, as_shown, board_answer, board_row, named_pieces
from ganglion.core.tasks.task import RowError

START = pieces_from_fen("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR")
ROW = board_row("7", "a.png", START, "white", True)
ANSWER = ROW["conversations"][1]["value"]
META = {"view": "white", "coordinates": True}
RANKS = json.loads(ANSWER)["pieces"]
EMPTY_RANK = ". . . . . . . ."


def example(pieces, view="white", coordinates=True, **more):
    return CHESS_BOARD.read_row({**board_row("0", "a.png", pieces, view, coordinates), **more}, Path())


def scored(answer, pieces=START, view="white"):
    return CHESS_BOARD.metrics([example(pieces, view)], [answer])


def test_a_row_becomes_prompt_image_and_answer():
    read = CHESS_BOARD.read_row(ROW, Path("folder"))
    assert read.images == (Path("folder/a.png"),)
    assert read.prompt.startswith("Read this chess board") and "<image>" not in read.prompt
    assert read.answer == ANSWER
    assert ANSWER == (
        '{"metadata": {"view": "white", "coordinates": true}, "pieces": {"8": "r n b q k b n r", '
        '"7": "p p p p p p p p", "6": ". . . . . . . .", "5": ". . . . . . . .", "4": ". . . . . . . .", '
        '"3": ". . . . . . . .", "2": "P P P P P P P P", "1": "R N B Q K B N R"}}'
    )


@pytest.mark.parametrize(
    "pieces",
    [
        '{"h1":"k",\n"a8":"K"}',
        """{"1":". . . . . . . k","8":"K . . . . . . .","2":". . . . . . . .","3":". . . . . . . .",
        "4":". . . . . . . .","5":". . . . . . . .","6":". . . . . . . .","7":". . . . . . . ."}""",
    ],
    ids=["by square", "by rank"],
)
def test_either_spelling_of_the_data_is_rewritten_in_the_one_form(pieces):
    said = f'{{"pieces":{pieces},"metadata":{{"coordinates":false,"view":"black"}}}}'
    turns = [{"from": "human", "value": "Read it: <image>"}, {"from": "gpt", "value": said}]
    read = CHESS_BOARD.read_row({**ROW, "conversations": turns}, Path())
    assert read.prompt == "Read it:"
    assert read.answer == board_answer({"a8": "K", "h1": "k"}, "black", False)
    assert list(json.loads(read.answer)["pieces"]) == list("87654321")


def test_a_board_without_pieces_can_be_said_in_either_spelling():
    empty = board_answer({}, "white", True)
    for pieces in ({}, json.loads(empty)["pieces"]):
        assert CHESS_BOARD.read_row({**ROW, "conversations": edited(pieces=pieces)}, Path()).answer == empty


@given(st.dictionaries(st.sampled_from(SQUARES), st.sampled_from(PIECES)))
def test_any_placement_goes_into_an_answer_and_back(pieces):
    answer = read_answer(board_answer(pieces, "white", True), SCHEMA)
    assert named_pieces(answer) == pieces == named_pieces({**answer, "pieces": pieces})
    assert list(named_pieces(answer)) == [square for square in SQUARES if square in pieces]
    board = chess.BaseBoard(fen_from_pieces(pieces))
    rows = str(board).splitlines()  # python-chess prints a board as an answer spells it
    assert list(answer["pieces"].items()) == list(zip("87654321", rows, strict=True))


def test_all_answers_are_as_long_and_within_the_tasks_limit_at_two_tokens_a_square():
    assert len(board_answer({}, "white", True)) == len(ANSWER)
    assert CHESS_BOARD.max_new_tokens >= 8 * (8 * 2 + 6) + 40


def test_the_question_names_what_the_schema_asks_for():
    assert all(word in PROMPT for word in ("metadata", "view", "coordinates", "pieces", "8 to 1", "a to h"))


def altered(answer, rng):
    """The answer with up to two values, keys or signs changed."""
    answer = json.loads(json.dumps(answer))
    for _ in range(rng.randint(0, 2)):
        holder = (
            rng.choice([answer, answer.get("metadata"), answer.get("pieces")]) if isinstance(answer, dict) else None
        )
        if isinstance(holder, dict):
            key = rng.choice([*holder, "view", "a8", "i9", "8", "9", "note"])
            old, kind = holder.get(key), rng.random()
            if kind < 0.4 and isinstance(old, str) and old:
                at = rng.randrange(len(old) + 1)
                holder[key] = old[:at] + rng.choice([*" .kKx8\n\u00a0", " k"]) + old[at + rng.randint(0, 1) :]
            elif kind < 0.8:
                holder[key] = rng.choice(VALUES)
            else:
                holder.pop(key, None)
    return answer


VALUES = [None, True, 1, 0.5, "", "k", "kk", ".", "white", "black", [], {}, {"a8": "K"}, {"view": "white"}, EMPTY_RANK]


def test_the_schema_and_the_check_that_names_faults_agree():
    """By rank on the task's schema; by square, which only data files may use, on one that lists the squares."""
    Draft202012Validator.check_schema(SCHEMA)
    squares = {"type": "object", "properties": {key: {"enum": list(PIECES)} for key in SQUARES}}
    of_data = {**SCHEMA["properties"], "pieces": {**squares, "additionalProperties": False}}
    by_rank, by_square = (Draft202012Validator(one) for one in (SCHEMA, {**SCHEMA, "properties": of_data}))
    rng, seen = random.Random(0), Counter()
    whole = [{"metadata": META, "pieces": RANKS}, {"metadata": META, "pieces": START}]
    for _ in range(6000):
        answer = altered(rng.choice(whole * 10 + VALUES), rng)
        valid = by_rank.is_valid(answer), by_square.is_valid(answer)
        assert (answer_fault(answer) is None) == any(valid), answer
        assert not valid[0] or named_pieces(answer).keys() <= set(SQUARES)
        seen[valid] += 1
    assert min(seen[True, False], seen[False, True], seen[False, False]) > 500 and not seen[True, True]


def said(text):
    return [ROW["conversations"][0], {"from": "assistant", "value": text}]


def asked(text):
    return [{"from": "user", "value": text}, ROW["conversations"][1]]


def edited(**change):
    return said(json.dumps({**json.loads(ANSWER), **change}))


TWICE = '{"metadata": {"view": "white", "coordinates": true}, "pieces": {"a8": "k", "a8": "K"}}'


def ranks(**change):
    """A row's conversations with some ranks, _8 to _1, changed; None leaves one out."""
    changed = {**RANKS, **{rank.strip("_"): row for rank, row in change.items()}}
    return {"conversations": edited(pieces={rank: row for rank, row in changed.items() if row is not None})}


BAD_ROWS = {
    "no id": ({"id": None}, "id"),
    "a number as id": ({"id": 7}, "id"),
    "no image": ({"image": None}, "image"),
    "an empty image": ({"image": " "}, "image"),
    "two images": ({"image": ["a.png", "b.png"]}, "image"),
    "an unknown column": ({"fen": "8/8"}, "fen"),
    "an empty source": ({"source": ""}, "source"),
    "conversations as text": ({"conversations": ANSWER}, "conversations"),
    "no turns": ({"conversations": []}, "conversations"),
    "no assistant turn": ({"conversations": ROW["conversations"][:1]}, "conversations"),
    "a second question": ({"conversations": [*ROW["conversations"], ROW["conversations"][0]]}, "conversations"),
    "a turn as text": ({"conversations": ["<image>", ANSWER]}, "conversations[0]"),
    "roles swapped": ({"conversations": ROW["conversations"][::-1]}, "conversations[0].from"),
    "a system turn": (
        {"conversations": [{"from": "system", "value": "<image>"}, said("")[1]]},
        "conversations[0].from",
    ),
    "role as in messages": (
        {"conversations": [{"role": "user", "value": "<image>"}, said("")[1]]},
        "conversations[0].role",
    ),
    "a turn without value": ({"conversations": [{"from": "user"}, said("")[1]]}, "conversations[0].value"),
    "a list as value": ({"conversations": asked(["<image>"])}, "conversations[0].value"),
    "no placeholder": ({"conversations": asked("What is this?")}, "conversations[0].value"),
    "two placeholders": ({"conversations": asked("<image><image> What?")}, "conversations[0].value"),
    "nothing asked": ({"conversations": asked("<image>\n")}, "conversations[0].value"),
    "the answer as an object": ({"conversations": said(json.loads(ANSWER))}, "conversations[1].value"),
    "no JSON": ({"conversations": said("the start position")}, "conversations[1].value"),
    "empty answer": ({"conversations": said("")}, "conversations[1].value"),
    "JSON cut off": ({"conversations": said(ANSWER[:-2])}, "conversations[1].value"),
    "text around the JSON": ({"conversations": said(f"Sure! {ANSWER}")}, "conversations[1].value"),
    "a rank twice": ({"conversations": said(ANSWER.replace('"7"', '"8"'))}, "conversations[1].value"),
    "a square twice": ({"conversations": said(TWICE)}, "conversations[1].value"),
    "NaN": ({"conversations": said(ANSWER.replace('"r n b q k b n r"', "NaN", 1))}, "conversations[1].value"),
    "a list": ({"conversations": said("[]")}, "conversations[1].value"),
    "no metadata": ({"conversations": said('{"pieces": {}}')}, "conversations[1].value"),
    "metadata as text": ({"conversations": edited(metadata="white")}, "conversations[1].value"),
    "an unknown view": ({"conversations": edited(metadata={**META, "view": "left"})}, "conversations[1].value"),
    "coordinates as number": ({"conversations": edited(metadata={**META, "coordinates": 1})}, "conversations[1].value"),
    "a FEN beside": ({"conversations": edited(fen="8/8")}, "conversations[1].value"),
    "a 65th square": ({"conversations": edited(pieces={**START, "i8": "K"})}, "conversations[1].value"),
    "a square in capitals": ({"conversations": edited(pieces={"A8": "K"})}, "conversations[1].value"),
    "an unknown letter": ({"conversations": edited(pieces={"a8": "x"})}, "conversations[1].value"),
    "an empty square": ({"conversations": edited(pieces={"a8": None})}, "conversations[1].value"),
    "an empty square as a dot": ({"conversations": edited(pieces={"a8": "."})}, "conversations[1].value"),
    "two letters on a square": ({"conversations": edited(pieces={"a8": "KQ"})}, "conversations[1].value"),
    "a piece by name": ({"conversations": edited(pieces={"a8": "rook"})}, "conversations[1].value"),
    "pieces as a list": ({"conversations": edited(pieces=[["a8", "r"]])}, "conversations[1].value"),
    "a missing rank": (ranks(_4=None), "conversations[1].value"),
    "one rank only": ({"conversations": edited(pieces={"8": EMPTY_RANK})}, "conversations[1].value"),
    "a ninth rank": (ranks(_9=EMPTY_RANK), "conversations[1].value"),
    "squares beside ranks": (ranks(a8="r"), "conversations[1].value"),
    "nine signs in a rank": (ranks(_8="r n b q k b n r r"), "conversations[1].value"),
    "seven signs in a rank": (ranks(_8="r n b q k b n"), "conversations[1].value"),
    "an empty rank": (ranks(_8=""), "conversations[1].value"),
    "an unknown letter in a rank": (ranks(_8="r n b q x b n r"), "conversations[1].value"),
    "a rank without spaces": (ranks(_8="rnbqkbnr"), "conversations[1].value"),
    "a rank as in FEN": (ranks(_6="8"), "conversations[1].value"),
    "two spaces in a rank": (ranks(_8="r n b q  k b n r"), "conversations[1].value"),
    "a space after a rank": (ranks(_8="r n b q k b n r "), "conversations[1].value"),
    "a line break after a rank": (ranks(_8="r n b q k b n r\n"), "conversations[1].value"),
    "a rank as a list": (ranks(_8=list("rnbqkbnr")), "conversations[1].value"),
    "null as a rank": ({"conversations": edited(pieces={**RANKS, "6": None})}, "conversations[1].value"),
    "an image that is not there": ({"image": "b.png"}, "image"),
}


@pytest.mark.parametrize(("change", "column"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_one_line_with_file_row_column_and_remedy(change, column, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    row = {key: value for key, value in {**ROW, **change}.items() if value is not None}
    (tmp_path / "data.json").write_text(json.dumps([ROW, row]))
    with pytest.raises(InputError) as refused:
        read_datafile(tmp_path / "data.json", CHESS_BOARD)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{tmp_path / 'data.json'}: row 1: column {column!r}: ")
    assert line.split("; ")[-1].strip() and len(line) < 400


FAULTS = {
    "missing rank": (ranks(_4=None), "pieces has no rank 4", "all ranks"),
    "unknown rank": (ranks(_9=EMPTY_RANK), "pieces has '9'", "8 to 1"),
    "unknown rank alone": ({"conversations": edited(pieces={"9": EMPTY_RANK})}, "pieces has '9'", "a1 to h8"),
    "nine signs": (ranks(_8="r n b q k b n r r"), "pieces.8 is 'r n b q k b n r r': 9 signs", "'r n b q k b n r'"),
    "no spaces": (ranks(_8="rnbqkbnr"), "pieces.8 is 'rnbqkbnr': 1 sign by spaces, not 8", "'r n b q k b n r'"),
    "unknown sign": (ranks(_7="p p p p p p p x"), "pieces.7 has 'x'", ". for an empty square"),
    "unknown letter": ({"conversations": edited(pieces={"a8": "x"})}, 'pieces.a8 is "x"', "KQRBNPkqrbnp"),
    "a dot": ({"conversations": edited(pieces={"a8": "."})}, 'pieces.a8 is "."', "leave out empty squares"),
    "unknown square": ({"conversations": edited(pieces={"A8": "K"})}, "pieces has 'A8'", "a1 to h8"),
}


@pytest.mark.parametrize(("change", "what", "remedy"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_pieces_is_named_with_its_place_and_remedy(change, what, remedy):
    with pytest.raises(RowError) as refused:
        CHESS_BOARD.read_row({**ROW, **change}, Path())
    assert f": {what}" in str(refused.value) and remedy in str(refused.value).split("; ", 1)[1]


def test_a_perfect_answer():
    scores = scored(ANSWER)
    assert scores["n"] == 1
    assert {name for name, value in scores.items() if value != 1} == {"empty_board_baseline"}
    assert scores["empty_board_baseline"] == 0.5


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        f"Here: {ANSWER}",
        ANSWER[:-1],
        ANSWER.replace('"7"', '"8"'),
        ANSWER.replace("q", "x"),
        ANSWER.replace("n r", "n r r"),
        ANSWER.replace("n r", "n r\\n"),
        json.dumps({"metadata": META, "pieces": START}),
    ],
    ids=["empty", "no keys", "text before", "cut", "rank twice", "letters", "nine signs", "line break", "by square"],
)
def test_an_invalid_answer_is_wrong_in_all_squares(answer):
    scores = scored(answer)
    assert {name for name, value in scores.items() if value} == {"n", "empty_board_baseline"}


def test_one_piece_on_a_wrong_square():
    moved = {**START, "e4": "P"}
    del moved["e2"]
    scores = scored(board_answer(moved, "white", True))
    assert scores["json_valid_rate"] == scores["position_valid_rate"] == 1
    assert scores["exact_match"] == scores["fen_accuracy"] == scores["board_exact"] == 0
    assert scores["square_accuracy"] == scores["square_accuracy_as_shown"] == 62 / 64
    assert scores["occupied_square_accuracy"] == scores["piece_precision"] == 31 / 32


def test_a_wrong_color_costs_one_square():
    scores = scored(board_answer({**START, "a8": "R"}, "white", True))
    assert scores["square_accuracy"] == 63 / 64 and scores["occupied_square_accuracy"] == 31 / 32
    assert scores["position_valid_rate"] == 0, "white has three rooks and eight pawns"


def test_what_is_said_of_the_coordinates_is_part_of_the_exact_answer_only():
    scores = scored(board_answer(START, "white", False))
    assert scores["exact_match"] == scores["coordinates_accuracy"] == 0
    assert scores["fen_accuracy"] == scores["board_exact"] == scores["view_accuracy"] == 1


def test_a_board_read_from_the_wrong_side_is_right_as_shown_and_wrong_by_name():
    scores = scored(board_answer(turned(START), "black", True))
    assert scores["view_accuracy"] == scores["fen_accuracy"] == scores["exact_match"] == 0
    assert scores["board_exact"] == scores["square_accuracy_as_shown"] == scores["occupied_square_accuracy"] == 1
    assert scores["square_accuracy"] == 0.5, "only the empty ranks agree"


def test_a_mirrored_board_is_wrong_in_both_frames():
    pieces = pieces_from_fen("8/8/8/3k4/8/8/8/KR6")
    mirrored = {chr(ord("a") + ord("h") - ord(square[0])) + square[1]: piece for square, piece in pieces.items()}
    scores = scored(board_answer(mirrored, "white", True), pieces)
    assert scores["board_exact"] == scores["occupied_square_accuracy"] == 0
    assert scores["square_accuracy"] == scores["square_accuracy_as_shown"] == 58 / 64


def test_an_empty_board_gets_the_baseline_and_no_more():
    scores = scored(board_answer({}, "white", True))
    assert scores["square_accuracy"] == scores["empty_board_baseline"] == 0.5
    assert scores["occupied_square_accuracy"] == scores["piece_precision"] == 0


def test_squares_agree_with_python_chess_on_random_boards():
    """Answers with random mistakes, in random frames, counted square by square on python-chess's boards."""
    rng = random.Random(3)
    examples, answers, named, shown, found = [], [], 0, 0, 0
    for _ in range(200):
        want, got = ({s: rng.choice("KQRBNPkqrbnp") for s in rng.sample(SQUARES, 30)} for _ in range(2))
        got = {s: want[s] if s in want and rng.random() < 0.8 else p for s, p in {**want, **got}.items()}
        views = rng.choice(["white", "black"]), rng.choice(["white", "black"])
        examples.append(example(want, views[0]))
        answers.append(board_answer(got, views[1], True))
        boards = [chess.BaseBoard.empty() for _ in range(4)]
        for board, pieces, view in zip(boards, (want, got, want, got), ("white", "white", *views), strict=True):
            for square, piece in pieces.items():
                at = chess.parse_square(square)
                board.set_piece_at(at if view == "white" else 63 - at, chess.Piece.from_symbol(piece))
        named += sum(boards[0].piece_at(s) == boards[1].piece_at(s) for s in chess.SQUARES)
        shown += sum(boards[2].piece_at(s) == boards[3].piece_at(s) for s in chess.SQUARES)
        found += sum(boards[3].piece_at(s) == piece for s, piece in boards[2].piece_map().items())
    scores = CHESS_BOARD.metrics(examples, answers)
    assert scores["square_accuracy"] == named / 12800
    assert scores["square_accuracy_as_shown"] == shown / 12800
    assert scores["occupied_square_accuracy"] == found / 6000


def test_each_source_is_scored_by_itself():
    rows = [example(START, source="book"), example(START, source="site"), example(START, source="site"), example(START)]
    scores = CHESS_BOARD.metrics(rows, [ANSWER, ANSWER, "", ""])
    assert scores["n"] == 4 and scores["square_accuracy_as_shown"] == 0.5
    assert scores["source.book.n"] == 1 and scores["source.book.square_accuracy_as_shown"] == 1
    assert scores["source.site.n"] == 2 and scores["source.site.json_valid_rate"] == 0.5
    assert sum(name.startswith("source.") for name in scores) == 2 * sum("." not in name for name in scores)


def test_no_examples_have_no_score_above_zero():
    assert not any(CHESS_BOARD.metrics([], []).values())


def test_as_shown_puts_the_pieces_back_into_the_picture():
    answer = read_answer(board_answer({"h1": "K", "a8": "k", "b8": "q"}, "black", False), SCHEMA)
    assert as_shown(answer) == {"a8": "K", "h1": "k", "g1": "q"}
