"""Steps with propagated, true and no memory, by a scripted model: what it said early reaches what it is asked later."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import EXO_ASSIST, GUI_STEP, Example
from ganglion.core.tasks.gui_rows import COLUMNS
from ganglion.training.data.episodes import chosen, episodes
from ganglion.training.data.split import split_examples
from ganglion.training.evaluate.report import score, write_report
from ganglion.training.evaluate.steps import answer_steps, check_memories, columns

PRICES = {"a": "12", "b": "7", "c": "30"}


def output(action: str, **more: str) -> str:
    return json.dumps({"action": action, **more})


@pytest.fixture
def steps(tmp_path: Path) -> list[Example]:
    """Three tasks: note a price, press keys as often as the task's position says, type the price."""
    table = []
    for presses, (task, price) in enumerate(PRICES.items()):
        outputs = [
            output("wait", remember=f"price: {price}"),
            *[output("press", text="Tab")] * presses,
            output("type", text=price),
        ]
        for k, text in enumerate(outputs):
            Image.new("RGB", (100, 50)).save(tmp_path / f"{task}{k}.png")
            table.append(dict(zip(COLUMNS, (task, f"{task}{k}", f"type price {task}", text, ""), strict=True)))
    assert GUI_STEP.from_table
    return [GUI_STEP.read_row(row, tmp_path) for row in GUI_STEP.from_table(table)]


