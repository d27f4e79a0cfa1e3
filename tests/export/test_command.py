"""`ganglion export` as a user runs it: a whole bundle or none."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from language_for_test import language_adapter

from ganglion.core.bundle import open_bundle
from ganglion.core.cli import main
from ganglion.core.errors import BundleError, InputError
from ganglion.core.manifest import FORMAT_VERSION, ParityRow

pytestmark = pytest.mark.slow


def test_the_bundle_opens_and_says_what_it_is_and_how_far_from_what_was_trained(bundle, trained):
    manifest = open_bundle(bundle).manifest
    assert manifest.vlm.task == "exo_assist"
    assert manifest.vlm.base_hash == json.loads((trained[0] / "run.json").read_text())["base_hash"]
    assert [(row.part, row.stage, row.against) for row in manifest.parity] == [
        ("vlm", "merged", "trained"),
        ("vlm", "onnx", "merged"),
    ]
    assert all(row.max_abs <= 1e-4 and row.samples == 2 for row in manifest.parity)
    assert manifest.parity[1].metrics["greedy_equal"] is True
    assert not any(row.failures() for row in manifest.parity) and all(row.limits for row in manifest.parity)


def test_fewer_bits_come_with_a_stage_of_their_own_scored_on_the_task(trained, bundle, rows, tmp_path, capsys):
    out, options = tmp_path / "bundle", ("--precision.language", "int4", "--parity_samples", "2", "--data_limit", "4")
    assert main(["export", "--adapter", str(trained[0]), "--data", str(rows), "--out", str(out), *options]) == 0
    manifest = open_bundle(out).manifest
    assert manifest.vlm.precision == {"language": "int4", "vision": "float32"}
    stages = [(row.stage, row.against, row.samples) for row in manifest.parity]
    assert stages == [
        ("merged", "trained", 4),
        ("onnx", "merged", 4),
        ("onnx int4, vision float32", "onnx", 4),
    ]
    assert [row.limits["exact_match_change"] for row in manifest.parity] == [-0.01, -0.01, -0.05]
    assert manifest.parity[1].max_abs < 1e-4 < manifest.parity[2].max_abs
    assert "onnx int4" in capsys.readouterr().out
    decoders = [folder / "vlm/decoder.onnx" for folder in (out, bundle)]
    assert decoders[0].stat().st_size < decoders[1].stat().st_size
    for name in ("vision", "embed"):  # the same inputs, another export: the same bytes
        assert manifest.files[f"vlm/{name}.onnx"] == open_bundle(bundle).manifest.files[f"vlm/{name}.onnx"]


def test_a_gate_that_is_not_kept_stops_the_export_and_leaves_nothing(trained, rows, tmp_path, capsys, monkeypatch):
    from ganglion.export import gates

    monkeypatch.setattr(gates, "SAME_MAX_REL", 0.0)
    command = ["export", "--adapter", str(trained[0]), "--out", str(tmp_path / "bundle"), "--parity_samples", "1"]
    assert main(command) == 1
    error = capsys.readouterr().err.strip()
    assert "vlm onnx against merged: max_rel is" in error and "the limit is 0" in error and "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_vision_tower_in_fewer_bits_is_not_held_to_float32():
    from ganglion.core.tasks import EXO_ASSIST
    from ganglion.export.gates import gated
    from ganglion.export.targets import FLOAT32, Precision

    row = ParityRow("vlm", "onnx", "merged", 1, 0.5)
    assert gated(row, Precision(vision="int8"), None).limits == {}
    assert gated(row, Precision(vision="int8"), EXO_ASSIST).limits == {"exact_match_change": -0.02}
    assert gated(row, FLOAT32, None).limits == {"max_rel": 1e-4}


def test_options_that_a_bundle_would_not_follow_are_refused(bundle, tmp_path, capsys):
    command = ["export", "--adapter", str(bundle), "--out", str(tmp_path / "out")]
    assert main([*command, "--precision.language", "int4"]) == 2
    assert "is taken over as it is" in capsys.readouterr().err


def test_a_limit_that_nothing_was_measured_for_is_not_kept():
    row = ParityRow("vlm", "onnx", "merged", 1, 0.5, {"argmax_agreement": 0.9}, {"max_abs": 0.1, "f1_change": -0.01})
    assert row.failures() == ["max_abs is 0.5, the limit is 0.1", "f1_change is not measured, the limit is -0.01"]
    assert not ParityRow("vlm", "onnx", "merged", 1, 0.5, {"argmax_agreement": 0.9}).failures()


def test_a_language_model_is_exported_and_served_without_vision(tmp_path):
    from ganglion.serving.vlm.engine import VlmEngine

    adapter = language_adapter(tmp_path / "adapter")
    command = ["export", "--adapter", str(adapter), "--out", str(tmp_path / "bundle"), "--parity_samples", "2"]
    assert main(command) == 0
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.vlm.image_token_id is None and "vlm/vision.onnx" not in bundle.manifest.files
    assert all(row.max_abs <= 1e-4 for row in bundle.manifest.parity)
    engine = VlmEngine.open(bundle)
    assert engine.generate([], "move the arm up", max_new_tokens=5).tokens
    with pytest.raises(InputError, match="sees no images"):
        engine.generate([b""], "what is this?", max_new_tokens=5)


def test_the_card_and_the_resolved_config_lie_in_the_bundle(bundle):
    assert "| vlm | merged | trained | 2 |" in (bundle / "README.md").read_text()
    assert "parity_samples: 2" in (bundle / "export.yaml").read_text()


def test_nothing_else_is_left_beside_the_bundle(bundle):
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_an_existing_bundle_is_refused_and_left_as_it_was(bundle, trained, capsys):
    before = open_bundle(bundle).manifest
    assert main(["export", "--adapter", str(trained[0]), "--out", str(bundle)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert open_bundle(bundle).manifest == before


def test_force_does_not_replace_what_is_no_bundle(trained, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["export", "--adapter", str(trained[0]), "--out", str(tmp_path), "--force"]) == 2
    assert "is no bundle" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_export_that_fails_leaves_the_old_bundle(bundle, trained, tmp_path, capsys):
    before = open_bundle(bundle).manifest
    args = ["export", "--adapter", str(trained[0]), "--policy", str(tmp_path), "--out", str(bundle), "--force"]
    assert main(args) == 2
    assert "holds no robot.json" in capsys.readouterr().err
    assert open_bundle(bundle).manifest == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to export"),
        (["--adapter", "nowhere"], "holds no adapter_config.json"),
        (["--adapter", "nowhere", "--parity_samples", "0"], "--parity_samples is 0"),
        (["--adapter", "nowhere", "--precision.vision", "int3"], "--precision.vision is 'int3'"),
        (["--adapter", "nowhere", "--data_limit", "0"], "--data_limit is 0"),
        (["--adapter", "nowhere", "--calibration", "rows.json"], "--calibration changes nothing here"),
        (["--policy", "nowhere", "--precision.calibrated"], "a head in float32 isn't calibrated"),
        (["--policy", "nowhere", "--target", "vllm"], "--target vllm holds no policy"),
        (["--policy", "nowhere", "--data", "rows.json"], "--data given without --adapter"),
        (["--adaptor", "nowhere"], "adaptor"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(args, message, tmp_path, capsys):
    assert main(["export", *args, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def start_export(*options, code="import sys; from ganglion.core.cli import main; sys.exit(main(sys.argv[1:]))"):
    command = [sys.executable, "-c", code, "export", *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ)


@pytest.mark.parametrize("moment", [".bundle.*/bundle/vlm/*.safetensors", ".bundle.*/bundle/parity/vlm.npz"], ids=Path)
def test_a_killed_export_leaves_the_old_bundle_and_no_half_one(trained, bundle, tmp_path, moment):
    out = shutil.copytree(bundle, tmp_path / "bundle")
    before = open_bundle(out).manifest
    options = ("--target", "hf", "--parity_samples", "1", "--force")  # the quickest; all are written aside alike
    process = start_export("--adapter", trained[0], "--out", out, *options)
    try:
        while not (begun := list(tmp_path.glob(moment))) and process.poll() is None:
            time.sleep(0.01)
        assert begun
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert open_bundle(out).manifest == before


def test_a_full_disk_is_one_line_and_leaves_nothing(trained, tmp_path):
    """Where a file may be as large as a graph is not, as on a disk that has room for no more."""
    limited = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        "from ganglion.core.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    options = ("--adapter", trained[0], "--out", tmp_path / "bundle", "--parity_samples", "1")
    process = start_export(*options, code=limited)
    _, error = process.communicate()
    assert process.returncode == 1
    assert re.search("can't write: .*File too large.*; free space", error) and "\n" not in error.strip()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_is_named_before_anything_is_computed(trained, capsys):
    assert main(["export", "--adapter", str(trained[0]), "--out", "/proc/ganglion/bundle"]) == 1
    assert "/proc/ganglion/bundle: can't write" in capsys.readouterr().err


def test_a_flipped_byte_a_missing_file_and_a_newer_format_are_refused_by_name(bundle):
    weights, manifest = bundle / "vlm/decoder.onnx", bundle / "manifest.json"
    good, text = weights.read_bytes(), manifest.read_text()
    middle = len(good) // 2
    try:
        weights.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        with pytest.raises(BundleError, match=r"vlm/decoder\.onnx: has changed"):
            open_bundle(bundle)
        weights.unlink()
        with pytest.raises(BundleError, match=r"vlm/decoder\.onnx: is missing"):
            open_bundle(bundle)
        weights.write_bytes(good)
        newer = json.loads(text) | {"format_version": FORMAT_VERSION + 1}
        manifest.write_text(json.dumps(newer))
        with pytest.raises(BundleError, match=r"manifest\.json: has format version 3"):
            open_bundle(bundle)
    finally:
        weights.write_bytes(good)
        manifest.write_text(text)
    open_bundle(bundle)


def test_a_bundle_taken_over_for_triton_holds_a_repository_around_the_same_files(bundle, tmp_path):
    out = tmp_path / "triton"
    assert main(["export", "--adapter", str(bundle), "--out", str(out), "--target", "triton"]) == 0
    manifest = open_bundle(out).manifest
    assert manifest.vlm == open_bundle(bundle).manifest.vlm
    for name in ("vision", "embed", "decoder"):
        assert f"triton/{name}/config.pbtxt" in manifest.files
        assert (out / f"triton/{name}/1/model.onnx").samefile(out / f"vlm/{name}.onnx")
    assert main(["export", "verify", str(out)]) == 0
