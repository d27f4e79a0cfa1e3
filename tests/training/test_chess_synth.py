"""Synthetic boards: positions that could be a game's, pictures that show them, and parts that stay apart."""

import json
from collections import Counter
from pathlib import Path

import chess
import numpy as np
import pytest
from PIL import Image

from ganglion.core.chess_fen import PIECES, SQUARES, fen_from_pieces, pieces_from_fen, turned
from ganglion.core.chess_position import position_fault
from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import CHESS_BOARD
from ganglion.core.tasks.chess_schema import named_pieces
from ganglion.training.data.chess.image import Scene, render_board, scene
from ganglion.training.data.chess.play import PHASES, random_position
from ganglion.training.data.chess.positions import SPLITS, played_positions, split_of

START = pieces_from_fen("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR")


def synth(out: Path, *options: str) -> int:
    return main(["data", "synth", "chess_board", "--out", str(out), "--workers", "1", "--size", "64", *options])


def rows(out: Path) -> list[dict]:
    return json.loads((out / "data.json").read_text())


def placement(row: dict) -> str:
    return fen_from_pieces(named_pieces(json.loads(row["conversations"][1]["value"])))


@pytest.fixture
def positions(tmp_path: Path) -> Path:
    """300 positions, half of them as objects, some twice."""
    fens = [fen_from_pieces(pieces) for pieces in played_positions(9, 300)]
    path = tmp_path / "positions.json"
    path.write_text(
        json.dumps([fen if k % 2 else {"fen": f"{fen} w - - 0 1"} for k, fen in enumerate(fens + fens[:9])])
    )
    return path


def svg_set(folder: Path) -> Path:
    """Twelve drawings that no font has."""
    folder.mkdir(parents=True)
    for k, letter in enumerate(PIECES):
        fill = "#fff" if letter.isupper() else "#222"
        shape = f'<circle cx="20" cy="20" r="{6 + 2 * (k % 6)}" fill="{fill}" stroke="red"/>'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40pt" height="40pt" viewBox="0 0 40 40">{shape}</svg>'
        (folder / f"{'w' if letter.isupper() else 'b'}{letter.upper()}.svg").write_text(svg)
    return folder


@pytest.mark.parametrize("phase", PHASES)
def test_every_position_is_legal_and_has_as_many_pieces_as_its_phase(phase: str) -> None:
    counts = []
    for index in range(150):
        pieces = random_position(3, index, 0, phase)
        assert position_fault(pieces) is None
        fen = fen_from_pieces(pieces)
        boards = [chess.Board(f"{fen} {side} - - 0 1") for side in "wb"]
        assert any(board.is_valid() for board in boards), fen
        counts.append(len(pieces))
    low, high = PHASES[phase].pieces
    assert low <= min(counts) and max(counts) <= high and len(set(counts)) > 4


def test_positions_are_distinct_and_a_longer_set_begins_as_a_shorter() -> None:
    fens = [fen_from_pieces(pieces) for pieces in played_positions(0, 900)]
    assert len(set(fens)) == 900
    assert [fen_from_pieces(pieces) for pieces in played_positions(0, 50)] == fens[:50]
    assert not set(fens[:50]) & {fen_from_pieces(pieces) for pieces in played_positions(1, 50)}


def test_same_seed_and_index_give_the_same_pixels_and_others_do_not() -> None:
    seen = Scene("white", True)
    first, quality = render_board(START, seen, 3, 7)
    again, same = render_board(START, seen, 3, 7)
    assert first.size == (256, 256) and first.mode == "RGB" and quality == same
    assert np.array_equal(first, again)
    assert not np.array_equal(first, render_board(START, seen, 3, 8)[0])
    assert not np.array_equal(first, render_board(START, seen, 4, 7)[0])


