"""What fine-tuning tests share: a small data set, and a run on the random base that takes seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ganglion.core.cli import main

Runner = Callable[..., int]
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(kind, source, *options): the one line of an import that is refused and leaves nothing."""

    def run(kind: str, source: Path | str, *options: str) -> str:
        out = tmp_path / "room" / "out"
        code = main(["data", "import", kind, str(source), "--out", str(out), *options])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert code == 2, lines
        assert lines[0].startswith("ganglion: ") and len(lines[0]) < 600
        assert lines[0].rpartition("; ")[2], "no remedy"
        assert not out.parent.exists() or not list(out.parent.iterdir()), "something half is left"
        return lines[0]

    return run


@pytest.fixture(scope="session")
def exo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file of 16 rows with images of 56 pixels."""
    folder = tmp_path_factory.mktemp("exo") / "set"
    options = ["--count", "16", "--size", "56", "--workers", "1"]
    assert main(["data", "synth", "exo_assist", "--out", str(folder), *options]) == 0
    return folder / "data.json"


@pytest.fixture
def sft(exo_data: Path) -> Runner:
    """sft(out, *options): fine-tune for four steps of two rows, without dropout; options override."""

    def run(out: Path, *more: str) -> int:
        given = {
            "--task": "exo_assist",
            "--base": "offline:qwen2_vl?untrained",
            "--data": str(exo_data),
            "--out": str(out),
            "--steps": "4",
            "--batch_size": "2",
            "--logging_steps": "1",
            "--lora.r": "4",
            "--lora.dropout": "0",
            "--optim.lr": "1e-3",
            "--optim.warmup_steps": "0",
            "--threads": "1",
        }
        return main(["train", "sft", *(part for pair in given.items() for part in pair), *more])

    return run
