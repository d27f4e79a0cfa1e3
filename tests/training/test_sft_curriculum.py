"""Stages that hand their adapter on, members of an ensemble, a checkpoint by name: all resumed exactly."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from ganglion.core.cli import main  # noqa: E402

pytestmark = pytest.mark.slow
Runner = Callable[..., int]
STAGES = [
    {"name": "easy", "steps": 5},
    {"name": "hard", "steps": 24, "lr": 5e-4, "schedule": "linear", "batch_size": 4},
]


@pytest.fixture(scope="module")
def recipe(exo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages; in the second, which has data of its own, a checkpoint every three steps."""
    folder = tmp_path_factory.mktemp("recipe")
    rows = json.loads(exo_data.read_text())[:9]
    for row in rows:
        row["image_path"] = str(exo_data.parent / row["image_path"])
    (folder / "hard.json").write_text(json.dumps(rows))
    stages = [STAGES[0], {**STAGES[1], "data": str(folder / "hard.json")}]
    config = {
        "task": "exo_assist",
        "base": "offline:qwen2_vl?untrained",
        "data": str(exo_data),
        "lora": {"r": 4, "dropout": 0.1},
        "optim": {"lr": 1e-3, "warmup_steps": 0},
        "batch_size": 2,
        "save_steps": 3,
        "logging_steps": 1,
        "threads": 1,
        "stages": stages,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(config))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curriculum") / "whole"
    assert main(["train", "sft", "--config", str(recipe), "--out", str(out)]) == 0
    return out


def test_the_second_stage_goes_on_from_the_first(whole: Path) -> None:
    first, second = (
        json.loads((whole / "stages" / name / "history.json").read_text()) for name in ("1-easy", "2-hard")
    )
    assert [entry["step"] for entry in first] == list(range(1, 6))
    assert second[0]["learning_rate"] == pytest.approx(5e-4) and second[0]["loss"] < first[0]["loss"]
    joined = json.loads((whole / "history.json").read_text())
    assert [entry["step"] for entry in joined] == list(range(1, 30)) and joined[5]["loss"] == second[0]["loss"]
    run = json.loads((whole / "run.json").read_text())
    assert run["stages"] == {"1-easy": 5, "2-hard": 24} and run["steps"] == 29 and run["rows"] == 25


def test_the_last_stages_adapter_is_the_runs(whole: Path) -> None:
    last = (whole / "stages" / "2-hard" / "adapter_model.safetensors").read_bytes()
    assert (whole / "adapter_model.safetensors").read_bytes() == last


def test_killed_inside_the_second_stage_it_goes_on_to_the_same_weights(
    recipe: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "killed"
    command = ["train", "sft", "--config", str(recipe), "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "ganglion.core.cli", *command])
    reached = out / "stages" / "2-hard" / "checkpoints" / "checkpoint-6"
    while not reached.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (out / "stages" / "2-hard" / "run.json").exists(), "it ended before it could be killed"
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1-easy holds this run, finished" in said and "going on from" in said
    one, two = (load_file(run / "adapter_model.safetensors") for run in (whole, out))
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("history.json", "run.json"):
        assert (out / name).read_text() == (whole / name).read_text()


def test_a_finished_curriculum_is_found(recipe: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (whole / "adapter_model.safetensors").stat().st_mtime_ns
    assert main(["train", "sft", "--config", str(recipe), "--out", str(whole)]) == 0
    assert "finished" in capsys.readouterr().out
    assert (whole / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_an_ensemble_is_its_members(sft: Runner, tmp_path: Path) -> None:
    out = tmp_path / "both"
    variants = "[{name: one, seed: 0}, {name: two, seed: 1, r: 2, steps: 2}]"
    assert sft(out, "--variants", variants) == 0
    assert json.loads((out / "ensemble.json").read_text()) == {"members": ["one", "two"]}
    assert sft(tmp_path / "alone", "--seed", "0") == 0
    one, alone, two = (
        load_file(p / "adapter_model.safetensors") for p in (out / "one", tmp_path / "alone", out / "two")
    )
    assert all(torch.equal(one[name], alone[name]) for name in alone)
    assert all(2 in tensor.shape for tensor in two.values())
    assert json.loads((out / "two" / "run.json").read_text())["steps"] == 2


def test_an_interrupted_ensemble_keeps_the_members_it_has(
    sft: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganglion.training.sft import run

    real, done = run.train_single, []

    def once(config: object, out: Path, data: object) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(out)
        real(config, out, data)  # type: ignore[arg-type]

    variants = ("--variants", "[{name: one}, {name: two, seed: 1}]")
    with monkeypatch.context() as patch:
        patch.setattr(run, "train_single", once)
        assert sft(tmp_path / "both", *variants) == 1
    before = (tmp_path / "both" / "one" / "adapter_model.safetensors").stat().st_mtime_ns
    assert sft(tmp_path / "both", *variants) == 0
    assert (tmp_path / "both" / "one" / "adapter_model.safetensors").stat().st_mtime_ns == before
    assert (tmp_path / "both" / "ensemble.json").exists()


def test_a_run_goes_on_from_a_checkpoint_by_name(
    sft: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    assert sft(tmp_path / "whole", "--save_steps", "1") == 0
    with monkeypatch.context() as patch:
        patch.setattr("ganglion.training.sft.single.finish", interrupted)
        assert sft(tmp_path / "run", "--save_steps", "1") == 1
    assert sft(tmp_path / "run", "--save_steps", "1", "--resume_from", "checkpoint-99") == 2
    assert "no whole checkpoint 'checkpoint-99'" in capsys.readouterr().err
    assert sft(tmp_path / "run", "--save_steps", "1", "--resume_from", "checkpoint-3") == 0
    assert "checkpoint-3" in capsys.readouterr().out
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--stages", "[{name: a}, {name: a}]"), "--stages: a name is given twice"),
        (("--stages", "[{name: a/b}]"), "name 'a/b'"),
        (("--stages", "[{name: a, lr: 7}]"), "--optim.lr is 7"),
        (("--stages", "[{name: a, data: gone.json}]"), "gone.json"),
        (("--stages", "[{name: a, speed: 3}]"), "speed"),
        (("--variants", "[{name: ''}]"), "--variants: name ''"),
        (("--variants", "[{name: vote}]"), "'vote' has a meaning of its own"),
    ],
)
def test_a_bad_stage_or_variant_is_named_before_anything_is_trained(
    sft: Runner, tmp_path: Path, options: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "run", *options) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and named in errors[0]
    assert not (tmp_path / "run").exists()
