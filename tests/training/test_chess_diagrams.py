"""Real diagrams, as they are and spoiled on purpose."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import chess
import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import CHESS_BOARD
from ganglion.core.tasks.chess_schema import named_pieces

LABEL = {"image": "book/a.png", "placement": "8/8/8/8/8/8/8/K1k5", "coordinates": True}


def write(folder: Path, labels: Any) -> Path:
    (folder / "book").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "book/a.png")
    (folder / "book/b.png").write_bytes(b"\x89PNG")
    (folder / "labels.json").write_text(labels if isinstance(labels, str) else json.dumps(labels))
    return folder


def test_every_real_diagram_becomes_a_row(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "chess_diagrams"
    assert main(["data", "import", "chess_diagrams", str(source), "--out", str(tmp_path / "d")]) == 0
    examples = read_datafile(tmp_path / "d/data.arrow", CHESS_BOARD)
    assert Counter(example.row["source"] for example in examples) == {"1001": 6, "imagination": 11, "lichess": 16}
    labels = json.loads((source / "labels.json").read_text())
    printed = Counter()
    for example, label in zip(examples, labels, strict=True):
        answer = json.loads(example.answer)
        board = chess.BaseBoard(label["placement"])
        assert named_pieces(answer) == {chess.square_name(s): p.symbol() for s, p in board.piece_map().items()}
        assert answer["metadata"]["view"] == "white"
        printed[example.row["source"]] += answer["metadata"]["coordinates"]
        assert example.images[0].read_bytes() == (source / label["image"]).read_bytes()
    assert printed == {"1001": 0, "imagination": 0, "lichess": 9}
    scores = CHESS_BOARD.metrics(examples, [example.answer for example in examples])
    assert scores["source.imagination.exact_match"] == scores["source.lichess.exact_match"] == 1
    assert scores["source.lichess.position_valid_rate"] == 9 / 16


def test_a_label_may_say_whether_coordinates_are_printed(tmp_path: Path) -> None:
    source = write(tmp_path / "in", [LABEL, {**LABEL, "coordinates": False}])
    assert main(["data", "import", "chess_diagrams", str(source), "--out", str(tmp_path / "d")]) == 0
    examples = read_datafile(tmp_path / "d/data.arrow", CHESS_BOARD)
    assert [json.loads(example.answer)["metadata"]["coordinates"] for example in examples] == [True, False]


BAD_LABELS = {
    "[": "is not JSON",
    "[]": "is no list of labels",
    '{"image": "book/a.png"}': "is no list of labels",
    "[1]": "row 0: is 1",
    '[{"image": "book/a.png"}]': "row 0: is {'image'",
    json.dumps([LABEL, {**LABEL, "image": 7}]): "row 1: is",
    json.dumps([LABEL, {**LABEL, "image": "book/absent.png"}]): "row 1: column 'image': ",
    json.dumps([{**LABEL, "image": "book/b.png"}]): "can't be decoded",
    json.dumps([{**LABEL, "image": "book"}]): "can't be decoded",
    json.dumps([{**LABEL, "image": ""}]): "not in the folder",
    json.dumps([{**LABEL, "image": "../in/book/a.png"}]): "not in the folder",
    json.dumps([{**LABEL, "image": "/etc/passwd"}]): "not in the folder",
    json.dumps([LABEL, {**LABEL, "placement": "8/8"}]): "row 1: column 'placement': FEN '8/8' has 2 ranks",
    json.dumps([{**LABEL, "placement": "8/8/8/8/8/8/8/K1x5"}]): "column 'placement': FEN",
    json.dumps([{**LABEL, "coordinates": 1}]): "column 'coordinates': is 1",
    json.dumps([{key: LABEL[key] for key in ("image", "placement")}]): "column 'coordinates' is missing",
    json.dumps([LABEL]).replace('"coordinates"', '"image"'): "given twice",
}


@pytest.mark.parametrize(("labels", "named"), BAD_LABELS.items(), ids=range(len(BAD_LABELS)))
def test_bad_labels_are_one_line_with_a_remedy(
    labels: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in", labels)
    assert main(["data", "import", "chess_diagrams", str(source), "--out", str(tmp_path / "d")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(source / "labels.json") in line and named in line and "; " in line
    assert not (tmp_path / "d").exists()


def test_a_folder_without_labels_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "import", "chess_diagrams", str(tmp_path), "--out", str(tmp_path / "d")]) == 2
    assert str(tmp_path / "labels.json") in capsys.readouterr().err
