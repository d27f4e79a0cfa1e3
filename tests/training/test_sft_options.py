"""Every option of `train sft` does what it says."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from ganglion.core.cli import main  # noqa: E402
from ganglion.training.sft.config import LoraOptions, OptimOptions, SftConfig  # noqa: E402
from ganglion.training.sft.trainer import SftTrainer, arguments  # noqa: E402

pytestmark = pytest.mark.slow
Runner = Callable[..., int]


def weights(out: Path) -> dict[str, Any]:
    return load_file(out / "adapter_model.safetensors")


def read(out: Path, name: str) -> Any:
    return json.loads((out / name).read_text())


def apart(one: Path, other: Path) -> float:
    """Largest difference of any weight of two adapters."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.0, 0.5e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3]),
        ("linear", [0.0, 0.5e-3, *(1e-3 * (8 - k) / 6 for k in range(2, 8))]),
        ("cosine", [0.0, 0.5e-3, *(0.5e-3 * (1 + math.cos(math.pi * (k - 2) / 6)) for k in range(2, 8))]),
    ],
)
def test_the_learning_rate_follows_warm_up_and_schedule(
    sft: Runner, tmp_path: Path, schedule: str, expected: list[float]
) -> None:
    for way in (["--optim.warmup_steps", "2"], ["--optim.warmup_ratio", "0.25"]):
        out = tmp_path / way[0].strip("-")
        assert sft(out, "--steps", "8", "--optim.schedule", schedule, *way) == 0
        rates = [entry["learning_rate"] for entry in read(out, "history.json")]
        assert rates == pytest.approx(expected, abs=1e-9)


def test_two_batches_accumulated_are_one_of_twice_the_size(sft: Runner, tmp_path: Path) -> None:
    assert sft(tmp_path / "one", "--batch_size", "4", "--epochs", "1", "--steps", "3") == 0
    assert sft(tmp_path / "two", "--batch_size", "2", "--accumulation", "2", "--steps", "3") == 0
    assert float(max(t.abs().max() for n, t in weights(tmp_path / "one").items() if "lora_B" in n)) > 0
    assert apart(tmp_path / "one", tmp_path / "two") < 1e-5


def test_recomputed_activations_give_the_same_weights(sft: Runner, tmp_path: Path) -> None:
    assert sft(tmp_path / "kept") == 0
    assert sft(tmp_path / "again", "--gradient_checkpointing") == 0
    assert apart(tmp_path / "kept", tmp_path / "again") < 1e-6
    kept, again = (read(tmp_path / name, "compute.json")["flops"]["total"] for name in ("kept", "again"))
    assert 1.2 < again / kept < 1.5


def test_recomputing_leaves_a_frozen_vision_tower_alone(sft: Runner, tmp_path: Path) -> None:
    frozen = ("--lora.vision", "false", "--steps", "1")
    assert sft(tmp_path / "kept", *frozen) == 0
    assert sft(tmp_path / "again", *frozen, "--gradient_checkpointing") == 0
    kept, again = (read(tmp_path / name, "compute.json")["flops"]["total"] for name in ("kept", "again"))
    assert 1.2 < again / kept < 1.43  # the text part's forward pass once more; 1.47 with the tower's backward pass


def test_worker_processes_change_nothing(sft: Runner, tmp_path: Path) -> None:
    assert sft(tmp_path / "none", "--image_memory_mb", "0") == 0
    assert sft(tmp_path / "two", "--workers", "2") == 0
    assert apart(tmp_path / "none", tmp_path / "two") == 0


def test_the_vision_tower_is_adapted_or_left_alone(sft: Runner, tmp_path: Path) -> None:
    assert sft(tmp_path / "with") == 0
    assert sft(tmp_path / "without", "--lora.vision", "false") == 0
    assert any("visual" in name for name in weights(tmp_path / "with"))
    assert not any("visual" in name for name in weights(tmp_path / "without"))


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        ("[q_proj, down_proj]", {"q_proj", "down_proj"}),
        (r".*language_model.*\.k_proj", {"k_proj"}),
    ],
)
def test_only_the_named_layers_are_adapted(sft: Runner, tmp_path: Path, targets: str, adapted: set[str]) -> None:
    assert sft(tmp_path / "run", "--lora.target_modules", targets, "--steps", "1") == 0
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in weights(tmp_path / "run")} == adapted


