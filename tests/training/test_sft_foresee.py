"""`train sft --estimate`: what a run would take, told from config and data, with nothing loaded and nothing trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from ganglion.core.cli import main
from ganglion.training.sft.config import SftConfig
from ganglion.training.sft.foresee import _rows

Runner = Callable[..., int]
RECIPES = Path(__file__).resolve().parents[2] / "recipes"
# Of Qwen3-VL-8B, from its config.json: enough for transformers' config class.
QWEN3_VL_8B = {
    "model_type": "qwen3_vl",
    "tie_word_embeddings": False,
    "text_config": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]},
    },
    "vision_config": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 4096,
    },
}


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """The folder of a checkpoint of real size, of which only the config is there."""
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "config.json").write_text(json.dumps(QWEN3_VL_8B))
    return tmp_path / "big"


def estimate(out: Path, *options: str) -> list[dict]:
    assert main(["train", "sft", *options, "--estimate", "--out", str(out)]) == 0
    return json.loads(out.with_name(f"{out.name}.estimate.json").read_text())


def test_a_recipe_of_real_size_is_told_without_its_weights(
    big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(RECIPES / "exo_assist_qwen3_vl_8b.yaml")
    (found,) = estimate(tmp_path / "run", "--config", recipe, "--base", str(big), "--estimate_on", "a100-40gb")
    assert found["parameters"] == 8_767_123_696 and found["fits"] and 5e9 < found["total_bytes"] < 40e9
    said = capsys.readouterr().out
    assert "fits NVIDIA A100 40 GB" in said and "no data given" in said and "an assumption" in said


def test_what_does_not_fit_comes_with_what_to_change(
    big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--task", "exo_assist", "--base", str(big), "--quantization", "none", "--batch_size", "16")
    (found,) = estimate(tmp_path / "run", *options, "--estimate_on", "rtx-3090")
    assert not found["fits"]
    assert "fits with" in capsys.readouterr().out.splitlines()[-2]


@pytest.mark.slow
def test_rows_are_counted_where_there_are_data(exo_data: Path, tmp_path: Path) -> None:
    base = "offline:qwen2_vl?untrained"
    rows = _rows(SftConfig(task="exo_assist", data=exo_data, base=base))
    assert (rows.count, rows.images, rows.size) == (16, 1, (56, 56)) and "(counted)" in rows.note
    options = ("--task", "exo_assist", "--base", base, "--data", str(exo_data), "--batch_size", "4", "--epochs", "2")
    (found,) = estimate(tmp_path / "run", *options)
    assert found["steps"] == 8 and found["tokens_per_row"] == rows.text_tokens + 4
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_a_tokenizer_lengths_are_guessed_and_said_to_be(big: Path, exo_data: Path) -> None:
    rows = _rows(SftConfig(task="exo_assist", data=exo_data, base=str(big)))
    assert "guessed" in rows.note and 60 < rows.text_tokens < 200


@pytest.mark.slow
def test_each_stage_that_differs_is_told(exo_data: Path, tmp_path: Path) -> None:
    stages = "[{name: a, steps: 3}, {name: b, steps: 3, batch_size: 2}]"
    base = ("--task", "exo_assist", "--base", "offline:qwen2_vl?untrained", "--data", str(exo_data))
    first, second = estimate(tmp_path / "run", *base, "--stages", stages)
    assert second["step_flops"] < first["step_flops"]


def test_an_unknown_device_is_named(big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--task", "exo_assist", "--base", str(big), "--estimate", "--estimate_on", "abacus"]
    assert main(["train", "sft", *options, "--out", str(tmp_path / "run")]) == 2
    assert "unknown device 'abacus'" in capsys.readouterr().err
