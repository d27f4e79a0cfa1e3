"""`ganglion data stats`: what it counts, counted by hand here."""

import json
from pathlib import Path
from typing import Any

import pytest

from ganglion.core.cli import main
from ganglion.training.data.exo_rows import exo_image, exo_row
from ganglion.training.data.measures import bare, histogram

ROWS = [
    {"input": "Stop!", "output": "stop()", "category": "movement"},
    {"input": "stop", "output": "stop()", "category": "movement"},
    {"input": "stop", "output": "wait(1)", "category": "movement"},
    {"input": "stop", "output": "wait(duration=1.0)", "category": "movement"},
    {"input": "wait 0.5 s", "output": "wait(0.5)", "category": "pause"},
]


def stats(file: Path, rows: list[Any], *options: str) -> dict[str, Any]:
    if rows:
        file.write_text(json.dumps(rows))
    out = file.with_name("stats.json")
    assert main(["data", "stats", str(file), "--out", str(out), *options]) == 0
    return json.loads(out.read_text())


def test_rows_lengths_categories_and_duplicates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = stats(tmp_path / "data.json", ROWS, "--task", "robot_code")
    assert found["rows"] == 5
    assert found["balance"] == {"category": {"movement": 4, "pause": 1}}
    answers = found["characters"]["answer"]
    assert (answers["least"], answers["median"], answers["largest"]) == (6, 7, 18)
    assert sum(count for _, _, count in answers["bins"]) == 5
    assert found["duplicates"]["same_input"] == {"count": 2, "rows": [2, 3]}
    assert found["duplicates"]["same_input_other_answer"] == {"count": 1, "rows": [2]}  # row 3 says what row 2 says
    printed = capsys.readouterr().out
    assert "5 rows of robot_code" in printed and "4  movement" in printed and "leakage" not in printed


def test_leakage_is_found_exactly_and_but_for_case_and_marks(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([ROWS[1], {**ROWS[4], "input": "Wait  0.5 s."}]))
    leaked = stats(tmp_path / "data.json", ROWS, "--task", "robot_code", "--against", str(other))["leakage"]
    assert leaked["same_input"] == {"count": 3, "rows": [1, 2, 3]}
    assert leaked["same_input_but_for_case_and_marks"] == {"count": 5, "rows": [0, 1, 2, 3, 4]}


def test_an_image_that_another_file_has_too_is_found_by_its_content(tmp_path: Path) -> None:
    for folder, index in (("a", 0), ("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        exo_image(0, index, 56).save(tmp_path / folder / f"{index}.png")
    (tmp_path / "b/copy.png").write_bytes((tmp_path / "a/1.png").read_bytes())
    files = {name: tmp_path / name / "data.json" for name in "ab"}
    rows = {
        "a": [{"image_path": f"{index}.png", **exo_row(0, index)} for index in (0, 1)],
        "b": [{"image_path": "2.png", **exo_row(0, 2)}, {"image_path": "copy.png", **exo_row(5, 3)}],
    }
    files["a"].write_text(json.dumps(rows["a"]))
    found = stats(files["b"], rows["b"], "--task", "exo_assist", "--against", str(files["a"]))
    assert found["leakage"]["same_image"] == {"count": 1, "rows": [1]}
    assert found["leakage"]["same_input"]["count"] == 0
    assert set(found["balance"]) == {"task", "terrain_difficulty", "initial_assistance"}
    assert sum(found["balance"]["task"].values()) == 2


@pytest.mark.slow
def test_tokens_are_counted_by_the_base_named(tmp_path: Path) -> None:
    base = "offline:qwen2_vl?untrained"
    found = stats(tmp_path / "data.json", ROWS, "--task", "robot_code", "--base", base)
    assert 2 <= found["tokens"]["answer"]["least"] < found["characters"]["answer"]["least"] + 1


@pytest.mark.parametrize(
    ("text", "same"),
    [("Stop!", "stop"), ("  stop,  now ", "Stop now."), ("go 0.5 m", "Go 0.5 m!"), ("pi/2 rad", "pi / 2 rad")],
)
def test_bare_text_has_no_case_marks_or_doubled_spaces(text: str, same: str) -> None:
    assert bare(text) == bare(same)


def test_bare_text_keeps_what_makes_numbers_differ() -> None:
    assert bare("go 0.5 m") != bare("go 5 m") and bare("go 1.5 m") != bare("go 15 m")


@pytest.mark.parametrize("values", [[7], [0, 0], [1, 10], [1, 11], list(range(100)), [3, 1000]])
def test_every_value_is_in_one_bin_of_at_most_ten(values: list[int]) -> None:
    found = histogram(values)
    assert len(found["bins"]) <= 10 and sum(count for _, _, count in found["bins"]) == len(values)
    for low, high, count in found["bins"]:
        assert count == sum(low <= value < high for value in values)


def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data.json").write_text("[]")
    assert main(["data", "stats", str(tmp_path / "data.json"), "--task", "robot_code"]) == 2
    assert "data.json: holds no rows" in capsys.readouterr().err
