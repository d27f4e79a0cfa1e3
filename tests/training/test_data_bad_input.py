"""Each way a user's data can be bad gets one line with row and remedy, exit 2, before any model is loaded."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.training.data.exo.rows import exo_image, exo_row

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


def zero_bytes(rows: Rows, folder: Path) -> None:
    (folder / f"{BAD}.jpg").write_bytes(b"")


def no_image_at_all(rows: Rows, folder: Path) -> None:
    (folder / f"{BAD}.jpg").write_text("not an image")


def a_bomb(rows: Rows, folder: Path) -> None:
    """A few kilobytes that unpack to 100 million pixels."""
    rows[BAD]["image_path"] = "bomb.png"
    Image.new("1", (10_000, 10_000)).save(folder / "bomb.png")


def image_is_a_folder(rows: Rows, folder: Path) -> None:
    (folder / "pictures").mkdir()
    rows[BAD]["image_path"] = "pictures"


def image_is_a_number(rows: Rows, folder: Path) -> None:
    rows[BAD]["image_path"] = 7


def feedback_is_a_list(rows: Rows, folder: Path) -> None:
    rows[BAD]["user_feedback"] = ["ow"]


def key_left_out(rows: Rows, folder: Path) -> None:
    del rows[BAD]["previous_assistance"]


def answer_is_text(rows: Rows, folder: Path) -> None:
    rows[BAD]["expected_output"] = "stairs"


def unknown_terrain(rows: Rows, folder: Path) -> None:
    rows[BAD]["expected_output"]["task"] = "swamp"


def delta_is_a_half(rows: Rows, folder: Path) -> None:
    rows[BAD]["expected_output"]["assistance_delta"] = 0.5


def delta_is_true(rows: Rows, folder: Path) -> None:
    rows[BAD]["expected_output"]["assistance_delta"] = True


def reasoning_without_end(rows: Rows, folder: Path) -> None:
    rows[BAD]["expected_output"]["reasoning"] = "because " * 100


def no_turns(rows: Rows, folder: Path) -> None:
    row = rows[BAD]
    rows[BAD] = {"image_path": row["image_path"], "previous_assistance": 5, "turns": []}


def turn_without_answer(rows: Rows, folder: Path) -> None:
    row = rows[BAD]
    turns = [{"user_feedback": "ow", "expected_output": row["expected_output"]}, {"user_feedback": "ow"}]
    rows[BAD] = {"image_path": row["image_path"], "previous_assistance": 5, "turns": turns}


def turns_that_leave_the_limits(rows: Rows, folder: Path) -> None:
    row = rows[BAD]
    answer = {**row["expected_output"], "assistance_delta": 15}
    turns = [{"user_feedback": "ow", "expected_output": answer} for _ in range(2)]
    rows[BAD] = {"image_path": row["image_path"], "previous_assistance": 0, "turns": turns}


CASES = {
    zero_bytes: ("image_path", "can't be decoded"),
    no_image_at_all: ("image_path", "can't be decoded"),
    a_bomb: ("image_path", "has 10000 x 10000 pixels"),
    image_is_a_folder: ("image_path", "can't be decoded"),
    image_is_a_number: ("image_path", "is 7"),
    feedback_is_a_list: ("user_feedback", "is ['ow']"),
    key_left_out: ("previous_assistance", "is missing"),
    answer_is_text: ("expected_output", "is 'stairs'"),
    unknown_terrain: ("expected_output.task", "is 'swamp'"),
    delta_is_a_half: ("expected_output.assistance_delta", "is 0.5"),
    delta_is_true: ("expected_output.assistance_delta", "is True"),
    reasoning_without_end: ("expected_output.reasoning", "is 'because"),
    no_turns: ("turns", "is []"),
    turn_without_answer: ("turns[1].expected_output", "is missing"),
    turns_that_leave_the_limits: ("turns[1].expected_output.assistance_delta", "from 15 to 30"),
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


FILES = {
    "broken JSON": (b'[{"image_path": ', "is not JSON"),
    "trailing comma": (b"[1,]", "is not JSON"),
    "an object": (b'{"rows": []}', "holds dict, not a list of rows"),
    "rows that are no objects": (b"[3]", "row 0"),
    "latin-1 in the middle": ('[{"a":\n "stä'.encode("latin-1"), "is not UTF-8 (line 2, byte 11)"),
    "UTF-16": ("[]".encode("utf-16"), "is not UTF-8"),
    "nothing": (b"", "is not JSON"),
    "a key twice": (b'[{"image_path": "a", "image_path": "b"}]', "gives key 'image_path' twice"),
    "nested too deep": (b"[" * 100_000, "nested too deep"),
    "a control character": (b'[{"user_feedback": "a\r\nb"}]', "is not JSON"),
}


@pytest.mark.parametrize("command", ["validate", "train"])
@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_named(case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, what = FILES[case]
    (tmp_path / "data.json").write_bytes(content)
    assert run_on(command, tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and what in lines[0] and "data.json" in lines[0]
    assert lines[0].rpartition("; ")[2], "no remedy"


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(rows: Rows, tmp_path: Path) -> None:
    text = json.dumps(rows, indent=1).replace("\n", "\r\n")
    (tmp_path / "data.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert run_on("validate", tmp_path) == 0


def test_all_bad_rows_are_named_at_once_up_to_a_limit(
    rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", [{**rows[0], "previous_assistance": -k - 1} for k in range(25)], tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and "row 19" in lines[19] and "and 5 more bad rows" in lines[20]


RECIPES = {
    "unknown key": ("task: exo_assist\nlearning_rate: 1", "learning_rate"),
    "unknown inner key": ("task: exo_assist\nlora: {rank: 8}", "rank"),
    "wrong type": ("task: exo_assist\nbatch_size: many", "batch_size"),
    "fraction for a count": ("task: exo_assist\nsteps: 1.5", "steps"),
    "broken YAML": ("task: [exo_assist", "recipe.yaml"),
    "a list": ("- exo_assist", "recipe.yaml"),
    "stage without a name": ("task: exo_assist\nstages: [{lr: 0.1}]", "name"),
    "unknown schedule": ("task: exo_assist\ndata: x.json\noptim: {schedule: steps}", "--optim.schedule is 'steps'"),
    "negative dropout": ("task: exo_assist\ndata: x.json\nlora: {dropout: -1}", "--lora.dropout is -1"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_bad_recipe_is_named(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, what = RECIPES[case]
    (tmp_path / "recipe.yaml").write_text(text)
    assert main(["train", "sft", "--config", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and what in lines[0]
    assert not (tmp_path / "run").exists()


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
    written(rows, folder)
    return run_on(command, folder)


def run_on(command: str, folder: Path) -> int:
    data = str(folder / "data.json")
    if command == "validate":
        return main(["data", "validate", data, "--task", "exo_assist"])
    return main(["train", "sft", "--task", "exo_assist", "--data", data, "--out", str(folder / "run")])


def written(rows: Rows, folder: Path) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(rows))
    return path
