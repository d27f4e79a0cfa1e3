"""`ganglion data import csv`: malformed tables, each one line and nothing written."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Refused = Callable[..., str]
HEAD = b"input,output,category\n"
GOOD = b"stop,stop(),movement\n"

TABLES: dict[str, tuple[Any, str]] = {
    "empty file": (b"", "is empty"),
    "blank lines": (b"\n\r\n\n", "is empty"),
    "header only": (HEAD, "holds no rows"),
    "header twice the same": (b"input,input,output\n" + GOOD, "two columns 'input'"),
    "a column without a name": (b"input,,category\n" + GOOD, "a column without a name"),
    "a comma at the end of the header": (b"input,output,category,\n" + GOOD, "a column without a name"),
    "semicolons": (HEAD.replace(b",", b";") + GOOD.replace(b",", b";"), "separates cells by ';'"),
    "tabs": (HEAD.replace(b",", b"\t") + GOOD.replace(b",", b"\t"), "separates cells by '\\t'"),
    "a cell too few": (HEAD + GOOD + b"stop,stop()\n", "row 1: line 3 has 2 cells, the header 3"),
    "a cell too many": (HEAD + GOOD + b"stop,stop(),movement,x\n", "row 1: line 3 has 4 cells"),
    "a comma without quotes": (HEAD + b"turn, then stop,stop(),movement\n" + GOOD, "row 0: line 2 has 4 cells"),
    "a quote never closed": (HEAD + GOOD + b'"stop,stop(),movement\n' + GOOD, "the record at line 3 has a quote"),
    "text after a closing quote": (HEAD + b'"stop"x,stop(),movement\n', "line 2 is no CSV"),
    "a NUL": (HEAD + b"st\0op,stop(),movement\n", "line 2 holds a NUL character"),
    "UTF-16": ((HEAD + GOOD).decode().encode("utf-16"), "line 1 is not UTF-8"),
    "UTF-16 without a mark": ((HEAD + GOOD).decode().encode("utf-16-le"), "line 1 holds a NUL character"),
    "latin-1": (HEAD + GOOD + "stä,stop(),movement\n".encode("latin-1"), "line 3 is not UTF-8"),
    "binary": (b"\x89PNG\r\n\x1a\n" + bytes(1000), "is not UTF-8"),
    "carriage returns alone": ((HEAD + GOOD).replace(b"\n", b"\r"), "bare carriage return"),
    "no header": (GOOD * 2, "row 0: column 'stop': is unknown"),
    "an unknown column": (b"input,output,kind\n" + GOOD, "row 0: column 'kind': is unknown"),
    "a column missing": (b"input,output\nstop,stop()\n", "row 0: column 'category': is missing"),
    "an empty cell": (HEAD + GOOD + b",stop(),movement\n", "row 1: column 'input': is missing"),
    "a blank cell": (HEAD + b" ,stop(),movement\n", "row 0: column 'input': is ' '"),
    "no program": (HEAD + GOOD + b"stop,stop(,movement\n", "row 1: column 'output'"),
    "broken JSON": (b"input,output,category,accepted\nstop,stop(),movement,[{\n", "row 0: column 'accepted'"),
    "JSON of another kind": (b"input,output,category,accepted\nstop,stop(),movement,7\n", "row 0: column 'accepted'"),
    "a JSON text": (b'input,output,category,accepted\nstop,stop(),movement,"""a"""\n', "row 0: column 'accepted'"),
    "JSON nested too deep": (
        b"input,output,category,accepted\nstop,stop(),movement," + b"[" * 100_000 + b"\n",
        "row 0: column 'accepted'",
    ),
    "a conversation": (b"messages\n[]\n", "row 0: column 'messages': is a conversation"),
    "a cell of 100 MB": (lambda: HEAD + GOOD + b"x" * (100 * 2**20) + b",a,b\n", "16,777,216 bytes in column 'input'"),
    "a later cell of 100 MB": (lambda: HEAD + b"stop," + b"x" * (100 * 2**20), "the record at line 2 has more than"),
    "a cell of 100 MB in lines": (
        lambda: HEAD + b'stop,stop(),"' + (b"x" * 2**20 + b"\n") * 100 + b'"\n',
        "16,777,216 bytes in column 'category'",
    ),
    "a quote that swallows 20 MB": (lambda: HEAD + b'stop,"' + GOOD * 1_000_000, "in column 'output'"),
    "a header without end": (lambda: b"x" * (17 * 2**20), "more than 16,777,216 bytes in the header"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_a_malformed_table_is_one_line(case: str, tmp_path: Path, refused: Refused) -> None:
    content, what = TABLES[case]
    (tmp_path / "data.csv").write_bytes(content() if callable(content) else content)
    line = refused("csv", tmp_path / "data.csv", "--task", "robot_code")
    assert what in line and "data.csv" in line


def test_a_cell_of_100_mb_takes_a_fraction_of_it_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "data.csv").open("wb") as file:
        file.write(HEAD + GOOD)
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b",stop(),movement\n")
    arguments = [
        "data",
        "import",
        "csv",
        str(tmp_path / "data.csv"),
        "--task",
        "robot_code",
        "--out",
        str(tmp_path / "o"),
    ]
    code = (
        "import resource, sys\n"
        "from ganglion.core.cli import main\n"
        "import ganglion.training.data.importing, pyarrow\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"code = main({arguments!r})\n"
        "grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024\n"
        "print(grown, file=sys.stderr)\n"
        "sys.exit(10 * (grown > 90) + code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path, refused: Refused) -> None:
    assert "no such file" in refused("csv", tmp_path / "none.csv", "--task", "robot_code")
    assert "is a folder" in refused("csv", tmp_path, "--task", "robot_code")