class Scripted:
    """Answers rightly, but misreads the price of task a, and types whatever price its prompt remembers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, column: str, examples: Sequence[Example]) -> list[str]:
        self.asked.append((column, [example.prompt for example in examples]))
        return [self._answer(example) for example in examples]

    @staticmethod
    def _answer(example: Example) -> str:
        answer: dict[str, Any] = json.loads(example.answer)
        if answer["remember"] == "price: 12":
            answer["remember"] = "price: 99"
        if answer["action"] == "type":
            facts = example.prompt.splitlines()[2]
            answer["text"] = facts.rpartition("price: ")[2] if "price" in facts else ""
        return json.dumps(answer)


def test_a_wrong_answer_changes_later_prompts_where_memory_is_propagated_and_not_where_it_is_true(
    steps: list[Example],
) -> None:
    found = answer_steps(GUI_STEP, "adapter", steps, Scripted())
    assert list(found) == ["adapter", "adapter_true_memory", "adapter_no_memory"]
    own, true, none = (found[name] for name in columns("adapter"))
    assert "Remembered: price: 99" in own.examples[1].prompt
    assert json.loads(own.texts[1])["text"] == "99"
    assert "Remembered: price: 12" in true.examples[1].prompt
    assert json.loads(true.texts[1])["text"] == "12"
    assert [example.prompt for example in true.examples] == [example.prompt for example in steps]
    assert {tuple(example.prompt.splitlines()[1:3]) for example in none.examples} == {
        ("Done: none", "Remembered: none")
    }
    # Tasks b and c were answered rightly, so their own memories are the true ones.
    assert [example.prompt for example in own.examples[2:]] == [example.prompt for example in steps[2:]]
    figures = score(GUI_STEP, steps, {name: one.texts for name, one in found.items()})
    assert figures["adapter"]["task_success"] == pytest.approx(2 / 3)
    assert figures["adapter_true_memory"]["task_success"] == 1
    assert figures["adapter_no_memory"]["task_success"] == 0
    assert figures["adapter"]["remember_accuracy"] == pytest.approx(2 / 3)


def test_an_invalid_answer_is_carried_on_as_such(steps: list[Example]) -> None:
    own = answer_steps(GUI_STEP, "adapter", steps, lambda column, examples: ["?"] * len(examples))["adapter"]
    assert own.examples[-1].prompt.splitlines()[1] == (
        "Done: 1. (no valid step); 2. (no valid step); 3. (no valid step)"
    )


def test_all_tasks_are_asked_step_by_step_together_and_nothing_twice(steps: list[Example]) -> None:
    script = Scripted()
    answer_steps(GUI_STEP, "adapter", steps, script)
    names = [column for column, _ in script.asked]
    assert names == ["adapter_true_memory", "adapter_no_memory", "adapter"]
    (_, true), (_, none), (_, own) = script.asked
    assert len(true) == len(steps)
    assert len(none) == len(steps) - 3  # the first step of each task has no memory anyway
    assert len(own) == 1 and "price: 99" in own[0]  # all else was answered rightly, so its true memory is its own


def test_every_round_of_propagation_is_one_batch_over_all_tasks(steps: list[Example]) -> None:
    rounds: list[int] = []

    def ask(column: str, examples: Sequence[Example]) -> list[str]:
        if column == "adapter":
            rounds.append(len(examples))
        return ["?"] * len(examples)

    answer_steps(GUI_STEP, "adapter", steps, ask)
    assert rounds == [3, 2, 1]  # step 1 was answered before; the tasks have 2, 3 and 4 steps


def test_memory_is_cut_to_what_the_model_takes(steps: list[Example]) -> None:
    found = answer_steps(GUI_STEP, "adapter", steps, Scripted(), lambda example, prompt: "Tab" not in prompt)
    assert found["adapter_true_memory"].examples[-1].prompt.splitlines()[1] == "Done: (3 earlier)"
    with pytest.raises(InputError, match="too long for this model"):
        answer_steps(GUI_STEP, "adapter", steps, Scripted(), lambda example, prompt: False)


def test_rows_whose_memory_is_not_that_of_the_steps_before_are_refused(steps: list[Example]) -> None:
    check_memories(GUI_STEP, steps)
    with pytest.raises(InputError, match="row 0: its memory is not what the 0 steps of its task before it leave"):
        check_memories(GUI_STEP, steps[1:])
    with pytest.raises(InputError, match=r"row 1: .* the 1 steps"):
        check_memories(GUI_STEP, [steps[0], replace(steps[1], prompt="other"), *steps[2:]])


def test_steps_that_lie_apart_are_refused(steps: list[Example]) -> None:
    assert episodes(GUI_STEP, steps) == [[0, 1], [2, 3, 4], [5, 6, 7, 8]]
    with pytest.raises(InputError, match="row 8 goes on with task 'a', left before; sort rows by task"):
        episodes(GUI_STEP, [*steps[:1], *steps[2:], steps[1]])


@pytest.mark.parametrize(
    ("options", "tasks"),
    [
        ({}, "abc"),
        ({"most": 2}, "ab"),
        ({"start": 1}, "bc"),
        ({"end": 2}, "ab"),
        ({"start": 1, "end": 2}, "b"),
        ({"start": 1, "most": 1}, "b"),
        ({"rows": 4}, "a"),
        ({"rows": 5}, "ab"),
        ({"rows": 1}, "a"),
        ({"end": 9}, "abc"),
    ],
)
def test_whole_tasks_are_chosen(steps: list[Example], options: dict[str, int], tasks: str) -> None:
    found = chosen(GUI_STEP, steps, **options)
    assert list(found) == [step for step in steps if step.row["task_id"] in tasks]


def test_a_range_without_tasks_is_refused_and_one_of_rows_that_stand_alone_too(steps: list[Example]) -> None:
    with pytest.raises(InputError, match="tasks 3 to None of 3 are none"):
        chosen(GUI_STEP, steps, start=3)
    alone = [Example((), "p", "a", {})] * 3
    assert len(chosen(EXO_ASSIST, alone, rows=2)) == 2
    for name, option in {"start": "task_start", "end": "task_end", "most": "max_tasks"}.items():
        with pytest.raises(InputError, match=f"--{option} means nothing for exo_assist, whose rows stand alone"):
            chosen(EXO_ASSIST, alone, **{name: 1})


def test_a_split_keeps_tasks_whole(steps: list[Example]) -> None:
    assert GUI_STEP.sequential
    named = [
        replace(step, images=(Path(f"{copy}-{k}.png"),), row={"task_id": f"{copy}{step.row['task_id']}"})
        for copy in range(20)
        for k, step in enumerate(steps)
    ]
    learned, held = split_examples(named, 0.3, 0, GUI_STEP.sequential.episode)
    assert len(learned) + len(held) == len(named) and held
    assert not {step.row["task_id"] for step in learned} & {step.row["task_id"] for step in held}
    apart = split_examples(named, 0.3, 0)
    assert {step.row["task_id"] for step in apart[0]} & {step.row["task_id"] for step in apart[1]}


def test_the_report_has_every_step_with_its_prompt_as_asked(steps: list[Example], tmp_path: Path) -> None:
    found = answer_steps(GUI_STEP, "adapter", steps, Scripted())
    answers = {name: one.texts for name, one in found.items()}
    asked = {name: one.examples for name, one in found.items()}
    write_report(tmp_path, GUI_STEP, steps, answers, score(GUI_STEP, steps, answers), asked)
    details = [json.loads(line) for line in (tmp_path / "details.jsonl").read_text().splitlines()]
    assert [(detail["task"], detail["step"]) for detail in details[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert "price: 99" in details[1]["adapter"]["prompt"]
    assert "price: 12" in details[1]["adapter_true_memory"]["prompt"]
    assert details[1]["adapter"]["wrong"] == ["text"]
    header = (tmp_path / "predictions.csv").read_text().splitlines()[0]
    assert header == "row,task,step,images,prompt,expected,adapter,adapter_true_memory,adapter_no_memory"
