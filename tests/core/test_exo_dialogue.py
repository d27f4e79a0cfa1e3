"""A running dialogue: the level stays within the limits, and the history is what training shows, for any answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.tasks import ExoDialogue, write_answer
from ganglion.core.tasks.exo_dialogue import INVALID
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS, FEEDBACK, INITIAL_ASSISTANCE, TERRAINS, expected_answer

LOW, HIGH = ASSISTANCE_LIMITS
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
LIKELY = st.builds(
    lambda **answer: json.dumps(answer),
    task=st.sampled_from(list(TERRAINS)) | st.text(),
    terrain_difficulty=st.sampled_from(list(INITIAL_ASSISTANCE)),
    initial_assistance=st.sampled_from([3, 6, 9, 3.0]),
    assistance_delta=st.integers() | st.integers(-25, 25) | st.floats() | st.sampled_from([20, -20, 20.0, True, "5"]),
    reasoning=st.text(max_size=130),
)
ANSWERS = st.text() | JSON.map(json.dumps) | LIKELY
LEVELS = st.integers(LOW, HIGH) | st.floats(LOW, HIGH)


def says(delta: int, terrain: str = "flat") -> str:
    return write_answer({**expected_answer(terrain, "none", 10), "assistance_delta": delta})


@given(LEVELS, st.lists(st.tuples(st.text(max_size=9), st.booleans(), ANSWERS), max_size=12), st.integers(0, 4))
def test_the_level_never_leaves_the_limits_and_history_adds_up(
    previous: float, exchanges: list[tuple[str, bool, str]], kept: int
) -> None:
    dialogue = ExoDialogue(previous, kept)
    for index, (said, shown, text) in enumerate(exchanges):
        question = dialogue.ask(said, (f"image {index}",) if shown or index == 0 else ())
        assert f"Previous assistance: {dialogue.level:g}%" in question.prompt
        before = dialogue.level
        outcome = dialogue.take(text)
        assert LOW <= outcome.level == dialogue.level <= HIGH
        assert outcome.level == pytest.approx(before + outcome.delta)
        assert (outcome.answer is None) == (outcome.note == INVALID)
        assert outcome.answer is not None or outcome.level == before
        assert len(dialogue.history) <= kept
        whole = (*question.history, question)
        assert whole[0].images and [e.images for e in whole if e.images][-1] == question_images(exchanges, index)
    changes = [json.loads(exchange.answer)["assistance_delta"] for exchange in dialogue.history]
    said_levels = [float(e.prompt.split("assistance: ")[1].split("%")[0]) for e in dialogue.history]
    for level, change, after in zip(said_levels, changes, [*said_levels, dialogue.level][1:], strict=True):
        assert level + change == pytest.approx(after, abs=1e-3)  # prompts say six digits


def question_images(exchanges: list[tuple[str, bool, str]], index: int) -> tuple[str]:
    last = max(k for k in range(index + 1) if exchanges[k][1] or k == 0)
    return (f"image {last}",)


@given(LEVELS, st.lists(st.tuples(st.sampled_from(list(TERRAINS)), st.sampled_from(list(FEEDBACK)))))
def test_what_the_rules_answer_is_applied_as_it_is(previous: float, asked: list[tuple[str, str]]) -> None:
    dialogue = ExoDialogue(previous)
    for terrain, kind in asked:
        dialogue.ask("", ["image"])
        answer = expected_answer(terrain, kind, dialogue.level)
        outcome = dialogue.take(write_answer(answer))
        assert outcome.answer == answer and outcome.note == ""


def test_a_change_beyond_the_limit_is_cut_and_history_says_what_was_made() -> None:
    dialogue = ExoDialogue(18)
    dialogue.ask("more", ["image"])
    outcome = dialogue.take(says(20))
    assert (outcome.level, outcome.delta, outcome.note) == (20, 2, "change of +20 cut to +2: limit reached")
    assert outcome.answer is not None and outcome.answer["assistance_delta"] == 2
    assert json.loads(dialogue.ask("again").history[0].answer) == outcome.answer


def test_an_invalid_answer_changes_nothing_and_the_image_is_shown_again() -> None:
    dialogue = ExoDialogue(7)
    dialogue.ask("more", ["image"])
    outcome = dialogue.take('{"assistance_delta": 3}')
    assert (outcome.answer, outcome.delta, outcome.level, outcome.note) == (None, 0, 7, INVALID)
    question = dialogue.ask("more")
    assert question.history == () and question.images == ("image",)


def test_the_image_is_shown_once_until_another_comes() -> None:
    dialogue = ExoDialogue(7)
    shown = []
    for images in (["a"], [], ["b"], []):
        shown.append(dialogue.ask("", images).images)
        dialogue.take(says(0))
    assert shown == [("a",), (), ("b",), ()]


def test_only_so_many_exchanges_are_carried_and_the_image_with_them() -> None:
    dialogue = ExoDialogue(7, exchanges_kept=2)
    for said in "abcd":
        dialogue.ask(said, ["image"] if said == "a" else [])
        dialogue.take(says(1))
    question = dialogue.ask("e")
    assert [exchange.images for exchange in question.history] == [("image",), ()]
    assert '"c"' in question.history[0].prompt and question.images == ()


def test_deeply_nested_brackets_are_an_invalid_answer() -> None:
    dialogue = ExoDialogue(7)
    dialogue.ask("", ["image"])
    assert dialogue.take("[" * 100_000).note == INVALID


@pytest.mark.parametrize("previous", [-1, 20.5, float("nan"), float("inf")])
def test_a_level_outside_the_limits_is_refused_at_the_start(previous: float) -> None:
    with pytest.raises(InputError, match=r"previous assistance is .*; give 0 to 20"):
        ExoDialogue(previous)


def test_using_it_in_the_wrong_order_is_named() -> None:
    dialogue = ExoDialogue(7)
    with pytest.raises(InputError, match="no image"):
        dialogue.ask("hello")
    with pytest.raises(GanglionError, match="before a question"):
        dialogue.take(says(0))


def test_pictures_in_memory_are_passed_on_untouched() -> None:
    import numpy as np

    picture: Any = np.zeros((4, 4, 3), np.uint8)
    dialogue = ExoDialogue(7)
    assert dialogue.ask("", [picture]).images[0] is picture
    dialogue.take(says(0))
    assert dialogue.ask("").history[0].images[0] is picture