def test_rank_and_alpha_reach_the_adapter(sft: Runner, tmp_path: Path) -> None:
    assert sft(tmp_path / "run", "--lora.r", "6", "--lora.alpha", "3", "--steps", "1") == 0
    config = read(tmp_path / "run", "adapter_config.json")
    assert (config["r"], config["lora_alpha"]) == (6, 3)
    assert all(6 in tensor.shape for tensor in weights(tmp_path / "run").values())


def test_dropout_changes_training_but_not_its_start(sft: Runner, tmp_path: Path) -> None:
    for name, share in (("none", "0"), ("half", "0.5")):
        assert sft(tmp_path / name, "--lora.dropout", share) == 0
    losses = [[entry["loss"] for entry in read(tmp_path / name, "history.json")] for name in ("none", "half")]
    assert losses[0][0] == pytest.approx(losses[1][0])  # B starts at zero: nothing to drop yet
    assert losses[0][2] != losses[1][2]


@pytest.mark.parametrize(
    ("quantization", "kind"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt"), ("none", "Linear")]
)
def test_the_base_is_kept_in_the_precision_asked_for(
    sft: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantization: str, kind: str
) -> None:
    seen: list[str] = []
    from ganglion.training.sft import adapter

    real = adapter.add_adapter

    def spy(model: Any, *rest: Any) -> Any:
        seen.append(type(model.model.language_model.layers[0].mlp.up_proj).__name__)
        return real(model, *rest)

    monkeypatch.setattr(adapter, "add_adapter", spy)
    assert sft(tmp_path / "run", "--quantization", quantization) == 0
    assert seen == [kind]
    history = read(tmp_path / "run", "history.json")
    assert history[-1]["loss"] < history[0]["loss"] < 12


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_run_computes_in_the_precision_asked_for(sft: Runner, tmp_path: Path, precision: str) -> None:
    assert sft(tmp_path / "run", "--precision", precision, "--steps", "2") == 0
    assert read(tmp_path / "run", "run.json")["dtype"] == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("options", [("--precision", "float16"), ("--optim.name", "adamw_8bit")])
def test_what_needs_a_gpu_is_refused_without_one(
    sft: Runner, tmp_path: Path, options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "run", *options) == 2
    assert "needs a GPU" in capsys.readouterr().err


def test_rows_longer_than_max_length_stop_the_run_before_training(
    sft: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "run", "--max_length", "120") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) > 3 and all("at most 120 fit" in line for line in errors if "row" in line)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_or_lose_the_end_of_their_answers_which_is_said(
    sft: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "run", "--max_length", "120", "--too_long", "truncate", "--steps", "1") == 0
    run = read(tmp_path / "run", "run.json")
    assert run["truncated_rows"] > 3 and run["truncated_tokens"] > run["truncated_rows"]
    assert f"{run['truncated_rows']} rows lost {run['truncated_tokens']} answer tokens" in capsys.readouterr().out


def test_max_length_is_within_what_the_model_takes(
    sft: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "run", "--max_length", "99999999") == 2
    assert "the model takes" in capsys.readouterr().err


def test_epochs_and_steps_say_how_long(sft: Runner, exo_data: Path, tmp_path: Path) -> None:
    short = ["train", "sft", "--task", "exo_assist", "--base", "offline:qwen2_vl?untrained", "--data", str(exo_data)]
    quick = ["--lora.r", "2", "--batch_size", "4", "--accumulation", "2", "--threads", "1"]
    assert main([*short, *quick, "--out", str(tmp_path / "run"), "--epochs", "1.5"]) == 0
    assert read(tmp_path / "run", "run.json")["steps"] == 3  # 16 rows: 2 steps of 4 x 2 in an epoch


