"""`ganglion export verify`: what was measured when a bundle was made holds here, or it says what doesn't."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ganglion.core.bundle import open_bundle, seal_bundle
from ganglion.core.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "bundle")


def test_a_bundle_as_it_was_made_is_verified(bundle, tmp_path, capsys):
    assert main(["export", "verify", str(bundle), "--report", str(tmp_path / "report.json")]) == 0
    out = capsys.readouterr().out
    assert "every limit is kept" in out and "here" in out
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["failed"] == [] and found["rows"][-1]["metrics"]["argmax_as_trained"] == 1


def test_it_needs_no_torch(bundle):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft'): sys.modules[name] = None\n"
        "from ganglion.core.cli import main\n"
        f"sys.exit(main(['export', 'verify', {str(bundle)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "every limit is kept" in done.stdout


def test_weights_that_compute_something_else_are_found_though_every_hash_is_right(copied, capsys):
    manifest = open_bundle(copied).manifest
    path = copied / "vlm/decoder.onnx"
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    changed = numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, path)
    seal_bundle(copied, manifest)
    assert main(["export", "verify", str(copied)]) == 1
    error = capsys.readouterr().err.strip()
    assert "vlm here against exported: max_rel is" in error and "\n" not in error


def test_a_gate_that_the_export_was_told_to_pass_fails_here(copied, capsys):
    text = (copied / "manifest.json").read_text()
    stored = json.loads(text)
    stored["parity"][0]["limits"]["argmax_agreement"] = 1.01
    (copied / "manifest.json").write_text(json.dumps(stored))
    assert main(["export", "verify", str(copied)]) == 1
    assert "vlm merged against trained: argmax_agreement is 1, the limit is 1.01" in capsys.readouterr().err


def test_damaged_references_are_named(copied, capsys):
    manifest = open_bundle(copied).manifest
    (copied / "parity/vlm.npz").write_bytes(b"no zip")
    seal_bundle(copied, manifest)
    assert main(["export", "verify", str(copied)]) == 1
    assert "parity/vlm.npz: can't be read" in capsys.readouterr().err


def test_with_data_the_metric_is_held_to_the_limit_that_the_export_had(trained, rows, tmp_path, capsys):
    out, data = tmp_path / "bundle", ["--data", str(rows), "--data_limit", "2"]
    options = ["--target", "hf", "--precision.language", "float32", "--parity_samples", "1"]
    assert main(["export", "--adapter", str(trained[0]), "--out", str(out), *options, *data]) == 0
    assert main(["export", "verify", str(out), *data]) == 0
    assert "exact_match_change 0" in capsys.readouterr().out.splitlines()[-2]


def test_it_names_what_is_no_bundle(tmp_path, capsys):
    assert main(["export", "verify", str(tmp_path)]) == 1
    assert "manifest.json: is missing" in capsys.readouterr().err
