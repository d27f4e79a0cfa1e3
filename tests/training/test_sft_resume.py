"""Fine-tuning for real on a random base: what a run leaves, killing it, going on, and scoring it."""

import csv
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from ganglion.core.cli import main  # noqa: E402
from ganglion.training.sft.checkpoints import newest_whole  # noqa: E402

pytestmark = pytest.mark.slow
ROWS, STEPS, SAVE_STEPS = 15, 20, 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    options = ["--count", str(ROWS), "--size", "56", "--workers", "1"]
    assert main(["data", "synth", "exo_assist", "--out", str(folder), *options]) == 0
    return folder / "data.json"


def command(data: Path, out: Path, *more: str) -> list[str]:
    """A run whose epochs (8 steps), checkpoints (3) and log entries (4) don't coincide; dropout is on."""
    options = {
        "--task": "exo_assist",
        "--base": "offline:qwen2_vl?untrained",
        "--data": str(data),
        "--out": str(out),
        "--steps": str(STEPS),
        "--batch_size": "2",
        "--save_steps": str(SAVE_STEPS),
        "--logging_steps": "4",
        "--lora.r": "4",
        "--lora.dropout": "0.1",
        "--optim.lr": "1e-3",
        "--optim.warmup_steps": "4",
        "--threads": "1",
    }
    return ["train", "sft", *(part for pair in options.items() for part in pair), *more]


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "whole"
    assert main(command(data, out)) == 0
    return out


