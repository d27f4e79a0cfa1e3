"""Dialogue rows of exo_assist: what each turn's prompt says, which images it shows, and what makes a row bad."""

import json
from pathlib import Path
from typing import Any

import pytest

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.tasks import EXO_ASSIST, RowError, dialogues_in, write_answer
from ganglion.core.tasks.exo_assist import expected_answer


def turn(said: str, terrain: str, kind: str, level: float, **more: Any) -> dict[str, Any]:
    return {"user_feedback": said, "expected_output": expected_answer(terrain, kind, level), **more}


def dialogue() -> dict[str, Any]:
    return {
        "image_path": "a.jpg",
        "previous_assistance": 6,
        "turns": [
            turn("help me more", "flat", "more", 6),
            turn("ow", "uphill_steep", "pain", 8, image_path="b.jpg"),
            turn("", "uphill_steep", "none", 13),
        ],
    }


def test_each_turn_says_the_assistance_that_the_turns_before_it_left() -> None:
    example = EXO_ASSIST.read_row(dialogue(), Path("d"))
    levels = ["Previous assistance: 6%", "Previous assistance: 8%", "Previous assistance: 13%"]
    assert all(level in turn.prompt for level, turn in zip(levels, example.turns, strict=True))
    assert [json.loads(turn.answer)["assistance_delta"] for turn in example.turns] == [2, 5, 0]
    assert '"ow"' in example.turns[1].prompt and "feedback: none" in example.prompt


def test_an_image_is_shown_at_the_turn_that_brings_it() -> None:
    example = EXO_ASSIST.read_row(dialogue(), Path("d"))
    assert [turn.images for turn in example.turns] == [(Path("d/a.jpg"),), (Path("d/b.jpg"),), ()]


def test_a_dialogue_of_one_turn_is_the_same_example_as_a_plain_row() -> None:
    one = {**dialogue(), "turns": dialogue()["turns"][:1]}
    plain = {"image_path": "a.jpg", "previous_assistance": 6, **one["turns"][0]}
    read, same = EXO_ASSIST.read_row(one, Path()), EXO_ASSIST.read_row(plain, Path())
    assert (read.images, read.prompt, read.answer, read.history) == (same.images, same.prompt, same.answer, ())


def spoiled(change: dict[str, Any], turn: int | None = None) -> dict[str, Any]:
    row = dialogue()
    place = row if turn is None else row["turns"][turn]
    for key, value in change.items():
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return row


BAD = {
    "turns": spoiled({"turns": []}),
    "turns ": spoiled({"turns": "none"}),
    "user_feedback": spoiled({"user_feedback": "ow"}),
    "previous_assistance": spoiled({"previous_assistance": 21}),
    "previous_assistance ": spoiled({"previous_assistance": 10**400}),
    "image_path": spoiled({"image_path": 3}),
    "turns[1]": spoiled({"turns": [dialogue()["turns"][0], "more"]}),
    "turns[0].image_path": spoiled({"image_path": "c.jpg"}, 0),
    "turns[2].image_path": spoiled({"image_path": ""}, 2),
    "turns[1].user_feedback": spoiled({"user_feedback": None}, 1),
    "turns[1].user_feedback ": spoiled({"user_feedback": ...}, 1),
    "turns[2].previous_assistance": spoiled({"previous_assistance": 13}, 2),
    "turns[2].expected_output": spoiled({"expected_output": []}, 2),
    "turns[2].expected_output.task": spoiled(
        {"expected_output": {**expected_answer("flat", "none", 13), "task": "swamp"}}, 2
    ),
    "turns[2].expected_output.assistance_delta": spoiled(
        {"expected_output": {**expected_answer("flat", "none", 13), "assistance_delta": 8}}, 2
    ),
    "turns[0].expected_output.assistance_delta": spoiled(
        {"expected_output": {**expected_answer("flat", "none", 6), "assistance_delta": -7}}, 0
    ),
}


@pytest.mark.parametrize(("column", "row"), BAD.items(), ids=BAD)
def test_a_bad_row_names_turn_and_column(column: str, row: dict[str, Any]) -> None:
    with pytest.raises(RowError) as refused:
        EXO_ASSIST.read_row(row, Path())
    assert str(refused.value).startswith(f"column '{column.strip()}': ")
    assert "; " in str(refused.value)


def test_leaving_the_limits_says_from_where_to_where() -> None:
    with pytest.raises(RowError, match="takes the assistance from 13 to 21; stay within 0 to 20"):
        EXO_ASSIST.read_row(BAD["turns[2].expected_output.assistance_delta"], Path())


def test_a_missing_image_of_a_later_turn_is_named(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    (tmp_path / "data.json").write_text(json.dumps([dialogue()]))
    with pytest.raises(InputError, match=r"row 0: column 'turns\[1\].image_path': .*b.jpg does not exist"):
        read_datafile(tmp_path / "data.json", EXO_ASSIST)


def test_a_dialogue_is_right_only_where_all_its_answers_are() -> None:
    plain = {"image_path": "a.jpg", "previous_assistance": 6, **dialogue()["turns"][0]}
    rows = [EXO_ASSIST.read_row(row, Path()) for row in (dialogue(), plain, dialogue(), dialogue())]
    cases = [case for row in rows for case in row.unrolled()]
    assert dialogues_in(cases) == [[0, 1, 2], [4, 5, 6], [7, 8, 9]]
    answers = [case.answer for case in cases]
    assert EXO_ASSIST.metrics(cases, answers)["dialogue_exact_match"] == 1
    answers[1] = write_answer(expected_answer("flat", "less", 8))
    answers[9] = "{"
    found = EXO_ASSIST.metrics(cases, answers)
    assert found["dialogue_exact_match"] == pytest.approx(1 / 3)
    assert (found["n"], found["exact_match"]) == (10, 0.8)


def test_without_dialogues_there_is_no_figure_for_them() -> None:
    plain = EXO_ASSIST.read_row(
        {"image_path": "a.jpg", "previous_assistance": 6, **dialogue()["turns"][0]}, Path()
    ).unrolled()
    assert "dialogue_exact_match" not in EXO_ASSIST.metrics(plain * 2, [plain[0].answer] * 2)
