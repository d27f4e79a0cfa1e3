"""`train policy --estimate`: what a run would take, told from its options, with nothing loaded and nothing trained."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demonstrations_for_test import written
from policy_for_test import ROBOT, UNTRAINED, recorded, recording

pytest.importorskip("torch")

from ganglion.core.cli import main
from ganglion.core.specs import CameraSpec
from ganglion.training.policy.config import PolicyTrainConfig, resolved

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
QWEN2_5_VL_3B = json.loads((Path(__file__).parent / "real_configs.json").read_text())["models"]["Qwen2.5-VL-3B"]
TINY = ("--vl.base", UNTRAINED, "--size", "tiny")


@pytest.fixture
def real_base(tmp_path: Path) -> str:
    """The folder of Qwen2.5-VL-3B, of which only the config is there."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(QWEN2_5_VL_3B["config"]))
    return str(tmp_path / "base")


@pytest.fixture
def wide_base(real_base: str) -> str:
    """A base as large, of few and wide layers: what takes time here is their number."""
    path = Path(real_base) / "config.json"
    config = json.loads(path.read_text())
    config["text_config"] |= {"num_hidden_layers": 4, "hidden_size": 8192, "num_attention_heads": 64}
    config["text_config"]["intermediate_size"] = 16384
    config["vision_config"] |= {"depth": 1, "out_hidden_size": 8192}
    path.write_text(json.dumps(config))
    return real_base


def estimate(out: Path, *options: str) -> dict[str, Any]:
    assert main(["train", "policy", *options, "--estimate", "--out", str(out)]) == 0
    assert not out.exists()
    found: dict[str, Any] = json.loads(out.with_name(f"{out.name}.estimate.json").read_text())
    return found


