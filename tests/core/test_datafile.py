import json

import pytest
from PIL import Image

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.tasks import EXO_ASSIST
from ganglion.core.tasks.exo_assist import expected_answer


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (32, 32), "green").save(tmp_path / "good.jpg")
    return tmp_path


def row(image="good.jpg", **change):
    expected = expected_answer("flat", "none", 3)
    return {"image_path": image, "user_feedback": "", "previous_assistance": 3, "expected_output": expected, **change}


def write(folder, content):
    path = folder / "data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_good_rows_are_read_in_order(folder):
    examples = read_datafile(write(folder, [row(), row(previous_assistance=6)]), EXO_ASSIST)
    assert [example.row["previous_assistance"] for example in examples] == [3, 6]


def test_each_bad_row_gets_one_line_with_its_number(folder):
    Image.new("RGB", (64, 64)).save(folder / "whole.jpg", quality=95)
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-200])
    (folder / "empty.jpg").write_bytes(b"")
    rows = [
        row(),
        row("absent.jpg"),
        row("cut.jpg"),
        row("empty.jpg"),
        row(previous_assistance="NaN"),
        "text",
        row(extra=1),
    ]
    with pytest.raises(InputError) as error:
        read_datafile(write(folder, rows), EXO_ASSIST)
    lines = str(error.value).splitlines()
    assert [line.split("row ")[1].split(":")[0] for line in lines] == ["1", "2", "3", "4", "5", "6"]
    assert "does not exist" in lines[0]
    assert "can't be decoded" in lines[1]
    assert all(";" in line for line in lines), "each line ends with a remedy"


def test_a_literal_nan_is_named_like_any_bad_value(folder):
    text = json.dumps([row()]).replace('"previous_assistance": 3', '"previous_assistance": NaN')
    with pytest.raises(InputError, match="row 0: column 'previous_assistance': is 'NaN'"):
        read_datafile(write(folder, text), EXO_ASSIST)


def test_many_bad_rows_are_counted_not_all_printed(folder):
    with pytest.raises(InputError) as error:
        read_datafile(write(folder, [row("absent.jpg")] * 100), EXO_ASSIST)
    lines = str(error.value).splitlines()
    assert len(lines) == 21
    assert "80 more" in lines[-1]


@pytest.mark.parametrize(
    ("content", "said"),
    [("[]", "no rows"), ("{}", "not a list"), ("[", "not JSON"), ("", "not JSON")],
)
def test_a_file_that_is_no_list_of_rows_is_refused(folder, content, said):
    with pytest.raises(InputError, match=said):
        read_datafile(write(folder, content), EXO_ASSIST)


def test_a_file_that_is_not_utf8_is_refused(folder):
    path = folder / "data.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(InputError, match="not UTF-8"):
        read_datafile(path, EXO_ASSIST)


def test_a_missing_file_is_refused(folder):
    with pytest.raises(InputError, match="no such file"):
        read_datafile(folder / "none.json", EXO_ASSIST)
