"""Arrow data files: lazy examples that equal those of a JSON list, and files that are refused."""

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.rows import ArrowRows, ArrowWriter, Record
from ganglion.core.tasks import CHAT, EXO_ASSIST, ROBOT_CODE, LazyExamples, by_row, unrolled
from ganglion.core.tasks.lazy import picked

ROWS = [{"prompt": f"Count to {n}.", "answer": " ".join(map(str, range(n)))} for n in range(2500)]


def write(path: Path, rows, task: str = "chat") -> Path:
    with ArrowWriter(path, task, "json") as file:
        for index, row in enumerate(rows):
            file.write(Record(str(index), str(index), (), json.dumps(row)))
    return path


def test_examples_are_lazy_and_equal_those_of_a_list(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    listed, lazy = read_datafile(tmp_path / "a.json", CHAT), read_datafile(write(tmp_path / "a.arrow", ROWS), CHAT)
    assert isinstance(lazy, LazyExamples) and isinstance(listed, list)
    assert len(lazy) == 2500 and list(lazy) == listed
    assert lazy[-1] == listed[-1] and lazy[1000] == listed[1000]
    assert list(lazy[990:2010:7]) == listed[990:2010:7] and list(lazy[:10][-3:]) == listed[7:10]
    assert list(picked(lazy, [5, 2400, 0])) == picked(listed, [5, 2400, 0])
    with pytest.raises(IndexError):
        lazy[2500]


def test_rows_reach_another_process_by_their_path(tmp_path):
    lazy = read_datafile(write(tmp_path / "a.arrow", ROWS), CHAT)
    sent = pickle.dumps(lazy)
    assert len(sent) < 5000 and pickle.loads(sent)[7] == lazy[7]


def test_turns_of_lazy_rows_are_found_together_again(tmp_path):
    dialogue = {"messages": [{"role": role, "content": role} for role in ("user", "assistant")] * 3}
    rows = [dialogue, dialogue, ROWS[3], ROWS[3], dialogue]
    turns = unrolled(read_datafile(write(tmp_path / "a.arrow", rows), CHAT))
    assert isinstance(turns, LazyExamples)
    assert by_row(turns) == by_row(list(turns)) == [[0, 1, 2], [3, 4, 5], [6], [7], [8, 9, 10]]
    assert [len(turn.history) for turn in turns] == [0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 2]


def test_each_bad_row_is_named_and_nothing_is_given(tmp_path):
    path = write(tmp_path / "a.arrow", [ROWS[0], {"prompt": 5, "answer": ""}, ROWS[1], "text"])
    with pytest.raises(InputError) as error:
        read_datafile(path, CHAT)
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == ["row 1", "row 3"]


def test_a_file_of_another_task_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds rows of chat, not robot_code; use --task chat"):
        read_datafile(write(tmp_path / "a.arrow", ROWS[:3]), ROBOT_CODE)


def other_kind(path):
    with pa.ipc.new_file(str(path), pa.schema([("row", pa.string())])) as file:
        file.write_batch(pa.record_batch([["{}"]], names=["row"]))


def newer(path):
    with pa.ipc.new_file(str(path), pa.schema([("row", pa.string())], {b"ganglion": b'{"format": 2, "task": "chat"}'})):
        pass


def other_columns(path):
    with pa.ipc.new_file(str(path), pa.schema([("row", pa.string())], {b"ganglion": b'{"format": 1, "task": "chat"}'})):
        pass


def spoiled_metadata(path):
    with pa.ipc.new_file(str(path), pa.schema([("row", pa.string())], {b"ganglion": b"[1"})):
        pass


def cut_off(path):
    write(path, ROWS)
    path.write_bytes(path.read_bytes()[:-300])


def stream(path):
    with pa.ipc.new_stream(str(path), pa.schema([("row", pa.string())])):
        pass


def spoiled_offsets(path):
    """The offsets of the first column point outside of it."""
    write(path, ROWS[:100])
    data = bytearray(path.read_bytes())
    offsets = (pa.array([str(k) for k in range(100)])).buffers()[1].to_pybytes()[:400]
    start = data.index(offsets[:200])
    data[start + 40 : start + 44] = (2**30).to_bytes(4, "little")
    path.write_bytes(bytes(data))


BAD_FILES = {
    other_kind: "is an Arrow file of another kind; bring it in with 'ganglion data import hf'",
    spoiled_metadata: "is an Arrow file of another kind",
    newer: "has format 2, newer than 1; update Ganglion",
    other_columns: "has columns other than id, group, images, row",
    cut_off: "is no whole Arrow file",
    stream: "is no whole Arrow file",
    spoiled_offsets: "is no whole Arrow file",
    lambda path: path.write_bytes(b""): "is no whole Arrow file",
    lambda path: path.write_bytes(b"[]" * 500): "is no whole Arrow file",
    lambda path: path.mkdir(): "is a folder",
    lambda path: None: "no such file",
    lambda path: write(path, []): "holds no rows",
}


@pytest.mark.parametrize("make", BAD_FILES)
def test_a_file_that_is_not_ours_or_damaged_is_one_line(make, tmp_path):
    make(tmp_path / "a.arrow")
    with pytest.raises(InputError, match=BAD_FILES[make]) as error:
        read_datafile(tmp_path / "a.arrow", CHAT)
    assert len(str(error.value).splitlines()) == 1 and "a.arrow" in str(error.value)


def test_batches_are_bounded_by_rows_and_by_bytes(tmp_path):
    write(tmp_path / "many.arrow", ROWS)
    write(tmp_path / "large.arrow", [{"prompt": "x" * 2**20, "answer": ""}] * 20)
    sizes = {}
    for name in ("many", "large"):
        reader = pa.ipc.open_file(str(tmp_path / f"{name}.arrow"))
        sizes[name] = [reader.get_batch(k).num_rows for k in range(reader.num_record_batches)]
    assert sizes == {"many": [1000, 1000, 500], "large": [8, 8, 4]}


def test_the_columns_come_back_as_written(tmp_path):
    record = Record("a", "g", ("x.png", "y.png"), "{}")
    with ArrowWriter(tmp_path / "a.arrow", EXO_ASSIST.name, "hf") as file:
        file.write(record)
    rows = ArrowRows(tmp_path / "a.arrow")
    assert list(rows.records()) == [record] and (rows.task, rows.source) == ("exo_assist", "hf")
