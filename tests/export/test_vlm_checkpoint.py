"""Builds for transformers and vLLM: a merged checkpoint, or the adapter as it is."""

import json

import pytest
import torch

from ganglion.core.bundle import open_bundle
from ganglion.core.cli import main
from ganglion.core.errors import BundleError
from ganglion.model.processor import image_settings, load_processor
from ganglion.model.vlm import load_vlm

pytestmark = pytest.mark.slow
FEW = ("--parity_samples", "1")


def export(adapter, out, *options):
    return main(["export", "--adapter", str(adapter), "--out", str(out), *options, *FEW])


def test_a_merged_checkpoint_is_measured_in_the_type_it_is_stored_in(trained, tmp_path, capsys):
    assert export(trained[0], tmp_path / "hf", "--target", "hf", "--gate", "false") == 0
    bundle = open_bundle(tmp_path / "hf")
    part = bundle.manifest.vlm
    assert (part.form, part.merge, part.opset) == ("checkpoint", "exact", None)
    assert part.precision == {"language": "bfloat16", "vision": "bfloat16"}
    stages = [(row.stage, row.against) for row in bundle.manifest.parity]
    assert stages == [("merged", "trained"), ("checkpoint bfloat16", "merged")]
    assert 1e-4 < bundle.manifest.parity[1].metrics["max_rel"] < 0.1
    assert load_vlm(bundle.path("vlm"), device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16
    assert all(path.stat().st_mode & 0o044 for path in (tmp_path / "hf").rglob("*") if path.is_file())
    assert "library_name: transformers\n" in bundle.path("README.md").read_text()
    assert "peft" not in bundle.manifest.requires and "transformers" in bundle.manifest.requires
    assert main(["export", "verify", str(tmp_path / "hf")]) == 0


def test_in_float32_it_computes_what_was_merged(trained, tmp_path):
    assert export(trained[0], tmp_path / "hf", "--target", "hf", "--precision.language", "float32") == 0
    row = open_bundle(tmp_path / "hf").manifest.parity[1]
    assert row.max_abs < 1e-5 and row.limits == {"max_rel": 1e-4}


def test_images_are_resized_as_in_training(trained, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for path in trained[0].iterdir():
        (adapter / path.name).write_bytes(path.read_bytes())
    run = json.loads((adapter / "run.json").read_text()) | {"max_pixels": 56 * 56}
    (adapter / "run.json").write_text(json.dumps(run))
    assert export(adapter, tmp_path / "hf", "--target", "hf", "--gate", "false") == 0
    assert image_settings(load_processor(tmp_path / "hf/vlm"))["max_pixels"] == 56 * 56


def test_an_adapter_that_is_not_merged_lies_there_as_it_was_trained(trained, tmp_path, capsys):
    out = tmp_path / "beside"
    command = ("--target", "vllm", "--device", "cuda", "--merge", "none", "--precision.vision", "float32")
    assert export(trained[0], out, *command) == 0
    bundle = open_bundle(out)
    assert bundle.manifest.vlm.form == "adapter" and bundle.manifest.vlm.precision["language"] == "nf4"
    row = bundle.manifest.parity[0]
    assert (row.stage, row.max_abs) == ("adapter beside nf4, vision float32", 0)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (out / "vlm" / name).read_bytes() == (trained[0] / name).read_bytes()
    assert "bitsandbytes" in bundle.manifest.requires
    assert main(["export", "verify", str(out)]) == 0
    other = ["export", "verify", str(out), "--base", "offline:qwen2_5_vl?untrained"]
    capsys.readouterr()
    assert main(other) == 2
    assert "is not the base it was trained on" in capsys.readouterr().err


def test_on_the_base_as_published_it_is_another_model_and_has_a_gate_of_its_own(trained, tmp_path, capsys, monkeypatch):
    from ganglion.export import gates

    assert export(trained[0], tmp_path / "original", "--target", "hf", "--merge", "original", "--gate", "false") == 0
    row = open_bundle(tmp_path / "original").manifest.parity[0]
    assert row.stage == "merged original" and row.metrics["argmax_agreement"] < 1 and row.max_abs > 1e-3
    monkeypatch.setattr(gates, "BESIDE_AGREEMENT", 1.0)
    capsys.readouterr()
    assert export(trained[0], tmp_path / "out", "--target", "hf", "--merge", "original") == 1
    error = capsys.readouterr().err
    assert "vlm merged original against trained: argmax_agreement is 0." in error
    assert not (tmp_path / "out").exists()


def test_fewer_bits_for_vllm_come_with_a_stage_and_limit_of_their_own(trained, rows, tmp_path):
    options = ("--target", "vllm", "--precision.language", "int8", "--data", str(rows), "--data_limit", "2")
    assert export(trained[0], tmp_path / "vllm", *options) == 0
    bundle = open_bundle(tmp_path / "vllm")
    row = bundle.manifest.parity[-1]
    assert (row.stage, row.limits) == ("checkpoint int8, vision bfloat16", {"exact_match_change": -0.02})
    assert row.max_abs > 1e-3
    config = json.loads(bundle.path("vlm/config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert "compressed-tensors" in bundle.manifest.requires
    assert sorted(path.name for path in (tmp_path / "vllm").iterdir()) == [
        "README.md", "export.yaml", "manifest.json", "parity", "vlm",
    ]  # fmt: skip
    assert main(["export", "verify", str(tmp_path / "vllm")]) == 0


def test_too_few_rows_to_calibrate_on_are_counted_before_anything_is_merged(trained, rows, tmp_path, capsys):
    options = ("--target", "vllm", "--precision.language", "int4", "--calibration", str(rows))
    assert export(trained[0], tmp_path / "vllm", *options) == 2
    error = capsys.readouterr().err.strip()
    assert "rows to calibrate on, not 16 to 512" in error and "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_several_adapters_become_a_bundle_each_and_are_looked_at_before_any_is_exported(trained, tmp_path, capsys):
    two = tmp_path / "two"
    two.mkdir()
    for path in trained[0].iterdir():
        (two / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "out"
    command = ["export", "--out", str(out), "--target", "hf", "--gate", "false", *FEW]
    assert main([*command, "--adapter", f"[{trained[0]},{tmp_path / 'none'}]"]) == 2
    assert not out.exists()
    assert main([*command, "--adapter", f"[{trained[0]},{two}]"]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted((trained[0].name, "two"))
    files = [open_bundle(out / name).manifest.files for name in ("two", trained[0].name)]
    said = ("export.yaml",)  # which adapter it was
    assert len({json.dumps({k: v for k, v in one.items() if k not in said}) for one in files}) == 1
    capsys.readouterr()
    assert main([*command, "--adapter", f"[{two},{two}]"]) == 2
    assert "two adapters have folders of one name" in capsys.readouterr().err


def test_what_is_for_vllm_is_not_opened_by_our_engine_nor_taken_over_as_graphs(trained, tmp_path, capsys):
    from ganglion.serving.vlm.engine import VlmEngine

    assert export(trained[0], tmp_path / "hf", "--target", "hf", "--gate", "false") == 0
    with pytest.raises(BundleError, match="holds a VLM as checkpoint, for vLLM"):
        VlmEngine.open(open_bundle(tmp_path / "hf"))
    capsys.readouterr()
    assert export(tmp_path / "hf", tmp_path / "onnx") == 2
    assert "holds a VLM in the form 'checkpoint', --target onnx needs 'onnx'" in capsys.readouterr().err
