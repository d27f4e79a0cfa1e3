"""Two processes under torchrun learn what one does with twice the accumulation, and are resumed like one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from ganglion.core.cli import main  # noqa: E402

pytestmark = pytest.mark.slow


def options(data: Path, out: Path, *more: str) -> list[str]:
    given = {
        "--task": "exo_assist",
        "--base": "offline:qwen2_vl?untrained",
        "--data": str(data),
        "--out": str(out),
        "--steps": "8",
        "--batch_size": "2",
        "--save_steps": "2",
        "--logging_steps": "1",
        "--lora.r": "4",
        "--lora.dropout": "0",
        "--optim.lr": "1e-3",
        "--optim.warmup_steps": "0",
        "--threads": "1",
    }
    return ["train", "sft", *(part for pair in given.items() for part in pair), *more]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    return [*torchrun, "ganglion.core.cli", *arguments]


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def two(exo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes."""
    out = tmp_path_factory.mktemp("runs") / "two"
    done = torchrun(*options(exo_data, out))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(f"adapter in {out}") == 1
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(run / "adapter_model.safetensors"))


def test_two_processes_equal_one_with_twice_the_accumulation(two: Path, exo_data: Path, tmp_path: Path) -> None:
    assert main(options(exo_data, tmp_path / "one", "--accumulation", "2")) == 0
    one, learned = weights(tmp_path / "one"), weights(two)
    assert max(float((one[name] - learned[name]).abs().max()) for name in one) < 1e-5
    assert max(float(tensor.abs().max()) for name, tensor in one.items() if "lora_B" in name) > 1e-4
    histories = (json.loads((run / "history.json").read_text()) for run in (tmp_path / "one", two))
    losses = [[entry["loss"] for entry in history] for history in histories]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert json.loads((two / "run.json").read_text())["processes"] == 2


@pytest.mark.acceptance
def test_two_processes_that_were_stopped_go_on_to_the_same_weights(two: Path, exo_data: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    process = subprocess.Popen(command(*options(exo_data, cut)), env=ENVIRONMENT)
    while not (cut / "checkpoints" / "checkpoint-2").exists() and process.poll() is None:
        time.sleep(0.005)
    process.terminate()  # torchrun passes it on
    process.wait()
    assert not (cut / "run.json").exists(), "the run ended before it could be stopped"
    done = torchrun(*options(exo_data, cut))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on from" in done.stdout + done.stderr
    whole, resumed = weights(two), weights(cut)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_one_line_tells_what_is_wrong_for_all_processes(exo_data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    done = torchrun(*options(tmp_path / "empty.json", tmp_path / "run"))
    assert done.returncode != 0
    assert sum("holds no rows" in line for line in done.stderr.splitlines()) == 1
