"""Both memories of a task on a screen: what goes in, what falls out, and how they come back from a file."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.errors import InputError
from ganglion.core.gui_memory import (
    FACT_CHARACTERS,
    FACTS_KEPT,
    NO_STEP,
    STEPS_KEPT,
    GuiMemory,
    LongTermMemory,
    ShortTermMemory,
    step_words,
)
from ganglion.core.tasks.gui_prompt import prompt


def answer(action: str = "click", **more: Any) -> dict[str, Any]:
    return {"action": action, "target": "", "point": None, "text": "", "remember": "", **more}


def after(count: int) -> GuiMemory:
    memory = GuiMemory()
    for number in range(1, count + 1):
        memory = memory.after(answer(target=f"button {number}", remember=f"fact {number}"))
    return memory


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(target="Next"), 'click "Next"'),
        (answer("type", text="abc"), 'type "abc"'),
        (answer("type", text="abc", target="Name"), 'type "abc" in "Name"'),
        (answer("plan", text="open it\nsave it\n"), 'plan "open it; save it"'),
        (answer("type", text='say "hi"'), "type \"say 'hi'\""),
        (answer("done"), "done"),
        ({"action": "drag", "point": [1, 2]}, "drag"),
        ({"action": "drag", "target": None, "text": None}, "drag"),
        (None, NO_STEP),
    ],
)
def test_a_step_is_remembered_in_words(said: Any, words: str) -> None:
    assert step_words(said) == words
    assert ShortTermMemory().after(said).steps == (words,)


def test_the_last_steps_are_kept_and_numbered_on() -> None:
    memory = after(11).short_term
    assert len(memory.steps) == STEPS_KEPT == 8
    assert (memory.earlier, memory.count) == (3, 11)
    assert memory.text.startswith('(3 earlier); 4. click "button 4"; 5. ')
    assert memory.to_json()[0] == '4. click "button 4"'


def test_the_newest_facts_are_kept() -> None:
    facts = after(20).long_term.facts
    assert len(facts) == FACTS_KEPT == 16
    assert (facts[0], facts[-1]) == ("fact 5", "fact 20")


def test_a_fact_takes_the_place_of_an_equal_one_and_of_one_with_its_key() -> None:
    memory = LongTermMemory()
    for fact in ("Price: 12", "name: Ada", "it rains", "price: 15", "It  Rains", "price", ""):
        memory = memory.after(answer(remember=fact))
    assert memory.facts == ("name: Ada", "price: 15", "It Rains", "price")


def test_an_invalid_answer_is_a_step_but_no_fact() -> None:
    memory = after(1).after(None)
    assert memory.short_term.steps == ('click "button 1"', NO_STEP)
    assert memory.long_term == after(1).long_term


@given(
    st.lists(st.none() | st.tuples(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300)), max_size=30)
)
def test_whatever_is_answered_memories_keep_their_bounds_and_come_back_from_json(said: list[Any]) -> None:
    memory = GuiMemory()
    for one in said:
        memory = memory.after(one and answer("type", text=one[0], target=one[1], remember=one[2]))
    assert memory.short_term.count == len(said)
    assert len(memory.short_term.steps) <= STEPS_KEPT
    assert len(memory.long_term.facts) <= FACTS_KEPT
    assert all(len(fact) <= FACT_CHARACTERS for fact in memory.long_term.facts)
    assert GuiMemory.from_json(json.loads(json.dumps(memory.to_json()))) == memory
    assert len(prompt("goal", memory).splitlines()) == 4


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "is None"),
        ("click", "is 'click'"),
        ([1], r"is \[1\]"),
        ([""], "has the entry ''"),
        (["a\nb"], "has the entry"),
        (["x" * 400], "at most 320 characters"),
        (["wait"] * 9, "has 9 entries"),
        (["1. wait", "3. wait"], "do not follow one another"),
        (["wait", "2. wait"], "do not follow one another"),
    ],
)
def test_what_is_no_short_term_memory_is_refused(data: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        ShortTermMemory.from_json(data)


@pytest.mark.parametrize("data", [None, {}, ["x" * 81], ["a  b"], ["f"] * 17, [["f"]]])
def test_what_is_no_long_term_memory_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="long-term memory"):
        LongTermMemory.from_json(data)


def test_steps_without_numbers_count_from_one() -> None:
    assert ShortTermMemory.from_json(["wait", "done"]).to_json() == ["1. wait", "2. done"]
    with pytest.raises(InputError, match="earlier is -1"):
        ShortTermMemory((), -1)


def test_a_prompt_shows_goal_and_memories() -> None:
    assert prompt("buy\nmilk", GuiMemory()).splitlines() == [
        "Goal: buy; milk",
        "Done: none",
        "Remembered: none",
        "Next step? Reply in JSON.",
    ]
    assert prompt("g", after(2)).splitlines()[1:3] == [
        'Done: 1. click "button 1"; 2. click "button 2"',
        "Remembered: fact 1; fact 2",
    ]


def test_a_prompt_that_does_not_fit_loses_steps_first_then_facts_oldest_first_and_says_how_many() -> None:
    memory = after(10)
    whole = prompt("g", memory)
    assert prompt("g", memory, lambda text: len(text) <= len(whole)) == whole
    shorter = prompt("g", memory, lambda text: len(text) < len(whole))
    assert shorter.splitlines()[1].startswith('Done: (3 earlier); 4. click "button 4"')
    assert shorter.splitlines()[2] == whole.splitlines()[2]
    no_steps = prompt("g", memory, lambda text: "button" not in text)
    assert no_steps.splitlines()[1:3] == ["Done: (10 earlier)", whole.splitlines()[2]]
    few_facts = prompt("g", memory, lambda text: "fact 8" not in text)
    assert few_facts.splitlines()[1:3] == ["Done: (10 earlier)", "Remembered: fact 9; fact 10"]


def test_the_goal_is_never_cut() -> None:
    with pytest.raises(InputError, match="the goal 'a long goal' is too long"):
        prompt("a long goal", after(3), lambda text: False)
