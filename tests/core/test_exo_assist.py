import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ganglion.core.tasks import EXO_ASSIST, RowError, get_task, read_answer, write_answer
from ganglion.core.tasks.exo_assist import ASSISTANCE_LIMITS, FEEDBACK, TERRAINS, expected_answer, feedback_kind

ROW = {
    "image_path": "a.jpg",
    "user_feedback": "need more help",
    "previous_assistance": 6,
    "expected_output": expected_answer("uphill_moderate", "more", 6),
}


def every_case():
    low, high = ASSISTANCE_LIMITS
    return [(t, k, p) for t in TERRAINS for k in FEEDBACK for p in range(low, high + 1)]


def test_every_rule_gives_a_valid_answer_within_the_limits():
    low, high = ASSISTANCE_LIMITS
    Draft202012Validator.check_schema(EXO_ASSIST.schema)
    for terrain, kind, previous in every_case():
        answer = expected_answer(terrain, kind, previous)
        assert read_answer(write_answer(answer), EXO_ASSIST.schema) == answer
        assert low <= previous + answer["assistance_delta"] <= high


def test_more_help_is_positive_less_is_negative_and_pain_counts_more_on_steep_ground():
    def delta(terrain, kind):
        return expected_answer(terrain, kind, 10)["assistance_delta"]

    for terrain in TERRAINS:
        assert delta(terrain, "more") > 0 > delta(terrain, "less")
        assert delta(terrain, "pain") > 0 == delta(terrain, "none")
    assert delta("uphill_steep", "pain") > delta("flat", "pain")


@pytest.mark.parametrize(("difficulty", "percent"), [("gentle", 3), ("moderate", 6), ("steep", 9)])
def test_initial_assistance_follows_difficulty(difficulty, percent):
    answers = [expected_answer(t, "none", 6) for t, ground in TERRAINS.items() if ground.difficulty == difficulty]
    assert answers and all(answer["initial_assistance"] == percent for answer in answers)


def test_phrases_are_recognized_whatever_their_case_and_marks():
    assert feedback_kind("Ouch!") == "pain"
    assert feedback_kind(" need more help. ") == "more"
    assert feedback_kind("") == "none"
    assert feedback_kind("what a nice day") is None


def test_no_phrase_belongs_to_two_kinds():
    phrases = [phrase for feedback in FEEDBACK.values() for phrase in feedback.phrases]
    assert len(set(phrases)) == len(phrases)


def test_a_row_becomes_prompt_image_and_answer():
    example = EXO_ASSIST.read_row(ROW, Path("folder"))
    assert example.images == (Path("folder/a.jpg"),)
    assert "need more help" in example.prompt and "6%" in example.prompt
    assert json.loads(example.answer) == ROW["expected_output"]
    assert list(json.loads(example.answer)) == EXO_ASSIST.schema["required"]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"previous_assistance": "NaN"}, "previous_assistance"),
        ({"previous_assistance": 400}, "previous_assistance"),
        ({"previous_assistance": True}, "previous_assistance"),
        ({"user_feedback": None}, "user_feedback"),
        ({"image_path": ""}, "image_path"),
        ({"feedback": "ow"}, "feedback"),
        ({"expected_output": "flat"}, "expected_output"),
        ({"expected_output": {**ROW["expected_output"], "task": "swamp"}}, "expected_output.task"),
        ({"expected_output": {**ROW["expected_output"], "assistance_delta": 0.5}}, "expected_output.assistance_delta"),
        ({"expected_output": {**ROW["expected_output"], "assistance_delta": 99}}, "expected_output.assistance_delta"),
        ({"expected_output": {**ROW["expected_output"], "reasoning": ""}}, "expected_output.reasoning"),
        ({"expected_output": {**ROW["expected_output"], "note": 1}}, "expected_output.note"),
    ],
)
def test_a_bad_row_names_its_column(change, column):
    with pytest.raises(RowError, match=f"column '{column}'"):
        EXO_ASSIST.read_row({**ROW, **change}, Path())


def test_metrics_of_perfect_wrong_and_broken_answers():
    example = EXO_ASSIST.read_row(ROW, Path())
    wrong = write_answer(expected_answer("flat", "less", 6))
    scores = EXO_ASSIST.metrics([example] * 4, [example.answer, example.answer, wrong, "{"])
    assert scores["n"] == 4
    assert scores["json_valid_rate"] == 0.75
    assert scores["terrain_accuracy"] == scores["exact_match"] == scores["delta_sign_accuracy"] == 0.5
    assert scores["delta_mae"] == pytest.approx((0 + 0 + 4) / 3)


def test_tasks_are_found_by_name():
    assert get_task("exo_assist") is EXO_ASSIST
