"""The commands, as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(folder, *args):
    command = [sys.executable, *map(str, args)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def ganglion():
    """(folder to run it in, arguments) -> None."""
    return lambda folder, *args: python(folder, "-m", "ganglion.core.cli", *args)


@pytest.fixture(scope="session")
def train():
    """(folder, name of a recipe, data, options): train by it into the folder's `run`, two processes on two cores."""
    processes = min(2, os.cpu_count() or 1)
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node", str(processes))
    return lambda folder, recipe, data, *options: python(
        folder,
        *torchrun,
        *("-m", "ganglion.core.cli", "train", "sft", "--config", ROOT / "recipes" / f"{recipe}.yaml"),
        *("--data", data, "--out", "run", *options),
    )


@pytest.fixture(scope="module")
def scores(run):
    """Metrics of each model, of the evaluation in `run`, a module's folder with what its recipe made."""
    return json.loads((run / "run/evaluation/metrics.json").read_text())


@pytest.fixture(scope="module")
def minutes(run):
    """How long training took."""
    return json.loads((run / "run/compute.json").read_text())["seconds"]["wall"] / 60
