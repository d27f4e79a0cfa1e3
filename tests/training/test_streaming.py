"""Data sets larger than memory: memory that does not grow with the rows, and results that do not depend on the form."""

import functools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.rows import ArrowWriter, Record
from ganglion.core.tasks import CHAT, EXO_ASSIST, LazyExamples, unrolled
from ganglion.model.checkpoint import resolve_base
from ganglion.model.processor import load_processor
from ganglion.training.data.importers.writing import BadRows, Target, write_part
from ganglion.training.data.rows import EncodedRows
from ganglion.training.data.split import split_examples
from ganglion.training.data.stats import StatsConfig
from ganglion.training.data.stats import run as print_stats
from ganglion.training.sft.run_folder import data_hash

ROWS, TEXT_BYTES = 1000, 2000
Runner = Callable[..., int]


def chat(index: int) -> dict[str, Any]:
    return {"prompt": f"{index} " + "word " * (TEXT_BYTES // 5), "answer": f"{index}"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Arrow files of ROWS rows, and of four times as many."""
    folder = tmp_path_factory.mktemp("stream")
    made = {}
    for times in (1, 4):
        made[times] = folder / f"{times}.arrow"
        with ArrowWriter(made[times], "chat", "json") as file:
            for index in range(times * ROWS):
                file.write(Record(str(index), str(index), (), json.dumps(chat(index))))
    return made


@functools.cache
def processor() -> Any:
    return load_processor(resolve_base("offline:qwen2_vl?untrained"), None)


def measured(path: Path) -> None:
    rows = EncodedRows(processor(), read_datafile(path, CHAT), 4096)
    for index in range(0, len(rows), 50):
        assert len(rows[index].text) == rows.lengths[index]


def brought_in(path: Path) -> None:
    aside = path.parent / "aside"
    aside.mkdir(exist_ok=True)
    rows = (chat(index) for index in range(ROWS * int(path.stem)))
    write_part(rows, "data", Target(CHAT, "json", path, path.parent, path.parent / "out", aside), BadRows(None))


# What is done with a data set, and the bytes that it may keep of each row: none, or a short index.
USES: dict[str, tuple[Callable[[Path], Any], int]] = {
    "reading": (lambda path: read_datafile(path, CHAT), 0),
    "hashing": (lambda path: data_hash(read_datafile(path, CHAT)), 0),
    "going through it": (lambda path: [None for _ in read_datafile(path, CHAT)], 10),
    "unrolling": (lambda path: unrolled(read_datafile(path, CHAT))[:5], 24),
    "splitting": (lambda path: split_examples(read_datafile(path, CHAT), 0.2, 0), 500),
    "measuring": (measured, 16),
    "bringing it in": (brought_in, 100),
    "its figures": (lambda path: print_stats(StatsConfig(path, task="chat")), 700),
}


@pytest.mark.parametrize(
    "use", [pytest.param(use, marks=[pytest.mark.slow, pytest.mark.acceptance] * (use == "measuring")) for use in USES]
)
def test_memory_does_not_grow_with_the_rows(use: str, files: dict[int, Path]) -> None:
    call, of_each_row = USES[use]
    call(files[1])  # what is loaded once is loaded now
    peaks = {}
    for times, path in files.items():
        tracemalloc.start()
        call(path)
        peaks[times] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    grown = peaks[4] - peaks[1]
    assert grown < 3 * ROWS * of_each_row + 200_000, f"{grown / (3 * ROWS):.0f} bytes a row"
    assert grown < 3 * ROWS * TEXT_BYTES / 2, "less than the texts"


def test_a_json_list_does_grow_so_that_the_measure_is_one(files: dict[int, Path], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([chat(index) for index in range(ROWS)]))
    tracemalloc.start()
    kept = read_datafile(tmp_path / "a.json", CHAT)
    assert tracemalloc.get_traced_memory()[0] > len(kept) * TEXT_BYTES
    tracemalloc.stop()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same dialogues as a JSON list and as an Arrow file."""
    folder = tmp_path_factory.mktemp("both")
    options = ["--count", "12", "--size", "56", "--workers", "1", "--turns_max", "3"]
    assert main(["data", "synth", "exo_assist", "--out", str(folder / "set"), *options]) == 0
    source = folder / "set/data.json"
    assert main(["data", "import", "json", str(source), "--task", "exo_assist", "--out", str(folder / "arrow")]) == 0
    return {"json": source, "arrow": folder / "arrow/data.arrow"}


def test_rows_are_encoded_alike_and_cut_alike(both: dict[str, Path]) -> None:
    listed, lazy = (read_datafile(path, EXO_ASSIST) for path in both.values())
    assert isinstance(lazy, LazyExamples) and data_hash(lazy) == data_hash(listed)
    longest = max(EncodedRows(processor(), listed, 4096).lengths) - 5
    one, other = (EncodedRows(processor(), e, longest, truncate=True) for e in (listed, lazy))
    assert one.truncated == other.truncated and one.truncated.rows > 0 and list(one.lengths) == list(other.lengths)
    for index in (3, 0, 11, 3):
        a, b = one[index], other[index]
        assert a.text.ids.equal(b.text.ids) and a.text.answers == b.text.answers
        assert all(x.pixel_values.equal(y.pixel_values) for x, y in zip(a.images, b.images, strict=True))


def test_a_split_takes_the_same_rows(both: dict[str, Path]) -> None:
    sides = [split_examples(read_datafile(path, EXO_ASSIST), 0.3, seed=4) for path in both.values()]
    (learn, held), (lazy_learn, lazy_held) = sides
    assert [e.answer for e in learn] == [e.answer for e in lazy_learn] and len(held) == len(lazy_held) > 0
    assert isinstance(lazy_held, LazyExamples) and [e.prompt for e in held] == [e.prompt for e in lazy_held]


@pytest.mark.slow
def test_training_and_evaluation_are_the_same_to_the_bit(both: dict[str, Path], sft: Runner, tmp_path: Path) -> None:
    """With validation by a metric, rows ordered by length, and dialogues whose answers belong together."""
    options = ["--validation.split", "0.3", "--validation.steps", "2", "--validation.metric", "exact_match"]
    reports = {}
    for form, path in both.items():
        run = tmp_path / form
        assert sft(run, "--data", str(path), "--group_by_length", *options) == 0
        told = ["--adapter", str(run), "--data", str(path), "--out", str(run / "e"), "--with_base", "false"]
        assert main(["evaluate", *told, "--max_new_tokens", "8", "--limit", "5"]) == 0
        report = json.loads((run / "run.json").read_text())
        reports[form] = [
            (run / "adapter_model.safetensors").read_bytes(),
            json.loads((run / "validation.json").read_text()),
            report["data_hash"],
            json.loads((run / "e/metrics.json").read_text()),
            [line.split(",")[:2] for line in (run / "e/predictions.csv").read_text().splitlines()],
        ]
    assert reports["json"] == reports["arrow"]
    assert "dialogue_exact_match" in reports["arrow"][3]["adapter"]
