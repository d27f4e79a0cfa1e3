"""`ganglion data import hf`: malformed data sets, each one line and nothing written."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
datasets = pytest.importorskip("datasets")

import pyarrow.parquet as pq  # noqa: E402
from PIL import Image  # noqa: E402

Refused = Callable[..., str]


def png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (9, 9)).save(data, "PNG")
    return data.getvalue()


PICTURE = {"bytes": png(), "path": None}
GOOD = {"prompt": "What?", "answer": "A cat.", "images": PICTURE}


def parquet(path: Path, *rows: dict[str, Any]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def cell(name: str, value: Any) -> Callable[[Path], Any]:
    """A Parquet file with one row that has this value in a column."""
    return lambda folder: parquet(folder / "a.parquet", {**GOOD, name: value})


def content(name: str, data: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data)


def cut_parquet(folder: Path) -> None:
    parquet(folder / "a.parquet", GOOD)
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-20])


def spoiled_parquet(folder: Path) -> None:
    parquet(folder / "a.parquet", *[{**GOOD, "prompt": f"What {k}?"} for k in range(500)])
    data = bytearray((folder / "a.parquet").read_bytes())
    data[100:2000] = bytes(1900)
    (folder / "a.parquet").write_bytes(bytes(data))


def two_schemas(folder: Path) -> None:
    parquet(folder / "a.parquet", GOOD)
    parquet(folder / "b.parquet", {"prompt": {"deep": [1]}, "answer": 5})


def saved(folder: Path, spoil: Callable[[Path], Any] = lambda _: None) -> None:
    datasets.Dataset.from_list([{"prompt": "a", "answer": "b"}]).save_to_disk(str(folder / "set"))
    for path in (folder / "set").iterdir():
        path.rename(folder / path.name)
    (folder / "set").rmdir()
    spoil(folder)


def saved_without_rows(folder: Path) -> None:
    saved(folder, lambda f: next(f.glob("*.arrow")).unlink())


def saved_with_bad_state(folder: Path) -> None:
    saved(folder, lambda f: (f / "state.json").write_text("{"))


def saved_cut(folder: Path) -> None:
    def cut(f: Path) -> None:
        path = next(f.glob("*.arrow"))
        path.write_bytes(path.read_bytes()[:100])

    saved(folder, cut)


def saved_without_info(folder: Path) -> None:
    saved(folder, lambda f: (f / "dataset_info.json").unlink())


def saved_with_wrong_features(folder: Path) -> None:
    def spoil(f: Path) -> None:
        info = json.loads((f / "dataset_info.json").read_text())
        info["features"]["prompt"] = {"dtype": "no such", "_type": "Value"}
        (f / "dataset_info.json").write_text(json.dumps(info))

    saved(folder, spoil)


def saved_parts(folder: Path) -> None:
    part = datasets.Dataset.from_list([{"prompt": "a", "answer": "b"}])
    datasets.DatasetDict({"test": part}).save_to_disk(str(folder / "set"))
    for path in (folder / "set").iterdir():
        path.rename(folder / path.name)
    (folder / "set").rmdir()


CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an empty folder": (lambda folder: None, "can't be read as a data set"),
    "a folder of other things": (content("a.bin", b"\0" * 99), "can't be read as a data set"),
    "a script": (content("in.py", b"raise SystemExit(7)"), "can't be read as a data set"),
    "a pickle": (content("a.pkl", b"cos\nsystem\n(S'false'\ntR."), "can't be read as a data set"),
    "an empty Parquet file": (content("a.parquet", b""), "can't be read as a data set"),
    "a Parquet file that is none": (content("a.parquet", b"hello" * 99), "can't be read as a data set"),
    "a Parquet file cut off": (cut_parquet, "can't be read as a data set"),
    "a Parquet file spoiled within": (spoiled_parquet, "can't be read as a data set"),
    "a Parquet file without rows": (
        lambda folder: pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), folder / "a.parquet"),
        "in: ",
    ),
    "two files that do not fit": (two_schemas, "can't be read as a data set"),
    "broken JSON": (content("a.json", b'[{"prompt": '), "can't be read as a data set"),
    "broken JSON Lines": (content("a.jsonl", b'{"prompt": "a", "answer": "b"}\n{"pro'), "can't be read as a data set"),
    "JSON that is not UTF-8": (content("a.jsonl", b'{"prompt": "\xff", "answer": "b"}'), "in: "),
    "an empty JSON file": (content("a.json", b""), "in: "),
    "an Arrow file that is none": (content("a.arrow", b"ARROW1" + bytes(99)), "can't be read as a data set"),
    "a CSV file with a quote left open": (content("a.csv", b'prompt,answer\n"a,b\n'), "can't be read as a data set"),
    "saved, without its rows": (saved_without_rows, "can't be read as a data set"),
    "saved, with a broken state": (saved_with_bad_state, "can't be read as a data set"),
    "saved, cut off": (saved_cut, "can't be read as a data set"),
    "saved, without its description": (saved_without_info, "can't be read as a data set"),
    "saved, with features that do not exist": (saved_with_wrong_features, "can't be read as a data set"),
    "saved, without the split": (saved_parts, "has no split 'train'; use one of test"),
    "no such split": (lambda folder: parquet(folder / "test.parquet", GOOD), "can't be read as a data set"),
    "a column that the task lacks": (cell("mood", "good"), "row 0: column 'mood': is unknown"),
    "a column missing": (
        lambda folder: parquet(folder / "a.parquet", {"prompt": "a"}), "row 0: column 'answer': is missing"
    ),
    "null for an answer": (
        lambda folder: parquet(folder / "a.parquet", GOOD, {**GOOD, "answer": None}), "row 1: column 'answer': is miss"
    ),
    "a number for text": (cell("prompt", 5), "row 0: column 'prompt': is 5"),
    "a list for text": (cell("prompt", ["a"]), "row 0: column 'prompt': is ['a']"),
    "bytes for text": (cell("prompt", b"abc"), "row 0: column 'prompt': is a bytes"),
    "a date for text": (
        lambda folder: pq.write_table(
            pa.table({"prompt": pa.array([0], pa.timestamp("s")), "answer": ["b"]}), folder / "a.parquet"
        ),
        "row 0: column 'prompt': is a datetime",
    ),
    "a picture of no bytes": (cell("images", {"bytes": b"", "path": None}), "row 0: column 'images': holds 0 bytes"),
    "a picture that is none": (cell("images", {"bytes": b"GIF89", "path": None}), "holds 5 bytes that are no picture"),
    "a picture cut off": (cell("images", {"bytes": png()[:40], "path": None}), "row 0: column 'image"),
    "a picture elsewhere": (cell("images", {"bytes": None, "path": "no.png"}), "no.png does not exist"),
    "a picture on the net": (cell("images", {"bytes": None, "path": "https://x.org/a.png"}), "nothing is fetched"),
    "pictures in an answer": (cell("answer", PICTURE), "row 0: holds a picture where the task takes text"),
    "a conversation of nothing": (
        lambda folder: parquet(folder / "a.parquet", {"messages": [], "id": "a"}), "row 0: column 'messages': is []"
    ),
    "a conversation without roles": (
        lambda folder: parquet(folder / "a.parquet", {"conversations": [{"value": "a"}]}), "conversations[0].from'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_data_set_is_one_line(case: str, tmp_path: Path, refused: Refused) -> None:
    make, what = CASES[case]
    source = tmp_path / "in"
    source.mkdir()
    make(source)
    line = refused("hf", source, "--task", "chat")
    assert what in line and str(source) in line


def test_what_is_not_there_and_bad_options_are_one_line(tmp_path: Path, refused: Refused) -> None:
    parquet(tmp_path / "a.parquet", GOOD)
    options = ["--task", "chat", "--columns"]
    assert "has no column 'question'; it has prompt, answer, images" in refused(
        "hf", tmp_path / "a.parquet", *options, '{"question": "prompt"}'
    )
    assert "no task given" in refused("hf", tmp_path / "a.parquet")
    assert "no such file or folder" in refused("hf", tmp_path / "nowhere", "--task", "chat")
    (tmp_path / "a.pkl").write_bytes(b"x")
    assert "is no file of a data set" in refused("hf", tmp_path / "a.pkl", "--task", "chat")
    assert "nobody/nothing: can't be read as a data set" in refused("hf", "nobody/nothing", "--task", "chat")
    assert "no such file or folder" in refused("hf", "a/b/c", "--task", "chat")
