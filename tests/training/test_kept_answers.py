"""Answers kept on disk: found again for the same model and question only, whatever a killed process left."""

import dataclasses
from pathlib import Path

import pytest

from ganglion.core.tasks import Example, Turn
from ganglion.training.evaluate.kept_answers import KeptAnswers


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    first = Turn((tmp_path / "a",), "one", "1")
    return [Example((), "two", "2", {}, (first,)), Example((tmp_path / "b",), "one", "1", {})]


def kept(folder: Path, examples: list[Example], identity: str = "model") -> KeptAnswers:
    return KeptAnswers(folder / "new/answers-adapter.jsonl", identity, examples)


def test_what_was_kept_is_known_again(tmp_path: Path, examples: list[Example]) -> None:
    assert kept(tmp_path, examples).known == {}
    kept(tmp_path, examples).keep({1: "é\n {"})
    kept(tmp_path, examples).keep({0: ""})
    assert kept(tmp_path, examples).known == {0: "", 1: "é\n {"}
    assert kept(tmp_path, examples[::-1]).known == {1: "", 0: "é\n {"}


def test_another_model_knows_nothing_of_it(tmp_path: Path, examples: list[Example]) -> None:
    kept(tmp_path, examples).keep({0: "x", 1: "y"})
    assert kept(tmp_path, examples, "other").known == {}


def test_anything_else_that_the_model_sees_is_another_question(tmp_path: Path, examples: list[Example]) -> None:
    kept(tmp_path, examples).keep({0: "x", 1: "y"})
    dialogue, plain = examples
    first = dialogue.history[0]
    others = [
        dataclasses.replace(plain, prompt="two"),
        dataclasses.replace(plain, images=first.images),
        dataclasses.replace(dialogue, history=()),
        dataclasses.replace(dialogue, history=(dataclasses.replace(first, answer="9"),)),
        dataclasses.replace(dialogue, history=(dataclasses.replace(first, prompt="9"),)),
        dataclasses.replace(dialogue, history=(dataclasses.replace(first, images=()),)),
    ]
    assert kept(tmp_path, others).known == {}
    assert kept(tmp_path, [dataclasses.replace(plain, answer="expected otherwise")]).known == {0: "y"}
    plain.images[0].write_bytes(b"another picture")
    assert kept(tmp_path, examples).known == {0: "x"}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_cut_off_by_a_crash_is_dropped_and_the_next_one_is_whole(
    cut: int, tmp_path: Path, examples: list[Example]
) -> None:
    kept(tmp_path, examples).keep({0: "x", 1: "y"})
    file = tmp_path / "new/answers-adapter.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    again = kept(tmp_path, examples)
    assert again.known == {0: "x"}
    again.keep({1: "z"})
    assert kept(tmp_path, examples).known == {0: "x", 1: "z"}


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\n", b"[]\n", b"null\n", b'{"key": 1}\n', b"{\n", b"\x00" * 64 + b"\n", b"\n"]
)
def test_a_damaged_line_is_passed_over(damage: bytes, tmp_path: Path, examples: list[Example]) -> None:
    kept(tmp_path, examples).keep({0: "x"})
    file = tmp_path / "new/answers-adapter.jsonl"
    file.write_bytes(damage + file.read_bytes())
    assert kept(tmp_path, examples).known == {0: "x"}


def test_removing_leaves_nothing_and_may_come_twice(tmp_path: Path, examples: list[Example]) -> None:
    answers = kept(tmp_path, examples)
    answers.keep({0: "x"})
    answers.remove()
    answers.remove()
    assert list((tmp_path / "new").iterdir()) == []
