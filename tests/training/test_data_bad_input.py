"""Each way a user's data can be bad gets one line with row and remedy, exit 2, before any model is loaded."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganglion.core.cli import main
from ganglion.training.data.exo_rows import exo_image, exo_row

Rows = list[dict[str, Any]]
BAD = 2  # the row that each case spoils


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    rows = []
    for index in range(4):
        exo_image(0, index, 56).save(tmp_path / f"{index}.jpg")
        rows.append({"image_path": f"{index}.jpg", **exo_row(0, index)})
    return rows


def missing_image(rows: Rows, folder: Path) -> None:
    (folder / f"{BAD}.jpg").unlink()


def truncated_jpeg(rows: Rows, folder: Path) -> None:
    image = folder / f"{BAD}.jpg"
    image.write_bytes(image.read_bytes()[:600])


def wrong_key(rows: Rows, folder: Path) -> None:
    rows[BAD]["user_feedbck"] = rows[BAD].pop("user_feedback")


def wrong_inner_key(rows: Rows, folder: Path) -> None:
    rows[BAD]["expected_output"]["difficulty"] = "steep"


def not_a_number(rows: Rows, folder: Path) -> None:
    rows[BAD]["previous_assistance"] = float("nan")


def not_a_number_as_text(rows: Rows, folder: Path) -> None:
    rows[BAD]["previous_assistance"] = "NaN"


def far_too_much(rows: Rows, folder: Path) -> None:
    rows[BAD]["previous_assistance"] = 400


def expected_far_too_much(rows: Rows, folder: Path) -> None:
    rows[BAD]["expected_output"]["assistance_delta"] = 400


CASES = {
    missing_image: ("image_path", "does not exist"),
    truncated_jpeg: ("image_path", "can't be decoded"),
    wrong_key: ("user_feedbck", "is unknown"),
    wrong_inner_key: ("expected_output.difficulty", "is unknown"),
    not_a_number: ("previous_assistance", "is 'NaN'"),
    not_a_number_as_text: ("previous_assistance", "is 'NaN'"),
    far_too_much: ("previous_assistance", "is 400"),
    expected_far_too_much: ("expected_output.assistance_delta", "is 400"),
}


@pytest.mark.parametrize("command", ["validate", "train"])
@pytest.mark.parametrize("spoil", CASES)
def test_a_bad_row_is_named(
    spoil: Callable[[Rows, Path], None],
    command: str,
    rows: Rows,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(rows, tmp_path)
    assert run(command, rows, tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    column, what = CASES[spoil]
    assert len(lines) == 1
    assert f"row {BAD}: column '{column}': " in lines[0] and what in lines[0]
    assert lines[0].rpartition("; ")[2], "no remedy"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["validate", "train"])
def test_an_empty_list_is_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, [], tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "holds no rows; add at least one" in lines[0]


def test_good_rows_pass(rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", rows, tmp_path) == 0
    assert "4 rows, all valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data", "x.json"], "--task"),
        (["--task", "exo_assist"], "--data"),
        (["--task", "exo_assist", "--data", "absent.json"], "absent.json"),
        (["--task", "juggling", "--data", "x.json"], "juggling"),
        (["--task", "exo_assist", "--data", "x.json", "--optim.lr", "-1"], "--optim.lr is -1"),
        (["--task", "exo_assist", "--data", "x.json", "--quantization", "int3"], "int3"),
        (["--task", "exo_assist", "--data", "x.json", "--lora.rank", "8"], "lora.rank"),
    ],
)
def test_bad_training_options_are_named(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]


def test_data_is_refused_before_torch_is_even_imported(rows: Rows, tmp_path: Path) -> None:
    wrong_key(rows, tmp_path)
    arguments = ["train", "sft", "--task", "exo_assist", "--data", str(written(rows, tmp_path))]
    code = (
        "import sys; from ganglion.core.cli import main; "
        f"sys.exit(main({arguments!r}) + 10 * ('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


def run(command: str, rows: Rows, folder: Path) -> int:
    data = str(written(rows, folder))
    if command == "validate":
        return main(["data", "validate", data, "--task", "exo_assist"])
    return main(["train", "sft", "--task", "exo_assist", "--data", data, "--out", str(folder / "run")])


def written(rows: Rows, folder: Path) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(rows))
    return path
