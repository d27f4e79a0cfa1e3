"""`ganglion export plan`: sizes are those of the files that an export writes; nothing is loaded or written."""

import json
from pathlib import Path

import pytest

from ganglion.core.bundle import open_bundle
from ganglion.core.cli import main
from ganglion.export.config import ExportConfig, PrecisionOptions
from ganglion.export.plan import plan

pytestmark = pytest.mark.slow


def assert_planned(config, bundle):
    figures, planned = open_bundle(bundle).manifest.figures, plan(config).files
    assert {file.path for file in planned} == set(figures)
    for file in planned:
        graph = 250_000  # nodes and names
        assert file.bytes <= figures[file.path].bytes <= 1.02 * file.bytes + graph, file.path


def test_planned_files_are_those_written(trained, bundle):
    assert_planned(ExportConfig(adapter=trained[0]), bundle)


def test_planned_files_in_fewer_bits_are_those_written(trained, tmp_path):
    command = ["export", "--adapter", str(trained[0]), "--out", str(tmp_path / "b"), "--parity_samples", "1"]
    assert main([*command, "--precision.language", "int4", "--precision.vision", "int8", "--gate", "false"]) == 0
    precision = PrecisionOptions(language="int4", vision="int8")
    assert_planned(ExportConfig(adapter=trained[0], precision=precision), tmp_path / "b")


@pytest.mark.parametrize(("language", "form"), [("bfloat16", "hf"), ("float32", "hf"), ("int8", "vllm")])
def test_a_planned_checkpoint_is_the_one_written(trained, tmp_path, language, form):
    command = ["export", "--adapter", str(trained[0]), "--out", str(tmp_path / "b"), "--target", form]
    assert main([*command, "--precision.language", language, "--gate", "false", "--parity_samples", "1"]) == 0
    options = PrecisionOptions(language=language)
    (file,) = plan(ExportConfig(adapter=trained[0], target=form, precision=options)).files
    assert file.bytes == pytest.approx((tmp_path / "b/vlm/model.safetensors").stat().st_size, rel=0.01)


def test_a_real_size_needs_its_configuration_only(tmp_path, capsys):
    real = json.loads((Path(__file__).parents[1] / "training/real_configs.json").read_text())["models"]["Qwen2-VL-2B"]
    (tmp_path / "config.json").write_text(json.dumps(real["config"]))
    found = plan(ExportConfig(base=str(tmp_path), target="hf", precision=PrecisionOptions(language="bfloat16")))
    assert found.files[0].bytes == pytest.approx(2 * real["parameters"], rel=0.01)
    graphs = plan(ExportConfig(base=str(tmp_path), precision=PrecisionOptions(language="int4", vision="int8")))
    stages = {stage.name: stage.bytes for stage in graphs.stages}
    assert 0 == stages["onnx"] < stages["measured"] < stages["onnx int4, vision int8"] < graphs.peak_bytes < 5e9
    assert stages["trained"] < graphs.peak_bytes and graphs.scratch_bytes == 4 * real["parameters"]
    embedding = real["config"]["text_config"]["vocab_size"] * real["config"]["text_config"]["hidden_size"]
    assert next(file.bytes for file in graphs.files if file.path == "vlm/embed.onnx") == 2 * embedding
    assert stages["merged"] == 4 * embedding
    assert main(["export", "plan", "--base", str(tmp_path), "--precision.language", "int4"]) == 0
    out = capsys.readouterr().out
    assert "vlm/decoder.onnx" in out and "GB" in out and sorted(p.name for p in tmp_path.iterdir()) == ["config.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to plan"),
        (["--adapter", "nowhere"], "run.json: is missing"),
        (["--base", "offline:qwen2_vl?untrained", "--target", "onxx"], "--target is 'onxx'"),
    ],
)
def test_what_can_not_be_planned_is_one_line(options, message, capsys):
    assert main(["export", "plan", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