def test_smaller_images_are_fewer_tokens(sft: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganglion.training.data import rows

    lengths: list[int] = []
    real = rows.EncodedRows.lengths.fget

    def spy(self: Any) -> list[int]:
        lengths[:] = real(self)
        return list(lengths)

    monkeypatch.setattr(rows.EncodedRows, "lengths", property(spy))
    assert sft(tmp_path / "whole", "--steps", "1") == 0
    whole = list(lengths)
    assert sft(tmp_path / "small", "--steps", "1", "--max_pixels", "784") == 0
    assert {a - b for a, b in zip(whole, lengths, strict=True)} == {3}  # 56 x 56 is 4 tokens, 28 x 28 is 1


def test_an_adapter_can_be_gone_on_from(sft: Runner, tmp_path: Path) -> None:
    assert sft(tmp_path / "first", "--optim.schedule", "constant") == 0
    assert sft(tmp_path / "second", "--init_adapter", str(tmp_path / "first"), "--optim.lr", "1e-9") == 0
    assert apart(tmp_path / "first", tmp_path / "second") < 1e-7
    assert read(tmp_path / "second", "history.json")[0]["loss"] < read(tmp_path / "first", "history.json")[0]["loss"]


def test_an_adapter_of_another_form_or_base_is_refused(
    sft: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "first", "--steps", "1") == 0
    go_on = ("--init_adapter", str(tmp_path / "first"))
    for more, named in (
        (("--lora.r", "8"), "has r 4, the run 8"),
        (("--base", "offline:qwen3_vl?untrained"), "of another base (offline:qwen2_vl?untrained"),
        (("--init_adapter", str(tmp_path / "none")), "holds no adapter"),
    ):
        assert sft(tmp_path / "second", "--force", *go_on, *more) == 2
        errors = capsys.readouterr().err.splitlines()
        assert named in errors[-1]


def test_the_optimizers_options_reach_it(tmp_path: Path) -> None:
    optim = OptimOptions(weight_decay=0.3, betas=(0.7, 0.8), max_grad_norm=0.5)
    config = SftConfig(optim=optim, lora=LoraOptions(), logging_steps=7, save_steps=9, workers=3, seed=5)
    made = arguments(config, torch.float32, tmp_path, unused_parameters=False)
    assert (made.weight_decay, made.adam_beta1, made.adam_beta2, made.max_grad_norm) == (0.3, 0.7, 0.8, 0.5)
    assert (made.logging_steps, made.save_steps, made.dataloader_num_workers, made.seed) == (7, 9, 3, 5)
    assert made.optim == "adamw_torch_fused"


def test_muon_learns_with_one_momentum_per_matrix(sft: Runner, tmp_path: Path) -> None:
    config = SftConfig(optim=OptimOptions(name="muon", lr=0.01, weight_decay=0.1))
    matrix = torch.nn.Linear(64, 128, bias=False)
    options = {"model": matrix, "args": arguments(config, torch.float32, tmp_path, unused_parameters=False)}
    made = SftTrainer(config, [], **options).create_optimizer()
    matrix(torch.randn(256, 64)).square().mean().backward()
    before = matrix.weight.detach().clone()
    made.step()
    assert list(made.state[matrix.weight]) == ["momentum_buffer"]
    change = matrix.weight.detach() - before * (1 - 0.01 * 0.1)
    assert float(change.square().mean().sqrt()) == pytest.approx(0.01 * 0.2, rel=0.3)  # the size of AdamW's steps
    assert sft(tmp_path / "run", "--optim.name", "muon", "--optim.lr", "1e-2", "--steps", "20") == 0
    losses = [entry["loss"] for entry in read(tmp_path / "run", "history.json")]
    assert losses[-1] < 0.8 * losses[0]


def test_a_tracker_that_is_not_installed_is_named(
    sft: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert sft(tmp_path / "run", "--report_to", "wandb") == 2
    assert "pip install wandb" in capsys.readouterr().err


def test_an_upload_that_cannot_be_made_is_refused_before_training(
    sft: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    assert sft(tmp_path / "run", "--push_to_hub", "me/exo") == 2
    assert "HF_TOKEN" in capsys.readouterr().err
    assert sft(tmp_path / "run", "--push_to_hub", "nonsense") == 2
    assert "OWNER/NAME" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