def refusal(capsys: pytest.CaptureFixture[str], out: Path, *options: str) -> str:
    assert main(["train", "policy", "--estimate", "--out", str(out), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and not out.with_name(f"{out.name}.estimate.json").exists()
    return lines[0]


@pytest.mark.slow
def test_the_recipe_of_3_billion_weights_fits_24_gb(
    real_base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = RECIPES / "policy_qwen2_5_vl_3b.yaml"
    named = re.search(r"one GPU of (\d+) GB", recipe.read_text())
    options = ("--config", str(recipe), "--vl.base", real_base, "--estimate_on", "rtx-3090")
    found = estimate(tmp_path / "run", *options)
    assert named and found["fits"] and found["total_bytes"] < int(named[1]) * 1e9
    parameters = found["parameters"]
    # Half of the text layers, by arithmetic: without them, the rest of what is published.
    layer = 2 * 2048 * 2048 + 2048 + 2 * (2048 * 256 + 256) + 3 * 2048 * 11008 + 2 * 2048
    assert parameters["backbone, frozen"] == QWEN2_5_VL_3B["parameters"] - 18 * layer - 2048
    assert parameters["vl_lora"] == 18 * 16 * (4 * 2048 + 2 * (2048 + 256) + 3 * (2048 + 11008))
    assert found["bytes"]["frozen weights and tables"] == pytest.approx(2 * parameters["backbone, frozen"], rel=1e-3)
    learned = [parameters[name] for name in ("action_expert", "sensor_encoder", "vl_lora")]
    assert [found["bytes"][f"{name}: weights, gradients, moments"] for name in list(parameters)[1:]] == pytest.approx(
        [16 * count for count in learned], rel=1e-3
    )
    said = capsys.readouterr().out
    assert "fits NVIDIA GeForce RTX 3090" in said and "no data given" in said and "an assumption" in said


def test_a_sets_robot_and_words_are_what_is_estimated(tmp_path: Path) -> None:
    one = recorded(tmp_path / "one", 1)
    two = replace(ROBOT, cameras=(*ROBOT.cameras, CameraSpec("wrist", 56, 56, 10.0)))
    written(tmp_path / "two", replace(recording(0, robot=two), instruction="Touch it. " * 20), robot=two)
    found = [
        estimate(tmp_path / "run", *TINY, "--data", str(data), "--vl.finetune", "lora")
        for data in (one, tmp_path / "two")
    ]
    assert "56 x 56" in found[0]["note"] and "camera wrist" in found[1]["note"]
    assert found[1]["bytes"]["kept by the backbone"] > 1.5 * found[0]["bytes"]["kept by the backbone"]
    assert found[1]["step_flops"] > 1.5 * found[0]["step_flops"]


def test_features_from_a_cache_need_no_backbone(tmp_path: Path) -> None:
    data = recorded(tmp_path / "set", 1)
    assert main(["cache", str(data), "--out", str(tmp_path / "cache"), "--base", UNTRAINED]) == 0
    cached = estimate(tmp_path / "run", *TINY, "--data", str(data), "--cache", str(tmp_path / "cache"))
    seen = estimate(tmp_path / "run", *TINY, "--data", str(data))
    assert "backbone, frozen" in seen["parameters"] and "backbone, frozen" not in cached["parameters"]
    assert cached["step_flops"] < 0.8 * seen["step_flops"]


def test_frames_that_are_seen_before_training_are_counted(tmp_path: Path) -> None:
    few, many = (
        estimate(tmp_path / "run", *TINY, "--frames", count, "--estimate_on", "cpu") for count in ("100", "1100")
    )
    tokens = 16 * 4  # at least the tokens of a 112 px picture, merged
    assert many["bytes"]["batch"] - few["bytes"]["batch"] >= 1000 * tokens * 64 * 4
    assert "peak while frames are seen" in many["other_peaks"]


@pytest.mark.slow
def test_what_does_not_fit_comes_with_what_to_change(
    wide_base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--config", str(RECIPES / "policy_qwen2_5_vl_3b_stage1.yaml"), "--vl.base", wide_base)
    options += ("--batch_size", "320", "--estimate_on", "rtx-4090")
    without = estimate(tmp_path / "run", *options, "--vl.gradient_checkpointing", "false")
    assert capsys.readouterr().out.splitlines()[-2].startswith("fits with --vl.gradient_checkpointing true: ")
    with_it = estimate(tmp_path / "run", *options)
    assert with_it["fits"] and not without["fits"] and with_it["step_seconds"] > without["step_seconds"]
    assert without["bytes"]["kept by the backbone"] > 5 * with_it["bytes"]["kept by the backbone"]


@pytest.mark.slow
def test_fewer_rows_at_once_are_advised_too(wide_base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--vl.base", wide_base, "--vl.finetune", "lora", "--vl.gradient_checkpointing", "true")
    assert not estimate(tmp_path / "run", *options, "--batch_size", "512", "--estimate_on", "rtx-3090")["fits"]
    assert re.search(r"fits with --batch_size \d+ --accumulation \d+: ", capsys.readouterr().out)


def test_a_default_run_is_told_for_this_machine(tmp_path: Path) -> None:
    found = estimate(tmp_path / "run", *TINY)
    assert found["fits"] and found["step_seconds"] > 0
    assert found["parameters"].keys() == {"action_expert", "sensor_encoder"}
    assert found["bytes"]["batch"] >= 6 * 650 * 1026 * 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--estimate_on", "abacus"), "unknown device 'abacus'"),
        (("--vl.base", "/no/such/base"), "/no/such/base"),
        (("--vl.base", "{tmp}"), "holds no config.json"),
        (("--vl.base", "offline:qwen2?untrained"), "takes no images"),
        (("--vl.layer", "99"), "text layer 99 does not exist"),
        (("--vl.layer", "0", "--vl.finetune", "lora"), "nothing is to learn"),
        (("--batch_size", "0"), "--batch_size is 0"),
        (("--data", "/no/such/data"), "/no/such/data"),
        (("--data", "{tmp}"), "{tmp}"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    options: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [option.replace("{tmp}", str(tmp_path)) for option in options]
    assert named.replace("{tmp}", str(tmp_path)) in refusal(capsys, tmp_path / "run", *TINY, *given)


def test_a_base_that_is_not_to_be_had_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = refusal(capsys, tmp_path / "run", "--vl.base", "nobody/nothing")
    assert "nobody/nothing: no usable config" in said


def test_a_damaged_config_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_')
    assert str(tmp_path) in refusal(capsys, tmp_path / "run", "--vl.base", str(tmp_path))


def test_whether_a_run_was_estimated_does_not_bind_it() -> None:
    assert resolved(PolicyTrainConfig(estimate=True, estimate_on="cpu")) == resolved(PolicyTrainConfig())
