"""Hand-labeled steps: what counts as right, and what each figure is taken over."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganglion.core.tasks import GUI_STEP, Example

WIDTH, HEIGHT = 1000, 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    return tmp_path


def step(folder: Path, output: dict[str, Any], grounding: Any = None, task: str = "t") -> Example:
    row = {"task_id": task, "image_path": "a.png", "goal": "g", "output": output, "grounding": grounding}
    return GUI_STEP.read_row({**row, "short_term_memory": [], "long_term_memory": []}, folder)


def said(action: str = "click", **more: Any) -> str:
    return json.dumps({"action": action, "target": "", "point": None, "text": "", "remember": "", **more})


def scores(example: Example, answer: str) -> dict[str, float]:
    return GUI_STEP.metrics([example], [answer])


CLICK = {"action": "click", "target": "Next"}
BOX = {"box": [100, 50, 120, 60]}  # a thousandth of the height is half a pixel
RIGHT = said(target="Next", point=[110, 110])


def test_the_expected_answer_is_right_in_all(folder: Path) -> None:
    found = scores(step(folder, {**CLICK, "remember": "price: 12"}, BOX), said(point=[110, 110], target="Next"))
    assert found["remember_accuracy"] == 0
    example = step(folder, CLICK, BOX)
    assert json.loads(example.answer) == json.loads(RIGHT)
    found = scores(example, example.answer)
    assert "remember_accuracy" not in found
    assert all(value == 1 for name, value in found.items() if "distance" not in name)
    assert found["point_distance_px_mean"] == found["action.click.point_distance_px_median"] == 0


@pytest.mark.parametrize(
    ("point", "hit"),
    [
        ([100, 100], 1),
        ([99, 100], 0),
        ([100, 99], 0),
        ([119, 119], 1),
        ([120, 119], 0),
        ([119, 120], 0),
        (None, 0),
    ],
)
def test_one_pixel_beside_the_box_is_a_miss(folder: Path, point: Any, hit: int) -> None:
    found = scores(step(folder, CLICK, BOX), said(target="Next", point=point))
    assert (found["grounding_hit"], found["step_success"], found["task_success"]) == (hit, hit, hit)
    assert (found["json_valid_rate"], found["action_accuracy"]) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "[]",
        RIGHT[:-1],
        RIGHT[:40],
        f"Sure! {RIGHT}",
        f"{RIGHT} Done.",
        f"```json\n{RIGHT}\n```",
        RIGHT + RIGHT,
        RIGHT.replace('"click"', '"tap"'),
        RIGHT.replace("[110, 110]", "[110]"),
        RIGHT.replace("[110, 110]", "[110, 110, 110]"),
        RIGHT.replace("[110, 110]", "[110, 1001]"),
        RIGHT.replace("[110, 110]", "[-1, 110]"),
        RIGHT.replace("[110, 110]", "[110.5, 110]"),
        RIGHT.replace("[110, 110]", '"110, 110"'),
        RIGHT.replace("[110, 110]", "[NaN, 110]"),
        RIGHT.replace(', "remember": ""', ""),
        RIGHT.replace("}", ', "why": ""}'),
        RIGHT.replace("Next", "N" * 81),
        "[" * 100_000,
    ],
)
def test_what_is_not_exactly_an_answer_is_wrong_in_all(folder: Path, text: str) -> None:
    found = scores(step(folder, CLICK, BOX), text)
    for name in ("json_valid_rate", "action_accuracy", "argument_accuracy", "grounding_hit", "step_success"):
        assert found[name] == 0, name
    assert found["point_rate"] == 0
    assert "point_distance_px_mean" not in found


def test_a_duplicate_key_does_not_count_as_right(folder: Path) -> None:
    doubled = RIGHT.replace("{", '{"action": "press", ', 1)
    found = scores(step(folder, CLICK, BOX), doubled)
    assert (found["json_valid_rate"], found["step_success"]) == (0, 0)


@pytest.mark.parametrize(
    ("text", "right"),
    [("Ada Lovelace", 1), ("ada  LOVELACE ", 1), ("Ada", 0), ("", 0), ("Ada Lovelace!", 0), ("AdaLovelace", 0)],
)
def test_case_and_white_space_of_a_text_do_not_matter(folder: Path, text: str, right: int) -> None:
    found = scores(step(folder, {"action": "type", "text": "Ada Lovelace"}), said("type", text=text))
    assert (found["argument_accuracy"], found["step_success"]) == (right, right)


def test_a_target_is_compared_only_where_one_is_expected_and_is_no_part_of_success(folder: Path) -> None:
    wrong = scores(step(folder, CLICK, BOX), said(target="Back", point=[110, 110]))
    assert (wrong["argument_accuracy"], wrong["step_success"]) == (0, 1)
    free = scores(step(folder, {"action": "click"}, BOX), said(target="Back", point=[110, 110]))
    assert free["argument_accuracy"] == 1


def test_a_step_that_acts_nowhere_needs_a_null_point(folder: Path) -> None:
    example = step(folder, {"action": "press", "text": "Enter"})
    assert scores(example, said("press", text="Enter"))["step_success"] == 1
    pointing = scores(example, said("press", text="Enter", point=[1, 1]))
    assert (pointing["step_success"], pointing["argument_accuracy"]) == (0, 1)
    assert "grounding_hit" not in pointing and "point_rate" not in pointing


def test_a_point_without_a_box_gives_a_distance_and_no_hit(folder: Path) -> None:
    example = step(folder, {"action": "move"}, {"point": [100, 50]})
    found = scores(example, said("move", point=[130, 180]))
    assert found["point_distance_px_median"] == pytest.approx(50)  # 30 pixels across, 80 thousandths of 500 down
    assert "grounding_hit" not in found
    assert found["step_success"] == 1
    missing = scores(example, said("move"))
    assert (missing["step_success"], missing["point_rate"]) == (0, 0)


def test_median_and_mean_are_over_the_points_given(folder: Path) -> None:
    example = step(folder, {"action": "move"}, {"point": [100, 50]})
    answers = [said("move", point=[100 + off, 100]) for off in (0, 10, 80)] + [said("move"), "{"]
    found = GUI_STEP.metrics([example] * 5, answers)
    assert (found["point_distance_px_median"], found["point_distance_px_mean"]) == (
        pytest.approx(10),
        pytest.approx(30),
    )
    assert found["point_rate"] == pytest.approx(0.6)


def test_a_task_succeeds_where_all_its_steps_do(folder: Path) -> None:
    steps = [
        step(folder, CLICK, BOX, "a"),
        step(folder, {"action": "done"}, None, "a"),
        step(folder, CLICK, BOX, "b"),
        step(folder, {"action": "done"}, None, "b"),
    ]
    found = GUI_STEP.metrics(steps, [RIGHT, said("done"), RIGHT, said("wait")])
    assert (found["step_success"], found["task_success"]) == (0.75, 0.5)
    assert (found["action.click.n"], found["action.done.n"]) == (2, 2)
    assert (found["action.click.action_accuracy"], found["action.done.action_accuracy"]) == (1, 0.5)
    assert "action.wait.n" not in found and "action.done.grounding_hit" not in found
