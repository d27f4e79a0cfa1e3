"""ScreenAgent sessions as steps: the real ones, and what is refused, each time in one line that names the file."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import GUI_STEP
from ganglion.training.data.importers.screenagent import screenagent_rows

Data = dict[str, Any]


def mouse(kind: str, x: Any, y: Any, button: str | None = "left") -> Data:
    position = {"width": x, "height": y}
    named = {"mouse_button": button} if button else {}
    return {"action_type": "MouseAction", "mouse_action_type": kind, "mouse_position": position, **named}


def session_step(*actions: Data, english: list[Data] | None = None) -> Data:
    return {
        "task_prompt": "保存",
        "task_prompt_en": "Save the file",
        "saved_image_name": "s.jpg",
        "video_width": 100,
        "video_height": 50,
        "actions": list(actions),
        "LLM_response_editer_en": f"Well:\n```json\n{json.dumps(english or list(actions))}\n```",
    }


PLAN = [{"action_type": "PlanAction", "element": line} for line in ("打开", "保存")]
PLAN_EN = [{"action_type": "PlanAction", "element": line} for line in ("Open the menu", "Press  save")]
RETRY = {"action_type": "EvaluateSubTaskAction", "situation": "need_retry", "advice": "不对"}
RETRY_EN = {**RETRY, "advice": "That was the wrong place"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "one/images").mkdir(parents=True)
    Image.new("RGB", (100, 50)).save(tmp_path / "one/images/s.jpg")
    return tmp_path


def write(source: Path, *steps: Any) -> None:
    for minute, step in enumerate(steps, 10):
        text = step if isinstance(step, str) else json.dumps(step)
        (source / f"one/2024-01-03_16-{minute}-01-713377_translate.json").write_text(text)


def test_actions_become_steps_with_english_words_and_memories(source: Path) -> None:
    write(
        source,
        session_step(*PLAN, english=PLAN_EN),
        session_step(mouse("move", 10, 5, None), mouse("drag", 99, 49), mouse("click", 50, 25, "right")),
        session_step(
            {"action_type": "KeyboardAction", "keyboard_action_type": "text", "keyboard_text": "my_slide"},
            {"action_type": "KeyboardAction", "keyboard_action_type": "press", "keyboard_key": "Ctrl+S"},
            {"action_type": "MouseAction", "mouse_action_type": "scroll_down", "scroll_repeat": 3},
            {"action_type": "WaitAction", "wait_time": 2.0},
        ),
        session_step(RETRY, english=[RETRY_EN]),
    )
    (source / "one/2024-01-03_16-11-01-713377_translate_neg_eval.json").write_text("{")
    found = list(screenagent_rows(source))
    assert [row["output"] for row in found] == [
        {"action": "plan", "text": "Open the menu\nPress save"},
        {"action": "move"},
        {"action": "drag"},
        {"action": "right_click"},
        {"action": "type", "text": "my_slide"},
        {"action": "press", "text": "Ctrl+S"},
        {"action": "scroll", "text": "down"},
        {"action": "wait", "text": "2"},
        {"action": "evaluate", "text": "need_retry", "remember": "That was the wrong place"},
    ]
    assert [row["grounding"] for row in found[:4]] == [None, *({"point": p} for p in ([10, 5], [99, 49], [50, 25]))]
    assert {(row["task_id"], row["goal"]) for row in found} == {("one", "Save the file")}
    assert found[3]["short_term_memory"] == ['1. plan "Open the menu; Press save"', "2. move", "3. drag"]
    assert all(Path(row["image_path"]).is_absolute() for row in found)
    assert list(screenagent_rows(source / "one")) == found


def test_the_real_sessions_are_valid_steps(shared_data: Path) -> None:
    found = list(screenagent_rows(shared_data / "screenagent_steps"))
    examples = [GUI_STEP.read_row(row, Path()) for row in found]
    assert len({row["task_id"] for row in found}) == 11
    assert sum(row["grounding"] is not None for row in found) == 60
    assert Counter(row["output"]["action"] for row in found) == {
        "evaluate": 47,
        "click": 34,
        "move": 12,
        "plan": 11,
        "drag": 7,
        "right_click": 3,
        "double_click": 2,
        "type": 2,
        "press": 1,
        "wait": 1,
        "mouse_down": 1,
        "mouse_up": 1,
    }
    assert not any(ord(letter) > 0x2000 for example in examples for letter in example.prompt + example.answer)
    scores = GUI_STEP.metrics(examples, [example.answer for example in examples])
    assert scores["step_success"] == scores["task_success"] == 1
    assert scores["point_distance_px_mean"] < 0.72  # half a thousandth of 1024 x 768 at most
    assert GUI_STEP.sequential
    episodes = [GUI_STEP.sequential.episode(example) for example in examples]
    assert episodes == sorted(episodes)


def changed(**values: Any) -> Data:
    return {**session_step(mouse("click", 50, 25)), **values}


def without(key: str) -> Data:
    return {name: value for name, value in changed().items() if name != key}


def keyboard(kind: Any, **more: Any) -> Data:
    return session_step({"action_type": "KeyboardAction", "keyboard_action_type": kind, **more})


BAD_STEPS: list[tuple[Any, str]] = [
    ("", "can't be read"),
    ("{", "can't be read"),
    ("[" * 100_000, "can't be read"),
    ("[]", "holds list, not an object"),
    (without("task_prompt_en"), "task_prompt_en is 'None', not a text"),
    (changed(task_prompt_en=" "), "task_prompt_en is ' '"),
    (changed(task_prompt_en=["Save the file"]), "task_prompt_en is \"['Save the file']\", not a text"),
    (without("saved_image_name"), "saved_image_name is 'None'"),
    (changed(saved_image_name="../s.jpg"), "saved_image_name is '../s.jpg', not a file name"),
    (changed(saved_image_name="none.jpg"), "none.jpg does not exist"),
    (changed(saved_image_name="broken.jpg"), "broken.jpg can't be decoded"),
    (without("actions"), "actions is 'None', not a list of them"),
    (changed(actions=[]), "actions is '[]', not a list of them"),
    (changed(actions=["click"]), "actions holds what is no object"),
    (session_step({}), "action_type is None"),
    (session_step({"action_type": "Jump"}), "action_type is 'Jump'"),
    (session_step(mouse("hover", 5, 5)), "a 'hover' of the mouse's button 'left' is no step"),
    (session_step(mouse("click", 5, 5, "middle")), "a 'click' of the mouse's button 'middle' is no step"),
    (session_step({"action_type": "MouseAction", "mouse_action_type": "click"}), "mouse_position is None"),
    (session_step({**mouse("click", 5, 5), "mouse_position": [5, 5]}), "mouse_position is [5, 5]"),
    (session_step(mouse("click", None, 5)), "width is 'None', not a number from 0"),
    (session_step(mouse("click", "5", 5)), "width is '5', not a number from 0"),
    (session_step(mouse("click", True, 5)), "width is 'True', not a number from 0"),
    (session_step(mouse("click", 5, -1)), "height is '-1', not a number from 0"),
    (session_step(mouse("click", float("nan"), 5)), "width is 'nan', not a number from 0"),
    (session_step(mouse("click", float("inf"), 5)), "width is 'inf', not a number from 0"),
    (session_step(mouse("click", 100, 5)), "is [100, 5], outside the 100 x 50 screenshot"),
    (session_step(mouse("move", 5, 50)), "is [5, 50], outside the 100 x 50 screenshot"),
    (keyboard("down", keyboard_key="a"), "a 'down' of the keyboard is no step"),
    (keyboard("text"), "keyboard_text is 'None', not a text"),
    (keyboard("text", keyboard_text="x" * 201), "column 'output.text': has 201 characters"),
    (keyboard("press", keyboard_key=5), "keyboard_key is '5', not a text"),
    (session_step({"action_type": "WaitAction"}), "wait_time is 'None', not a number from 0"),
    (session_step({"action_type": "WaitAction", "wait_time": -1}), "wait_time is '-1', not a number from 0"),
    (session_step({"action_type": "EvaluateSubTaskAction"}), "situation is 'None', not a text"),
    (session_step(*PLAN, english=PLAN_EN[:1]), "LLM_response_editer_en has 1 actions, and actions 2"),
    (session_step(*PLAN, english=[RETRY_EN, RETRY_EN]), "LLM_response_editer_en has other actions"),
    (session_step(*PLAN, english=[{"action_type": "PlanAction"}] * 2), "element is 'None', not a text"),
    ({**session_step(*PLAN), "LLM_response_editer_en": None}, "LLM_response_editer_en is 'None', not a text"),
    ({**session_step(*PLAN), "LLM_response_editer_en": "```json\n[{\n```"}, "holds actions that are not JSON"),
    (session_step({"action_type": "PlanAction"}, english=[{"action_type": "PlanAction", "element": "x" * 201}]), "201"),
]


@pytest.mark.parametrize(("bad", "problem"), BAD_STEPS, ids=range(len(BAD_STEPS)))
def test_a_malformed_step_is_one_line_that_names_its_file(source: Path, bad: Any, problem: str) -> None:
    (source / "one/images/broken.jpg").write_bytes(b"no image")
    write(source, session_step(mouse("click", 50, 25)), bad)
    found = screenagent_rows(source)
    assert next(found)["output"] == {"action": "click"}
    line = refused(lambda: list(found))
    assert "2024-01-03_16-11-01-713377_translate.json: " in line and problem in line, line


def test_a_session_has_one_goal(source: Path) -> None:
    write(source, changed(), changed(task_prompt_en="Other"))
    assert "has the task 'Other', the step before 'Save the file'" in refused(lambda: list(screenagent_rows(source)))


def test_a_step_is_named_by_its_time(source: Path) -> None:
    (source / "one/late_translate.json").write_text(json.dumps(changed()))
    assert "late_translate.json: is not named by its time" in refused(lambda: list(screenagent_rows(source)))


def test_a_folder_without_sessions_is_refused(source: Path) -> None:
    assert "holds no sessions" in refused(lambda: list(screenagent_rows(source)))
    assert "no such folder" in refused(lambda: list(screenagent_rows(source / "none")))


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and line.count("; ") == 1 and len(line) < 600
    return line
