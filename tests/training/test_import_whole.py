"""An import is there whole or not at all; a split keeps together what belongs together."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stopping_for_test import stopped

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.rows import ArrowRows
from ganglion.core.tasks import CHAT, Example, Sequential, registry
from ganglion.training.data.importers.groups import Grouping, parts_of


def chat_rows(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for k in range(count):
            file.write(json.dumps({"id": f"r{k}", "prompt": f"Say {k}", "answer": str(k)}) + "\n")
    return path


def command(source: Path, out: Path) -> list[str]:
    arguments = ["data", "import", "json", str(source), "--task", "chat", "--out", str(out)]
    return [sys.executable, "-m", "ganglion.core.cli", *arguments]


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGKILL]], ids=["interrupted", "killed"])
def test_an_import_that_is_stopped_leaves_no_data_set_and_can_be_run_again(signals: list[int], tmp_path: Path) -> None:
    source, out = chat_rows(tmp_path / "a.jsonl", 300_000), tmp_path / "room/out"
    code, said = stopped(command(source, out), tmp_path, "room/.out.*/out/.rows.arrow", signals)
    assert not out.exists()
    if signals == [signal.SIGINT]:
        assert code == 1 and said[-1].startswith("ganglion: interrupted")
        assert not os.listdir(tmp_path / "room")
    assert main(command(chat_rows(tmp_path / "b.jsonl", 10), out)[3:]) == 0
    assert len(read_datafile(out / "data.arrow", CHAT)) == 10


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    source, out = chat_rows(tmp_path / "a.jsonl", 30_000), tmp_path / "room/out"
    code = (
        "import resource, sys; from ganglion.core.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); "
        f"sys.exit(main({command(source, out)[3:]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ganglion: ")]
    assert "can't write: " in line and "free space" in line and len(done.stderr.splitlines()) == 1
    assert not os.listdir(tmp_path / "room")


def test_what_is_there_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = chat_rows(tmp_path / "a.jsonl", 10), tmp_path / "out"
    assert main(command(source, out)[3:]) == 0
    before = (out / "data.arrow").read_bytes()
    assert main(command(source, out)[3:]) == 2
    assert "is there already" in capsys.readouterr().err and (out / "data.arrow").read_bytes() == before


def image_rows(folder: Path) -> list[dict[str, Any]]:
    """80 rows: three of each picture, one copied under another name, and one row that ties two pictures."""
    for k in range(26):
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (8, 8, 3), np.uint8)).save(folder / f"{k}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    rows = [
        {"id": f"{k}-{i}", "prompt": f"{k}-{i}?", "answer": "", "images": [f"{k}.png"]}
        for k in range(26)
        for i in range(3)
    ]
    tie = {"id": "tie", "prompt": "?", "answer": "", "images": ["1.png", "2.png"]}
    return [*rows, {"id": "copy", "prompt": "?", "answer": "", "images": ["copy.png"]}, tie]


def split(rows: list[dict[str, Any]], folder: Path, name: str, *options: str) -> dict[str, str]:
    """Part of each row by its id."""
    (folder / f"{name}.json").write_text(json.dumps(rows))
    arguments = ["data", "import", "json", str(folder / f"{name}.json"), "--task", "chat", "--out", str(folder / name)]
    assert main([*arguments, "--val_share", "0.2", "--test_share", "0.2", *options]) == 0
    files = {part: folder / name / f"{part}.arrow" for part in ("train", "val", "test")}
    return {record.id: part for part, file in files.items() for record in ArrowRows(file).records()}


def test_a_split_keeps_rows_together_that_share_a_picture_by_content_or_through_a_third(tmp_path: Path) -> None:
    rows = image_rows(tmp_path)
    part = split(rows, tmp_path, "a")
    assert set(part) == {row["id"] for row in rows}
    for k in range(26):
        assert len({part[f"{k}-{i}"] for i in range(3)}) == 1
    assert part["copy"] == part["0-0"] and part["tie"] == part["1-0"] == part["2-0"]
    sizes = Counter(part.values())
    assert 14 <= sizes["val"] <= 24 and 14 <= sizes["test"] <= 24
    groups = {record.id: record.group for record in ArrowRows(tmp_path / "a/train.arrow").records()}
    assert len(set(groups.values())) < len(groups)


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = image_rows(tmp_path)
    part = split(rows, tmp_path, "a")
    assert split(rows[::-1], tmp_path, "b") == part
    assert split(rows, tmp_path, "c", "--seed", "1") != part


def test_steps_of_an_episode_stay_together_and_in_order(tmp_path: Path) -> None:
    episode = Sequential(lambda example: example.row["prompt"][0], lambda example, answers: example)
    task = replace(CHAT, name="steps", sequential=episode)
    registry._TASKS[task.name] = task
    try:
        rows = [{"id": f"{name}{k}", "prompt": f"{name}{k}", "answer": ""} for name in "abcdefghij" for k in range(5)]
        part = split(rows, tmp_path, "a", "--task", "steps")
    finally:
        del registry._TASKS[task.name]
    assert all(len({part[f"{name}{k}"] for k in range(5)}) == 1 for name in "abcdefghij")
    for name in ("train", "val", "test"):
        ids = [record.id for record in ArrowRows(tmp_path / f"a/{name}.arrow").records()]
        assert ids == sorted(ids)


def test_a_long_chain_of_shared_pictures_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row shares a picture with the next; the order of rows and keys is against us."""
    grouping = Grouping(CHAT)
    order = np.random.default_rng(0).permutation(3000)
    monkeypatch.setattr(grouping, "_image", lambda path: int(path.name))
    for k in order:
        lonely = 10_000 + k if k == 1500 else k
        grouping.add(Example((Path(str(lonely)), Path(str(lonely + 1))), "", "", {}))
    groups = dict(zip(order.tolist(), grouping.groups().tolist(), strict=True))
    assert {groups[k] for k in range(1500)} == {0}
    assert groups[1500] == 11_500 and {groups[k] for k in range(1501, 3000)} == {1501}


def test_shares_are_met_as_nearly_as_groups_allow() -> None:
    groups = np.repeat(np.arange(100, dtype=np.uint64), 10)
    parts = parts_of(groups, {"val": 0.1, "test": 0.25}, seed=3, rest="train")
    assert Counter(parts.tolist()) == {"train": 650, "val": 100, "test": 250}
    assert all(len(set(parts[groups == group])) == 1 for group in range(100))


@pytest.fixture(autouse=True)
def _without_bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    yield
