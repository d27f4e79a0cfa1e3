"""Steps from a table: grouped into tasks, memories filled in, and every malformed cell named in one line."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.core.tasks import GUI_STEP, Example, RowError
from ganglion.core.tasks.gui_rows import COLUMNS

CLICK = '{"action": "click", "target": "Next"}'
BOX = '{"box": [10, 10, 30, 20]}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "images/a.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny.png")
    Image.new("1", (8000, 6000)).save(tmp_path / "huge.png")
    return tmp_path


def cells(task: str = "t", image: str = "a", goal: str = "buy milk", output: str = CLICK, grounding: str = BOX) -> Any:
    return dict(zip(COLUMNS, (task, image, goal, output, grounding), strict=True))


def read(folder: Path, *table: Mapping[str, Any]) -> list[Example]:
    assert GUI_STEP.from_table
    return [GUI_STEP.read_row(row, folder) for row in GUI_STEP.from_table(table)]


def test_a_csv_file_becomes_steps_with_the_memories_before_them(folder: Path) -> None:
    file = io.StringIO()
    table = csv.DictWriter(file, list(COLUMNS))
    table.writeheader()
    table.writerow(cells("one", output='{"action": "click", "target": "Next", "remember": "price: 12"}'))
    table.writerow(cells("one", "a.png", output='{"action": "type", "text": "ab\\nc"}', grounding=""))
    table.writerow(cells("one", "images/a.png", output='{"action": "done"}', grounding="{}"))
    table.writerow(cells("two", output='{"action": "move"}', grounding='{"point": [50, 25]}'))
    steps = read(folder, *csv.DictReader(io.StringIO(file.getvalue())))
    assert [json.loads(step.answer) for step in steps] == [
        {"action": "click", "target": "Next", "point": [200, 300], "text": "", "remember": "price: 12"},
        {"action": "type", "target": "", "point": None, "text": "ab\nc", "remember": ""},
        {"action": "done", "target": "", "point": None, "text": "", "remember": ""},
        {"action": "move", "target": "", "point": [500, 500], "text": "", "remember": ""},
    ]
    assert [step.prompt.splitlines()[1:3] for step in steps] == [
        ["Done: none", "Remembered: none"],
        ['Done: 1. click "Next"', "Remembered: price: 12"],
        ['Done: 1. click "Next"; 2. type "ab; c"', "Remembered: price: 12"],
        ["Done: none", "Remembered: none"],
    ]
    assert {step.images for step in steps} == {(folder / "images/a.png",)}
    assert steps[0].context.box == (10, 10, 30, 20)


def test_rows_of_a_table_are_rows_of_a_json_file(folder: Path) -> None:
    assert GUI_STEP.from_table
    rows = list(GUI_STEP.from_table([cells(), cells(output='{"action": "done"}', grounding="null")]))
    assert set(rows[0]) == {*COLUMNS.values(), "short_term_memory", "long_term_memory"}
    write_json(folder / "data.json", rows)
    found = read_datafile(folder / "data.json", GUI_STEP)
    assert [(step.prompt, step.answer) for step in found] == [
        (step.prompt, step.answer) for step in read(folder, cells(), cells(output='{"action": "done"}', grounding=""))
    ]


def test_keys_that_arrow_fills_with_null_are_as_good_as_absent(folder: Path) -> None:
    output = {"action": "click", "target": None, "text": None, "remember": None}
    row = {
        "task_id": "t",
        "image_path": "a",
        "goal": "g",
        "output": output,
        "grounding": {"box": None, "point": [1, 1]},
    }
    step = GUI_STEP.read_row({**row, "short_term_memory": [], "long_term_memory": []}, folder)
    assert json.loads(step.answer)["point"] == [10, 20]


def test_screenshots_of_one_pixel_and_of_48_million_work(folder: Path) -> None:
    tiny = cells("a", "tiny", grounding='{"box": [0, 0, 1, 1]}')
    huge = cells("b", "huge", grounding='{"box": [7980, 5985, 8000, 6000]}')
    steps = read(folder, tiny, huge)
    assert [json.loads(step.answer)["point"] for step in steps] == [[500, 500], [999, 999]]
    found = GUI_STEP.metrics(steps, [step.answer for step in steps])
    assert (found["grounding_hit"], found["step_success"]) == (1, 1)
    assert GUI_STEP.from_table
    write_json(folder / "data.json", list(GUI_STEP.from_table([tiny, huge])))
    assert len(read_datafile(folder / "data.json", GUI_STEP)) == 2


def test_a_step_that_is_invalid_is_remembered_as_such(folder: Path) -> None:
    assert GUI_STEP.from_table
    rows = list(GUI_STEP.from_table([cells(output="{"), cells()]))
    assert rows[1]["short_term_memory"] == ["1. (no valid step)"]


def test_steps_of_a_task_that_lie_apart_are_refused_by_row(folder: Path) -> None:
    with pytest.raises(RowError, match=r"column 'Task_id': row 2 goes on with 'one'.*; sort by task"):
        read(folder, cells("one"), cells("two"), cells("one"))


@pytest.mark.parametrize("column", list(COLUMNS))
def test_a_missing_column_is_named(folder: Path, column: str) -> None:
    row = cells()
    del row[column]
    with pytest.raises(RowError, match=f"column '{COLUMNS[column]}': is missing; add it"):
        read(folder, row)


DEEP = "[" * 100_000
BAD_CELLS = [
    ({"task": ""}, "task_id', is empty"),
    ({"task": "t" * 201}, "task_id', has 201 characters; give at most 200"),
    ({"goal": " "}, "goal', is empty"),
    ({"goal": "g" * 100_000_000}, "goal', has 100000000 characters; give at most 2000"),
    ({"goal": "\ud83d"}, "goal', half a character"),
    ({"goal": None}, "goal', is None; give a text"),
    ({"image": ""}, "image_path', is ''; give a file name"),
    ({"image": "none"}, "image_path', none does not exist"),
    ({"image": "images"}, "image_path', images can't be decoded"),
    ({"image": "broken.png"}, "image_path', broken.png can't be decoded"),
    ({"image": "a\0b"}, "image_path', give a file name"),
    ({"image": "x" * 5000}, "image_path', give a file name"),
    ({"output": ""}, "output', is 'None'; give an object"),
    ({"output": "click"}, "output', is not JSON (Expecting value: line 1 column 1"),
    ({"output": '{"action": "click"'}, "output', is not JSON (Expecting ',' delimiter: line 1 column 19"),
    ({"output": "[]"}, "output', is '[]'; give an object"),
    ({"output": '"click"'}, "output', is 'click'; give an object"),
    ({"output": DEEP}, "output', nested too deep"),
    ({"output": '{"n": ' + "9" * 5000 + "}"}, "output', a number has 5000 digits"),
    ({"output": '{"action": "click", "action": "done"}'}, "output', is not JSON (key 'action' is given twice)"),
    ({"output": "{}"}, "output.action', is 'None'; use one of"),
    ({"output": '{"action": "tap"}'}, "output.action', is 'tap'; use one of"),
    ({"output": '{"action": ["click"]}'}, "output.action', use one of"),
    ({"output": '{"action": "done", "point": [1, 2]}'}, "output.point', is unknown"),
    ({"output": '{"action": "done", "text": 5}'}, "output.text', is 5; give a text"),
    ({"output": '{"action": "done", "text": NaN}'}, "output', is not JSON (NaN is no finite number)"),
    ({"output": '{"action": "done", "text": "' + "x" * 201 + '"}'}, "output.text', has 201 characters"),
    ({"output": '{"action": "done", "target": "' + "x" * 81 + '"}'}, "output.target', has 81 characters"),
    ({"output": '{"action": "done", "remember": "' + "x" * 81 + '"}'}, "output.remember', has 81 characters"),
    ({"output": '{"action": "done", "remember": "\\ud800"}'}, "output.remember', half a character"),
    ({"output": '{"action": "type"}'}, "output.text', is empty; say what to type"),
    ({"output": '{"action": "scroll", "text": " "}'}, "output.text', is empty; say what to scroll"),
    ({"grounding": ""}, "grounding', is missing, but click acts somewhere"),
    ({"grounding": "null"}, "grounding', is missing, but click acts somewhere"),
    ({"grounding": "{"}, "grounding', is not JSON"),
    ({"grounding": "[10, 10, 30, 20]"}, "grounding', is '[10, 10, 30, 20]'; give"),
    ({"grounding": '{"bbox": [10, 10, 30, 20]}'}, "grounding.bbox', is unknown; use box or point"),
    ({"grounding": '{"box": [10, 10, 30, 20], "point": [1, 1]}'}, "grounding', has both box and point"),
    ({"grounding": '{"box": [10, 10, 30]}'}, "grounding.box', give 4 numbers"),
    ({"grounding": '{"box": "10 10 30 20"}'}, "grounding.box', give 4 numbers"),
    ({"grounding": '{"box": [10, 10, 30, "20"]}'}, "grounding.box', give 4 numbers"),
    ({"grounding": '{"box": [10, 10, 30, true]}'}, "grounding.box', give 4 numbers"),
    ({"grounding": '{"box": [10, 10, 30, NaN]}'}, "grounding', is not JSON (NaN is no finite number)"),
    ({"grounding": '{"box": [10, 10, Infinity, 20]}'}, "grounding', is not JSON (Infinity is no finite number)"),
    ({"grounding": '{"box": [30, 10, 10, 20]}'}, "grounding.box', an empty box"),
    ({"grounding": '{"box": [10, 20, 30, 20]}'}, "grounding.box', an empty box"),
    ({"grounding": '{"box": [-1, 10, 30, 20]}'}, "grounding.box', outside the 100 x 50 screenshot"),
    ({"grounding": '{"box": [10, 10, 101, 20]}'}, "grounding.box', outside the 100 x 50 screenshot"),
    ({"grounding": '{"box": [10, 10, 30, 51]}'}, "grounding.box', outside the 100 x 50 screenshot"),
    ({"grounding": '{"box": [10, 10, 1' + "0" * 400 + ", 20]}"}, "grounding.box', outside the 100 x 50 screenshot"),
    ({"grounding": '{"point": [100, 10]}'}, "grounding.point', outside the 100 x 50 screenshot"),
    ({"grounding": '{"point": [10, -0.5]}'}, "grounding.point', outside the 100 x 50 screenshot"),
    ({"grounding": '{"point": [10]}'}, "grounding.point', give 2 numbers"),
    ({"image": "huge", "grounding": '{"box": [1, 1, 4, 4]}'}, "grounding.box', no thousandth of 8000 x 6000"),
]


@pytest.mark.parametrize(("bad", "problem"), BAD_CELLS, ids=range(len(BAD_CELLS)))
def test_a_malformed_cell_is_named_in_one_short_line(folder: Path, bad: dict[str, Any], problem: str) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    with pytest.raises(RowError) as caught:
        read(folder, cells(**bad))
    line = str(caught.value).replace(f"{folder}/", "")
    column, _, what = problem.partition("', ")
    assert line.startswith(f"column '{column}'") and what in line, line
    assert "\n" not in line and len(line) < 400


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({"short_term_memory": None}, "'short_term_memory': short-term memory is None; give a list of texts"),
        ({"short_term_memory": ["wait"] * 9}, "'short_term_memory': short-term memory has 9 entries; give at most 8"),
        ({"short_term_memory": ["2. a", "1. b"]}, "do not follow one another; number all"),
        ({"long_term_memory": "fact"}, "'long_term_memory': long-term memory is 'fact'; give a list of texts"),
        ({"long_term_memory": ["f" * 81]}, "give one line of at most 80 characters"),
        ({"task_id": 3}, "'task_id': is 3; give a text"),
        ({"hint": ""}, "'hint': is unknown; use"),
    ],
)
def test_a_malformed_row_of_a_json_file_is_named(folder: Path, bad: dict[str, Any], problem: str) -> None:
    assert GUI_STEP.from_table
    (row,) = GUI_STEP.from_table([cells()])
    write_json(folder / "data.json", [{**row, **bad}])
    with pytest.raises(InputError, match=problem):
        read_datafile(folder / "data.json", GUI_STEP)