@pytest.fixture(scope="module")
def killed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in its own process, killed at a random moment: between checkpoints, or while one is written."""
    out = tmp_path_factory.mktemp("run") / "killed"
    process = subprocess.Popen([sys.executable, "-m", "ganglion.core.cli", *command(data, out)])
    reached = out / "checkpoints" / f"checkpoint-{random.choice([1, 2, 3]) * SAVE_STEPS}"
    while not reached.exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))
    process.kill()
    process.wait()
    assert not (out / "run.json").exists(), "the run ended before it could be killed"
    return out


def test_a_killed_run_goes_on_to_the_same_weights(
    killed: Path, uninterrupted: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    newest = newest_whole(killed / "checkpoints")
    assert newest is not None and newest.name != f"checkpoint-{STEPS}"
    # As if the process had died inside the next checkpoint, on a file system that renamed before it wrote.
    torn = newest.with_name(f"checkpoint-{STEPS - 1}")
    torn.mkdir()
    for file in newest.iterdir():
        (torn / file.name).write_bytes(file.read_bytes()[:-7])
    assert main(command(data, killed)) == 0
    assert f"going on from {newest}" in capfd.readouterr().out

    whole, resumed = (load_file(run / "adapter_model.safetensors") for run in (uninterrupted, killed))
    assert whole.keys() == resumed.keys() and len(whole) > 50
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    assert any(tensor.abs().max() > 0 for name, tensor in whole.items() if "lora_B" in name), "nothing was learned"
    assert (killed / "history.json").read_text() == (uninterrupted / "history.json").read_text()


def test_a_run_interrupted_after_its_last_step_takes_no_further_one(
    uninterrupted: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ganglion.training.sft.single.finish", interrupted)
        assert main(command(data, tmp_path / "run")) == 1
    assert main(command(data, tmp_path / "run")) == 0
    for name in ("adapter_model.safetensors", "history.json", "run.json"):
        assert (tmp_path / "run" / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_another_seed_gives_other_weights(uninterrupted: Path, data: Path, tmp_path: Path) -> None:
    """Without this the test above could pass on weights that nothing moves."""
    assert main(command(data, tmp_path / "other", "--seed", "1")) == 0
    whole, other = (load_file(run / "adapter_model.safetensors") for run in (uninterrupted, tmp_path / "other"))
    assert not all(torch.equal(tensor, other[name]) for name, tensor in whole.items())


def test_what_a_finished_run_leaves(uninterrupted: Path, data: Path) -> None:
    found = {path.name for path in uninterrupted.iterdir()} - {"evaluation"}
    assert found == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "run.json",
        "config.yaml",
        "history.json",
        "compute.json",
        "README.md",
        "started.json",
    }
    run = json.loads((uninterrupted / "run.json").read_text())
    assert (run["task"], run["base"], run["quantization"]) == ("exo_assist", "offline:qwen2_vl?untrained", "nf4")
    assert (run["rows"], run["steps"], len(run["base_hash"])) == (ROWS, STEPS, 64)
    history = json.loads((uninterrupted / "history.json").read_text())
    assert [set(entry) for entry in history] == [{"step", "loss", "learning_rate"}] * len(history)
    assert [entry["step"] for entry in history] == sorted({*range(4, STEPS + 1, 4), *range(3, STEPS + 1, 3), STEPS})
    assert history[-1]["loss"] < history[0]["loss"]
    assert "exo_assist" in (uninterrupted / "README.md").read_text()
    adapter = json.loads((uninterrupted / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "offline:qwen2_vl?untrained"


def test_nothing_written_needs_unpickling(data: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "ganglion.core.cli", *command(data, tmp_path / "run")])
    while (newest := newest_whole(tmp_path / "run/checkpoints")) is None and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert newest is not None
    for file in [*newest.glob("*.pt"), *newest.glob("*.pth"), *newest.glob("*.bin")]:
        # numpy's generator state is the one thing beside tensors and numbers, and transformers allows it by name.
        if file.name != "rng_state.pth":
            torch.load(file, weights_only=True)
    assert not list(newest.glob("training_args*"))


def test_the_finished_run_is_found_and_not_trained_again(
    uninterrupted: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = uninterrupted / "adapter_model.safetensors"
    before = weights.stat().st_mtime_ns
    assert main(command(data, uninterrupted)) == 0
    assert "finished" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--optim.lr", "5e-4", "optim.lr (0.001, now 0.0005)"), ("--lora.r", "8", "lora.r (4, now 8)")],
)
def test_another_config_in_the_same_folder_is_refused(
    uninterrupted: Path, data: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, named: str
) -> None:
    assert main(command(data, uninterrupted, option, value)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and f"another {named}" in lines[0] and "--force" in lines[0]


def test_changed_images_are_another_run(uninterrupted: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = data.parent / "images/000003.jpg"
    before = image.read_bytes()
    image.write_bytes((data.parent / "images/000004.jpg").read_bytes())
    try:
        assert main(command(data, uninterrupted)) == 2
    finally:
        image.write_bytes(before)
    assert "another data_hash" in capsys.readouterr().err


def test_a_folder_with_other_things_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert main(command(data, tmp_path, "--force")) == 2
    assert "something other than a training run" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_the_written_config_is_a_recipe_for_the_same_run(
    uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "sft", "--config", str(uninterrupted / "config.yaml")]) == 0
    assert "finished" in capsys.readouterr().out


def test_force_starts_anew_with_the_other_config(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(command(data, out, "--steps", "2")) == 0
    assert main(command(data, out, "--steps", "3", "--force")) == 0
    assert json.loads((out / "run.json").read_text())["steps"] == 3


def test_targets_that_match_nothing_are_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, tmp_path / "run", "--lora.target_modules", "[no_such_layer]")) == 2
    assert "no_such_layer" in capsys.readouterr().err.splitlines()[-1]


def test_a_loss_that_breaks_ends_the_run_with_a_remedy(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--optim.lr", "1", "--optim.max_grad_norm", "0", "--optim.warmup_steps", "0", "--lora.alpha", "1e30"]
    assert main(command(data, tmp_path / "run", *more)) == 1
    assert "lower --optim.lr" in capsys.readouterr().err


def test_evaluation_writes_its_three_files(
    uninterrupted: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--limit", "6", "--base_limit", "2", "--max_new_tokens", "8", "--batch_size", "4", "--threads", "1"]
    places = ["--adapter", str(uninterrupted), "--data", str(data), "--out", str(tmp_path)]
    assert main(["evaluate", *places, *options]) == 0
    assert "terrain_accuracy" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {name: values["n"] for name, values in metrics.items()} == {"adapter": 6, "base": 2}
    with (tmp_path / "predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    details = [json.loads(line) for line in (tmp_path / "details.jsonl").read_text().splitlines()]
    assert [int(row["row"]) for row in table] == [detail["row"] for detail in details] == list(range(6))
    assert [row["adapter"] for row in table] == [detail["adapter"]["text"] for detail in details]
    assert [("base" in detail) for detail in details] == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data", "x.json"], "--adapter"),
        (["--adapter", "absent", "--data", "x.json"], "run.json"),
        (["--adapter", "absent"], "--data"),
        (["--adapter", "a", "--data", "x.json", "--limit", "0"], "--limit is 0"),
    ],
)
def test_bad_evaluation_options_are_named(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]
