"""Two processes under torchrun learn what one does with twice the accumulation, and are resumed like one."""

import json
import os
import subprocess
import sys
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
        "--steps": "4",
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


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "ganglion.core.cli", *arguments], capture_output=True, text=True, timeout=300, env=environment
    )


def test_two_processes_equal_one_with_twice_the_accumulation(exo_data: Path, tmp_path: Path) -> None:
    done = torchrun(*options(exo_data, tmp_path / "two"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(f"adapter in {tmp_path / 'two'}") == 1
    assert main(options(exo_data, tmp_path / "one", "--accumulation", "2")) == 0
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    assert max(float(tensor.abs().max()) for name, tensor in one.items() if "lora_B" in name) > 1e-4
    losses = [[e["loss"] for e in json.loads((tmp_path / n / "history.json").read_text())] for n in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2


def test_one_line_tells_what_is_wrong_for_all_processes(exo_data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    done = torchrun(*options(tmp_path / "empty.json", tmp_path / "run"))
    assert done.returncode != 0
    assert sum("holds no rows" in line for line in done.stderr.splitlines()) == 1
