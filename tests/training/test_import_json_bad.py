"""`ganglion data import json`: malformed lists and lines, each one line and nothing written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Refused = Callable[..., str]
GOOD = {"input": "stop", "output": "stop()", "category": "movement"}


def rows(*more: Any, indent: int | None = None) -> bytes:
    return json.dumps([GOOD, *more], indent=indent).encode()


def lines(*more: bytes) -> bytes:
    return b"\n".join([json.dumps(GOOD).encode(), *more])


LISTS = {
    "empty file": (b"", "is not JSON"),
    "white space": (b" \n ", "is not JSON"),
    "empty list": (b"[]", "holds no rows"),
    "an object": (b'{"rows": []}', "holds dict"),
    "a number": (b"7", "holds int"),
    "null": (b"null", "holds NoneType"),
    "cut off": (rows()[:-9], "is not JSON"),
    "trailing comma": (rows()[:-1] + b",]", "is not JSON"),
    "single quotes": (b"[{'input': 'a'}]", "is not JSON"),
    "a comment": (b"[] // none", "is not JSON"),
    "two documents": (rows() + rows(), "name it .jsonl"),
    "JSON Lines": (lines(lines()), "name it .jsonl"),
    "latin-1": ('[{"input": "stä'.encode("latin-1"), "is not UTF-8 (line 1"),
    "UTF-16": (rows().decode().encode("utf-16"), "is not UTF-8"),
    "binary": (bytes(range(256)) * 4, "is not UTF-8"),
    "a NUL": (rows().replace(b"stop()", b"st\0op()"), "is not JSON"),
    "a raw line end in a text": (rows().replace(b"stop()", b"st\nop()"), "is not JSON"),
    "nested too deep": (b"[" * 100_000, "nested too deep"),
    "a row nested too deep": (rows()[:-1] + b"," + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]", "too deep"),
    "a key twice": (b'[{"input": "a", "input": "b"}]', "'input' twice"),
    "a number of 5000 digits": (b"[{" + b'"input": ' + b"9" * 5000 + b"}]", "thousands of digits"),
    "half a character": (rows({**GOOD, "input": "\ud83d"}), "row 1: holds half of a character"),
    "a row that is a number": (rows(3), "row 1: row is 3"),
    "a row that is null": (rows(None), "row 1: row is None"),
    "a row that is a list": (rows([GOOD]), "row 1: row is [{"),
    "a row that is text": (rows("stop"), "row 1: row is 'stop'"),
    "an empty row": (rows({}), "row 1: column 'input': is missing"),
    "a column missing": (rows({"input": "stop", "output": "stop()"}), "row 1: column 'category': is missing"),
    "a column too many": (rows({**GOOD, "inptu": 1}), "row 1: column 'inptu': is unknown"),
    "NaN": (rows({**GOOD, "category": float("nan")}).replace(b"NaN", b'NaN, "x": 1'), "column 'x': is unknown"),
    "a number for a text": (rows({**GOOD, "input": 5}), "row 1: column 'input': is 5"),
    "null for a text": (rows({**GOOD, "input": None}), "row 1: column 'input': is None"),
    "blank text": (rows({**GOOD, "input": " "}), "row 1: column 'input': is ' '"),
    "no program": (rows({**GOOD, "output": "stop("}), "row 1: column 'output'"),
    "a conversation": (rows({"messages": []}), "row 1: column 'messages': is a conversation, but a row of robot_code"),
    "an infinite default": (
        rows({**GOOD, "functions": [{"name": "stop", "arguments": [{"name": "x", "kind": "float", "default": 1e999}]}]})
        .replace(b"Infinity", b"1e999"),
        "row 1",
    ),
}  # fmt: skip

LINES: dict[str, tuple[Any, str]] = {
    "empty": (b"", "holds no rows"),
    "blank lines": (b"\n\n \n", "holds no rows"),
    "a line cut off": (lines(b'{"input": "sto'), "row 1: line 2 is not JSON (Unterminated"),
    "a list over lines": (b"[\n" + lines(), "row 0: line 1 is not JSON"),
    "not UTF-8": (lines(b'{"input": "\xe4"}'), "row 1: line 2 is not UTF-8"),
    "two rows on a line": (lines(json.dumps(GOOD).encode() * 2), "row 1: line 2 is not JSON (Extra data"),
    "a key twice": (lines(b'{"a": 1, "a": 2}'), "row 1: line 2 gives key 'a' twice"),
    "nested too deep": (lines(b"[" * 100_000), "row 1: line 2 is nested too deep"),
    "a line without end": (lambda: lines(b'"' + b"x" * (65 * 2**20)), "row 1: line 2 has more than 67,108,864 bytes"),
    "a NUL": (lines(b'{"a\0": 1}'), "row 1: line 2 is not JSON"),
    "a list in a line": (lines(b"[1]"), "row 1: row is [1]"),
    "a good line after": (lines(b"{", json.dumps(GOOD).encode()), "row 1: line 2 is not JSON"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_malformed_list_is_one_line(case: str, tmp_path: Path, refused: Refused) -> None:
    content, what = LISTS[case]
    (tmp_path / "data.json").write_bytes(content)
    line = refused("json", tmp_path / "data.json", "--task", "robot_code")
    assert what in line and "data.json" in line


@pytest.mark.parametrize("case", LINES)
def test_malformed_lines_are_one_line(case: str, tmp_path: Path, refused: Refused) -> None:
    content, what = LINES[case]
    (tmp_path / "data.jsonl").write_bytes(content() if callable(content) else content)
    line = refused("json", tmp_path / "data.jsonl", "--task", "robot_code")
    assert what in line and "data.jsonl" in line


def test_a_missing_file_a_folder_and_missing_options_are_one_line(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "data.json").write_bytes(rows())
    assert "no such file" in refused("json", tmp_path / "none.json", "--task", "robot_code")
    assert "is a folder" in refused("json", tmp_path, "--task", "robot_code")
    assert "no task given" in refused("json", tmp_path / "data.json")
    assert "unknown task 'juggling'" in refused("json", tmp_path / "data.json", "--task", "juggling")
    for options, what in (
        (["--split", "train"], "--split means nothing for json"),
        (["--columns", '{"a": "b"}'], "--columns means nothing for json"),
        (["--val_share", "1"], "--val_share is 1"),
        (["--val_share", "0.6", "--test_share", "0.4"], "--test_share 0.4"),
        (["--val_share", "-0.1"], "--val_share is -0.1"),
        (["--bad_rows", "hide"], "--bad_rows is 'hide'"),
        (["--image_base_dir", "nowhere"], "nowhere: is no folder"),
        (["--val_share", "0.5"], "leave train empty"),
    ):
        assert what in refused("json", tmp_path / "data.json", "--task", "robot_code", *options)
