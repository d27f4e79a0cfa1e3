"""The commands, as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *command):
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def ganglion():
    """(folder to run it in, arguments) -> None."""
    return lambda folder, *args: run(folder, "-m", "ganglion.core.cli", *args)


@pytest.fixture(scope="session")
def train():
    """(folder, name of a recipe, data, options): train by it into the folder's `run`, two processes on two cores."""
    processes = min(2, os.cpu_count() or 1)
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node", str(processes))
    return lambda folder, recipe, data, *options: run(
        folder,
        *torchrun,
        *("-m", "ganglion.core.cli", "train", "sft", "--config", ROOT / "recipes" / f"{recipe}.yaml"),
        *("--data", data, "--out", "run", *options),
    )
