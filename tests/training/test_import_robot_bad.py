"""`ganglion data import bfcl|calvin`: malformed sources, each one line and nothing written."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Refused = Callable[..., str]
QUESTIONS, PARALLEL = "BFCL_v4_simple_python.json", "BFCL_v4_parallel.json"
CASE: dict[str, Any] = {
    "id": "simple_python_0",
    "question": [[{"role": "user", "content": "Play ABBA for an hour"}]],
    "function": [
        {
            "name": "play",
            "description": "Play songs.",
            "parameters": {
                "type": "dict",
                "properties": {"artist": {"type": "string", "description": "Who."}},
                "required": ["artist"],
            },
        }
    ],
}
TRUTH: dict[str, Any] = {"id": "simple_python_0", "ground_truth": [{"play": {"artist": ["ABBA"]}}]}


@pytest.fixture
def bfcl(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "possible_answer").mkdir(parents=True)
    for name in (QUESTIONS, PARALLEL):
        (folder / name).write_text(json.dumps(CASE) + "\n")
        (folder / "possible_answer" / name).write_text(json.dumps(TRUTH) + "\n")
    return folder


def changed(original: dict[str, Any], *path: Any, to: Any) -> str:
    """The case with the value at `path` replaced; without `to`, taken out."""
    made = copy.deepcopy(original)
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    if to is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(made)


PARAMETERS = ("function", 0, "parameters")
ARTIST = (*PARAMETERS, "properties", "artist")
QUESTION_LINES = {
    "no JSON": "{",
    "a list": "[1]",
    "a number": "7",
    "no id": changed(CASE, "id", to=KeyError),
    "another id": changed(CASE, "id", to="other"),
    "an id that is a list": changed(CASE, "id", to=["x"]),
    "no question": changed(CASE, "question", to=KeyError),
    "an empty question": changed(CASE, "question", to=[]),
    "an empty turn": changed(CASE, "question", to=[[]]),
    "a question that is a number": changed(CASE, "question", to=5),
    "a message without content": changed(CASE, "question", 0, 0, to={"role": "user"}),
    "content that is a number": changed(CASE, "question", 0, 0, "content", to=5),
    "content that is blank": changed(CASE, "question", 0, 0, "content", to=" "),
    "no functions": changed(CASE, "function", to=KeyError),
    "an empty list of functions": changed(CASE, "function", to=[]),
    "functions as text": changed(CASE, "function", to="play"),
    "a function without a name": changed(CASE, "function", 0, "name", to=KeyError),
    "a function with a bad name": changed(CASE, "function", 0, "name", to="play songs"),
    "a function without a description": changed(CASE, "function", 0, "description", to=KeyError),
    "a function without parameters": changed(CASE, *PARAMETERS, to=KeyError),
    "parameters that are a list": changed(CASE, *PARAMETERS, to=[]),
    "parameters without properties": changed(CASE, *PARAMETERS, "properties", to=KeyError),
    "properties that are a list": changed(CASE, *PARAMETERS, "properties", to=["artist"]),
    "an argument that is text": changed(CASE, *ARTIST, to="string"),
    "an argument without a type": changed(CASE, *ARTIST, "type", to=KeyError),
    "an unknown type": changed(CASE, *ARTIST, "type", to="song"),
    "a type that is a list": changed(CASE, *ARTIST, "type", to=["string"]),
    "required that is a number": changed(CASE, *PARAMETERS, "required", to=5),
    "half a character": changed(CASE, "question", 0, 0, "content", to="\ud83d"),
}
ANSWER_LINES = {
    "no JSON": "{",
    "nothing": "",
    "another id": changed(TRUTH, "id", to="other"),
    "no truth": changed(TRUTH, "ground_truth", to=KeyError),
    "a truth that is a number": changed(TRUTH, "ground_truth", to=5),
    "no calls": changed(TRUTH, "ground_truth", to=[]),
    "a call that is text": changed(TRUTH, "ground_truth", to=["play()"]),
    "a call of two functions": changed(TRUTH, "ground_truth", to=[{"play": {}, "stop": {}}]),
    "a call of none": changed(TRUTH, "ground_truth", to=[{}]),
    "an unknown function": changed(TRUTH, "ground_truth", to=[{"fly": {}}]),
    "arguments that are a number": changed(TRUTH, "ground_truth", 0, "play", to=5),
    "a value that is no list": changed(TRUTH, "ground_truth", 0, "play", "artist", to=5),
    "an unknown argument": changed(TRUTH, "ground_truth", 0, "play", to={"band": ["ABBA"]}),
    "an argument left out": changed(TRUTH, "ground_truth", 0, "play", to={}),
}


@pytest.mark.parametrize("case", QUESTION_LINES)
def test_a_malformed_case_of_bfcl_is_one_line(case: str, bfcl: Path, refused: Refused) -> None:
    (bfcl / QUESTIONS).write_text(QUESTION_LINES[case] + "\n")
    assert str(bfcl) in refused("bfcl", bfcl)


@pytest.mark.parametrize("case", ANSWER_LINES)
def test_a_malformed_truth_of_bfcl_is_one_line(case: str, bfcl: Path, refused: Refused) -> None:
    (bfcl / "possible_answer" / QUESTIONS).write_text(ANSWER_LINES[case] + "\n")
    assert str(bfcl) in refused("bfcl", bfcl)


def test_a_missing_part_of_bfcl_is_one_line(bfcl: Path, tmp_path: Path, refused: Refused) -> None:
    assert "give BFCL's folder" in refused("bfcl", tmp_path / "nowhere")
    assert "--task is exo_assist, but bfcl is data for robot_code" in refused("bfcl", bfcl, "--task", "exo_assist")
    (bfcl / QUESTIONS).write_bytes(b"\xff\xfe")
    assert QUESTIONS in refused("bfcl", bfcl)
    (bfcl / "possible_answer" / QUESTIONS).unlink()
    assert "no such file" in refused("bfcl", bfcl)


TABLES = {
    "empty": b"",
    "null": b"null",
    "a list": b"[1]",
    "text": b"open the drawer",
    "a number": b"7",
    "an empty table": b"{}",
    "a task with a number": b"open_drawer: 5",
    "a task with text": b"open_drawer: pull it",
    "a task with null": b"open_drawer:",
    "a task with a table": b"open_drawer: {a: b}",
    "a sentence that is a number": b"open_drawer: [5]",
    "a sentence that is a list": b"open_drawer: [[pull, it]]",
    "a sentence that is null": b"open_drawer: [null]",
    "a sentence that is a yes": b"open_drawer: [yes]",
    "a task that is a number": b"5: [pull it]",
    "an unknown task": b"open_drawer: [pull it]\nfly_away: [fly]",
    "a task cut off": b"open_drawe: [pull it]",
    "a task in capitals": b"OPEN_DRAWER: [pull it]",
    "an unknown color": b"lift_green_block_table: [lift it]",
    "an unknown side": b"move_slider_up: [up]",
    "an empty sentence": b"open_drawer: ['']",
    "a blank sentence": b"open_drawer: ['  ']",
    "a bracket left open": b"a: [",
    "a quote left open": b"open_drawer: ['pull it]",
    "a tab": b"open_drawer:\n\t- pull it",
    "bad indents": b"open_drawer:\n  - a\n - b",
    "an alias of itself": b"&a [*a]",
    "an unknown alias": b"open_drawer: *a",
    "an object of Python": b"open_drawer: !!python/object/apply:os.system [ls]",
    "two documents": b"open_drawer: [a]\n---\nopen_drawer: [b]",
    "not UTF-8": b"open_drawer: ['\xff']",
    "a NUL": b"open_drawer: ['\0']",
    "nested too deep": b"[" * 3000,
    "no sentence at all": b"open_drawer: []",
}


@pytest.mark.parametrize("case", TABLES)
def test_malformed_calvin_is_one_line(case: str, tmp_path: Path, refused: Refused) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "new_playtable.yaml").write_bytes(TABLES[case])
    assert str(source) in refused("calvin", source)


def test_malformed_validation_and_options_of_calvin_are_one_line(tmp_path: Path, refused: Refused) -> None:
    source = tmp_path / "in"
    source.mkdir()
    assert "give CALVIN's folder" in refused("calvin", source)
    (source / "new_playtable.yaml").write_text("open_drawer: [a, b, c, d, e]")
    assert "comes in parts of its own" in refused("calvin", source, "--val_share", "0.1")
    (source / "new_playtable_validation.yaml").write_text("fly: [away]")
    assert "new_playtable_validation.yaml: unknown task 'fly'" in refused("calvin", source)