@pytest.mark.parametrize("view", ["white", "black"])
def test_pieces_stand_where_the_row_says(view: str) -> None:
    """On clean boards, squares that hold a piece have far more contrast within them than empty ones."""
    right = total = 0
    for index, pieces in enumerate(played_positions(5, 40)):
        picture, _ = render_board(pieces, Scene(view, False), 5, index, clean=True)
        cells = np.asarray(picture.convert("L"), float).reshape(8, 32, 8, 32)[:, 6:26, :, 6:26]
        contrast = cells.std((1, 3)).ravel()
        shown = pieces if view == "white" else turned(pieces)
        held = np.array([square in shown for square in SQUARES])
        dark = np.array([(k // 8 + k % 8) % 2 == 1 for k in range(64)])
        for color in (dark, ~dark):  # hatched squares have a contrast of their own
            edge = max(contrast[color & ~held], default=0)
            right += int((contrast[color & held] > edge).sum())
            total += int((color & held).sum())
    assert total > 500 and right / total > 0.95


def test_piece_and_color_can_be_told_from_the_pixels() -> None:
    """A linear readout of squares, learned on boards seen by white, reads boards seen by black."""

    def squares(seed: int, view: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        values, labels = [], []
        for index, pieces in enumerate(played_positions(seed, count)):
            picture, _ = render_board(pieces, Scene(view, False), seed, index, clean=True)
            cells = np.asarray(picture.convert("L").reduce(2), float).reshape(8, 16, 8, 16).swapaxes(1, 2)
            cells = cells.reshape(64, 256)
            shown = pieces if view == "white" else turned(pieces)
            for k, square in enumerate(SQUARES):
                if square in shown:
                    values.append(np.append((cells[k] - cells[k].mean()) / (cells[k].std() + 1), 1))
                    labels.append(PIECES.index(shown[square]))
        return np.array(values), np.array(labels)

    seen, labels = squares(1, "white", 240)
    ridge = seen.T @ seen + 30 * np.eye(seen.shape[1])
    readout = np.linalg.solve(ridge, seen.T @ np.eye(12)[labels])
    fresh, expected = squares(2, "black", 60)
    share = np.mean((fresh @ readout).argmax(1) == expected)
    most_frequent = np.bincount(expected).max() / len(expected)
    assert most_frequent < 0.3 and share > 0.7


def test_flipped_boards_without_coordinates_tell_their_side() -> None:
    seen = [(scene(2, k, pieces, 0.5), pieces) for k, pieces in enumerate(played_positions(2, 1500))]
    shares = Counter((one.view, one.coordinates) for one, _ in seen)
    assert 0.45 < (shares["black", True] + shares["black", False]) / 1500 < 0.55
    assert 0.45 < shares["white", True] / (shares["white", True] + shares["white", False]) < 0.55
    assert shares["black", False] > 100
    for one, pieces in seen:
        if one == Scene("black", False):
            ranks = {side: [int(s[1]) for s, p in pieces.items() if p.isupper() == side] for side in (True, False)}
            assert np.mean(ranks[False]) >= np.mean(ranks[True]) + 2


def test_coordinates_are_in_the_picture_if_and_only_if_the_row_says_so() -> None:
    """The same board with other coordinates: what is printed changes with the side below, and nothing else does."""
    pieces = {"e1": "K", "e8": "k", "d1": "k", "d8": "K"}  # the same, seen from either side
    assert turned(pieces) == pieces
    differ = {
        printed: sum(
            not np.array_equal(*(render_board(pieces, Scene(view, printed), 1, k)[0] for view in ("white", "black")))
            for k in range(30)
        )
        for printed in (False, True)
    }
    assert differ == {False: 0, True: 30}


def test_a_data_set_has_valid_rows_and_says_how_it_was_made(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "12", "--flip_share", "1", "--phase", "endgame", "--clean") == 0
    examples = read_datafile(tmp_path / "d/data.json", CHESS_BOARD)
    assert len(examples) == 12
    for example in examples:
        assert Image.open(example.images[0]).size == (64, 64)
        assert json.loads(example.answer)["metadata"]["view"] == "black"
        assert len(named_pieces(json.loads(example.answer))) <= PHASES["endgame"].pieces[1]
    told = json.loads((tmp_path / "d/synth.json").read_text())
    assert (told["task"], told["flip_share"], told["phase"], told["clean"]) == ("chess_board", 1, "endgame", True)


def test_result_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    assert synth(tmp_path / "one", "--count", "6") == 0
    assert synth(tmp_path / "two", "--count", "6", "--workers", "2") == 0
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 8
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_parts_of_a_file_of_positions_are_apart_and_make_up_the_whole(positions: Path, tmp_path: Path) -> None:
    whole = {fen_from_pieces(pieces) for pieces in played_positions(9, 300)}
    sizes = Counter(map(split_of, whole))
    assert sizes["train"] > 210 and min(sizes["val"], sizes["test"]) > 15
    found: set[str] = set()
    for part in SPLITS:
        out = tmp_path / part
        assert synth(out, "--positions", str(positions), "--split", part, "--count", str(sizes[part])) == 0
        fens = [placement(row) for row in rows(out)]
        assert len(set(fens)) == sizes[part] and not found & set(fens)
        found |= set(fens)
    assert found == whole


def test_positions_of_a_file_are_drawn_by_seed_each_once(positions: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert synth(tmp_path / name, "--positions", str(positions), "--count", "20", "--seed", seed) == 0
    drawn = {name: [placement(row) for row in rows(tmp_path / name)] for name in "abc"}
    assert drawn["a"] == drawn["b"] != drawn["c"]
    assert len(set(drawn["a"])) == 20


BAD_POSITIONS = {
    "[": "is not JSON",
    "[]": "is no list of positions",
    '{"fen": "8/8/8/8/8/8/8/8"}': "is no list of positions",
    "[1]": "row 0: is 1",
    '[{"position": "8/8/8/8/8/8/8/8"}]': "row 0: is {'position'",
    '["8/8/8/8/8/8/8/8", "8/8"]': "row 1: FEN '8/8' has 2 ranks",
    '["8/8/8/8/8/8/8/8"]': "holds 1 different positions",
    '[{"fen": "8/8/8/8/8/8/8/8", "fen": ""}]': "given twice",
}


@pytest.mark.parametrize(("text", "named"), BAD_POSITIONS.items(), ids=BAD_POSITIONS.values())
def test_a_bad_file_of_positions_is_one_line(
    text: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "positions.json"
    path.write_text(text)
    assert synth(tmp_path / "d", "--positions", str(path), "--count", "2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line and named in line and "; " in line
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--size", "32"], "--size is 32"),
        (["--flip_share", "-0.1"], "--flip_share is -0.1"),
        (["--phase", "blitz"], "--phase is 'blitz'"),
        (["--split", "test"], "--positions"),
        (["--positions", "absent.json"], "absent.json"),
        (["--positions", "absent.json", "--split", "dev"], "--split is 'dev'"),
        (["--positions", "absent.json", "--phase", "opening"], "--phase"),
        (["--piece_set", "absent"], "no such folder"),
        (["--turns_max", "2"], "--turns_max is no option of chess_board"),
    ],
)
def test_bad_options_are_named_in_one_line(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synth(tmp_path / "d", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


def test_pieces_may_come_from_svg_files_of_any_unit(tmp_path: Path) -> None:
    sets = svg_set(tmp_path / "sets/one").parent
    svg_set(sets / "two")
    (sets / "SOURCE.txt").write_text("mine")
    for name in ("sets/one", "sets"):
        out = tmp_path / name.replace("/", "_")
        assert synth(out / "d", "--count", "4", "--piece_set", str(tmp_path / name)) == 0
        assert len(read_datafile(out / "d/data.json", CHESS_BOARD)) == 4
    seen = Scene("white", False)
    drawn = render_board({"e4": "K"}, seen, 0, 0, clean=True, piece_sets=[sets / "one"])[0]
    red = np.asarray(drawn, int)
    ys, xs = np.nonzero((red[..., 0] > 180) & (red[..., 1:] < 110).all(-1))
    assert xs.min() >= 128 and xs.max() < 160 and ys.min() >= 128 and ys.max() < 160, "e4 and nowhere else"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "no such file"),
        ("", "can't be drawn"),
        ("no SVG", "can't be drawn"),
        ("<svg", "can't be drawn"),
        ("<html></html>", "can't be drawn"),
        ('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "draws nothing"),
        (b"\x89PNG\r\n\x1a\n", "can't be drawn"),
    ],
)
def test_a_bad_piece_of_a_set_is_named_by_its_file(
    content: str | bytes | None, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = svg_set(tmp_path / "set") / "bN.svg"
    bad.unlink()
    if content is not None:
        bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert synth(tmp_path / "d", "--piece_set", str(tmp_path / "set")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ganglion: error: {bad}: ") or str(bad) in line
    assert named in line and not (tmp_path / "d").exists()


def test_a_folder_without_pieces_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sets").mkdir()
    assert synth(tmp_path / "d", "--piece_set", str(tmp_path / "sets")) == 2
    assert "holds no piece set" in capsys.readouterr().err


def test_the_real_piece_sets_can_be_drawn(shared_data: Path, tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "10", "--piece_set", str(shared_data / "chess_pieces")) == 0
    assert len(read_datafile(tmp_path / "d/data.json", CHESS_BOARD)) == 10
