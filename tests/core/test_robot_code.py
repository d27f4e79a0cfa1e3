"""The task robot_code: what a row must be, which API it is held against, and how answers are judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.tasks import ROBOT_CODE, Example, get_task, vote
from ganglion.core.tasks.robot_code import read_row

ROW = {"input": "Drive 2 m ahead", "output": "move_forward(2)", "category": "movement"}
OWN = [{"name": "hop", "arguments": [{"name": "times", "kind": "int"}]}]
NOWHERE = Path("/no/such/folder")


def example(**more: Any) -> Example:
    return read_row({**ROW, **more}, NOWHERE)


def scores(*pairs: tuple[Example, str]) -> dict[str, float]:
    return ROBOT_CODE.metrics([one for one, _ in pairs], [answer for _, answer in pairs])


def test_a_row_becomes_a_text_only_example_that_knows_its_api() -> None:
    made = example()
    assert made.images == () and "Drive 2 m ahead" in made.prompt and made.answer == "move_forward(2)"
    assert made.context.name == "mobile arm" and "move_forward" not in made.prompt
    assert get_task("robot_code") is ROBOT_CODE


def test_a_row_with_functions_of_its_own_is_held_against_them_and_shows_them() -> None:
    made = example(functions=OWN, output="hop(3)")
    assert "hop(times: int)" in made.prompt and made.context.functions.keys() == {"hop"}


def test_api_yaml_beside_the_data_takes_the_place_of_the_mobile_arm(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text("functions: [{name: hop}]")
    (tmp_path / "data.json").write_text(json.dumps([{**ROW, "output": "hop()"}]))
    assert read_datafile(tmp_path / "data.json", ROBOT_CODE)[0].context.functions.keys() == {"hop"}
    (tmp_path / "data.json").write_text(json.dumps([ROW]))
    with pytest.raises(InputError, match=r"row 0: column 'output': line 1: no function 'move_forward'"):
        read_datafile(tmp_path / "data.json", ROBOT_CODE)
    (tmp_path / "api.yaml").write_text("functions: 5")
    with pytest.raises(InputError, match=r"api.yaml: declares no functions"):
        read_datafile(tmp_path / "data.json", ROBOT_CODE)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"output": "move_forward("}, "'output': line 1: '(' was never closed"),
        ({"output": "fly(1)"}, "'output': line 1: no function 'fly'"),
        ({"output": "move_forward()"}, "needs distance"),
        ({"output": "move_forward(50)"}, "distance is 50 m, above 10"),
        ({"output": 5}, "'output': is 5"),
        ({"input": " "}, "'input': is ' '"),
        ({"category": None}, "'category': is None"),
        ({"label": "x"}, "'label': is unknown"),
        ({"functions": "hop"}, "'functions': functions: declares no functions"),
        ({"functions": [{"name": "hop", "arguments": [{"name": "x", "kind": "double"}]}]}, "has kind 'double'"),
        ({"accepted": [{"fly": {}}]}, "'accepted': names 'fly'"),
    ],
)
def test_a_bad_row_is_named_with_column_and_remedy(tmp_path: Path, more: dict[str, Any], named: str) -> None:
    (tmp_path / "data.json").write_text(json.dumps([ROW, {**ROW, **more}]))
    with pytest.raises(InputError) as caught:
        read_datafile(tmp_path / "data.json", ROBOT_CODE)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 and "row 1: column" in lines[0] and named in lines[0] and ";" in lines[0]


@pytest.mark.parametrize("missing", ROW)
def test_a_missing_column_is_named(missing: str, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps([{key: value for key, value in ROW.items() if key != missing}]))
    with pytest.raises(InputError, match=f"column {missing!r}: is missing"):
        read_datafile(tmp_path / "data.json", ROBOT_CODE)


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        ("move_forward(2)", 6),
        ("move_forward(speed='normal', distance=2.0)", 5),
        ("```python\nmove_forward(2)\n```", 5),
        ("move_forward(3)", 4),
        ("move_forward(30)", 3),
        ("move_forward()", 2),
        ("fly(2)", 1),
        ("I would move forward", 0),
    ],
)
def test_an_answer_passes_as_many_steps_as_it_should(answer: str, passed: int) -> None:
    steps = ["parses", "names_known", "arguments_complete", "api_valid", "ast_equal", "exact_match"]
    found = scores((example(), answer))
    assert [found[step] for step in steps] == [float(k < passed) for k in range(6)]
    assert "bfcl_match" not in found


def test_shares_are_over_all_rows_and_within_each_category() -> None:
    moving, seeing = example(), example(output="sees('cup')", category="sensing")
    found = scores((moving, "move_forward(2)"), (moving, "stop()"), (seeing, "sees('cup')"), (seeing, "sees('cup')"))
    assert (found["n"], found["ast_equal"], found["api_valid"]) == (4, 0.75, 1)
    assert (found["movement.n"], found["movement.ast_equal"], found["sensing.ast_equal"]) == (2, 0.5, 1)


def test_bfcl_match_counts_the_rows_that_say_what_is_accepted() -> None:
    some = example(functions=OWN, output="hop(3)", accepted=[{"hop": {"times": [3, 4]}}])
    found = scores((some, "hop(4)"), (some, "hop(5)"), (example(), "stop()"))
    assert found["bfcl_match"] == 0.5 and found["n"] == 3


def test_answers_are_voted_on_by_what_they_mean() -> None:
    answers = ["stop()", "move_forward(2)", "move_forward(distance=2.0)", "nonsense(", "nonsense("]
    assert vote(ROBOT_CODE, example(), answers) == "move_forward(2)"
