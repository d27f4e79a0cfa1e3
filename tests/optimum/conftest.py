"""One merged language model three times: our graphs of it, its checkpoint, and optimum's graphs of the checkpoint."""

import os
import subprocess
from pathlib import Path

import pytest
from language_for_test import language_adapter

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("GANGLION_OPTIMUM_VENV") or ROOT / ".venv-optimum")


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    if not VENV.is_dir():
        pytest.skip(f"no optimum in {VENV}: make test-optimum")
    return language_adapter(tmp_path_factory.mktemp("language") / "adapter")


@pytest.fixture(scope="session")
def ours(adapter):
    """Folder of bundles `float32` and `int8`."""
    for precision in ("float32", "int8"):
        export(adapter, adapter.parent / precision, precision)
    return adapter.parent


@pytest.fixture(scope="session")
def optimums(adapter):
    """Folder of optimum's exports `float32` and `int8`."""
    bundle, out = adapter.parent / "hf", adapter.parent / "optimum"
    export(adapter, bundle, "float32", "--target", "hf")
    # Isolated (-I): PYTHONPATH may lead to Ganglion, which must have no part in this.
    command = [VENV / "bin/python", "-I", Path(__file__).with_name("convert.py"), bundle / "vlm", out]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    print("optimum:", done.stdout.strip())
    return out


def export(adapter, out, precision, *options):
    from ganglion.core.cli import main

    # No gate: what int8 does to a model of random weights is measured here, not limited.
    options = ("--precision.language", precision, "--parity_samples", "1", "--gate", "false", *options)
    assert main(["export", "--adapter", str(adapter), "--out", str(out), *options]) == 0
