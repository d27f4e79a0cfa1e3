"""One answer out of several: by key for JSON, as a whole for text, with no say for what is invalid."""

import json
from typing import Any

from ganglion.core.tasks import EXO_ASSIST, Example, Task, Turn, vote, write_answer
from ganglion.core.tasks.exo_assist import expected_answer

EXAMPLE = Example((), "?", "", {})
CODE = Task("code", "", None, 8, lambda row, folder: EXAMPLE, lambda e, a: {}, lambda e, text: text.lower() or None)


def exo(**changes: Any) -> str:
    return write_answer(expected_answer("flat", "more", 5) | changes)


def test_each_key_of_a_json_answer_is_voted_on() -> None:
    said = [exo(task="flat", assistance_delta=3), exo(task="stairs_up"), exo(task="stairs_up", reasoning="other")]
    assert json.loads(vote(EXO_ASSIST, EXAMPLE, said)) == json.loads(exo(task="stairs_up"))


def test_the_earlier_model_wins_a_tie_and_invalid_answers_have_no_say() -> None:
    assert json.loads(vote(EXO_ASSIST, EXAMPLE, [exo(task="flat"), exo(task="stairs_up")]))["task"] == "flat"
    assert json.loads(vote(EXO_ASSIST, EXAMPLE, ["{", "{", exo(task="stairs_up")]))["task"] == "stairs_up"
    assert vote(EXO_ASSIST, EXAMPLE, ["{", "["]) == "{"


def test_text_is_voted_on_by_its_meaning() -> None:
    assert vote(CODE, EXAMPLE, ["b()", "A()", "a()"]) == "A()"
    assert vote(CODE, EXAMPLE, ["", "", "c()"]) == "c()"


def test_a_dialogue_unrolls_into_its_turns() -> None:
    first = Turn((), "one", "1")
    whole = Example((), "two", "2", {"k": 1}, (first,))
    alone, again = whole.unrolled()
    assert (alone.prompt, alone.answer, alone.history) == ("one", "1", ())
    assert again == whole and whole.turns == (first, whole)
