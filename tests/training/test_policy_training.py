"""`ganglion train policy`: it learns, resumes exactly, refuses what is wrong before training, and scores honestly."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ganglion.core.cli import main
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.normalization import read_normalization
from ganglion.core.specs import ChannelGroup, RobotSpec, SensorSpec, default_robot, robot_from_dict
from ganglion.model.policy.context import Context
from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.policy.batch import losses, predict
from ganglion.training.policy.checkpoint import Progress, load_checkpoint, save_checkpoint
from ganglion.training.policy.config import OptimOptions, PolicyTrainConfig, VlOptions, checked
from ganglion.training.policy.learner import Learner, make_learner
from ganglion.training.policy.loop import train
from ganglion.training.policy.optimization import make_optimizer, take_step
from ganglion.training.policy.schedule import Schedule
from ganglion.training.policy.scoring import score
from ganglion.training.policy.synthetic import NeedleSource

UNTRAINED = "offline:qwen2_vl?untrained"


def blind_robot() -> RobotSpec:
    sensor = SensorSpec("tip", (ChannelGroup("force", 1, "N"), ChannelGroup("a_scan", 64, "dB")), rate_hz=650.0)
    return replace(default_robot(), cameras=(), sensors=(sensor,))


def quick(tmp_path: Path, **changes: object) -> PolicyTrainConfig:
    values = {
        "size": "tiny",
        "steps": 4,
        "optim": OptimOptions(lr=1e-3, lr_sensor=1e-3),
        "frames": 60,
        "eval_count": 24,
        "batch_size": 4,
        "precision": "float32",
        "threads": 1,
    }
    return PolicyTrainConfig(**{**values, "out": tmp_path / "policy", "vl": VlOptions(base=UNTRAINED), **changes})


def blind_learner(config: PolicyTrainConfig) -> Learner:
    return make_learner(config, NeedleSource(config, blind_robot()), None, None, torch.device("cpu"))


def oct_folder(folder: Path, count: int = 10) -> Path:
    """Volumes with a bright blob where the pose says it is."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        pose = rng.uniform(0, 1, 6)
        data = np.zeros((512, 64, 64), np.uint8)
        row, column, depth = int(20 + 20 * pose[0]), int(20 + 20 * pose[1]), int(200 + 100 * pose[2])
        data[depth - 40 : depth, row - 8 : row + 8, column - 8 : column + 8] = 200
        np.savez_compressed(folder / f"{index}.npz", data=data, pos=pose)
    return folder


def test_batches_are_functions_of_seed_and_step(tmp_path: Path) -> None:
    config = quick(tmp_path)
    one, same = NeedleSource(config, blind_robot()), NeedleSource(config, blind_robot())
    torch.testing.assert_close(one.batch(7).samples, same.batch(7).samples, atol=0, rtol=0)
    assert not torch.equal(one.batch(7).samples, one.batch(8).samples)
    other = NeedleSource(replace(config, seed=1), blind_robot())
    assert not torch.equal(one.batch(7).samples, other.batch(7).samples)


def test_targets_are_the_expert_s_at_the_moment_of_each_read(tmp_path: Path) -> None:
    source = NeedleSource(quick(tmp_path), blind_robot())
    batch = source.batch(0)
    reads = [end * 13 - 1 for end in batch.ends]
    force = batch.samples[:, reads, 0].numpy() * source.norm.sensor.std[0] + source.norm.sensor.mean[0]
    chunk = batch.actions.numpy() * source.norm.action.std + source.norm.action.mean
    pressed = force > 0.3
    assert (chunk[:, :, 0, 6][pressed] < 0.1).all() and batch.ends[0] * 13 >= 650
    assert batch.samples.shape[1] == batch.ends[-1] * 13


def test_reading_a_sequence_often_is_reading_each_window(tmp_path: Path) -> None:
    learner = blind_learner(quick(tmp_path))
    learner.learn(False)
    batch = learner.source.batch(0)
    with torch.no_grad():
        at_once = predict(learner.network, batch)
        for read, end in enumerate(batch.ends):
            samples = batch.samples[:, end * 13 - 650 : end * 13]
            window = learner.network(samples, batch.present[:, :50], Context())
            torch.testing.assert_close(at_once[:, read], window, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_ages_span_the_range_and_tell_how_far_the_target_is_ahead_of_the_frame(tmp_path: Path) -> None:
    source = NeedleSource(quick(tmp_path, vl=VlOptions(base=UNTRAINED, age_ms=(40.0, 120.0))))
    ages = torch.cat([source.batch(step).vl_age_s.flatten() for step in range(6)])
    assert ages.min() >= 0.04 and ages.max() <= 0.12 and ages.max() - ages.min() > 0.06
    held_back = torch.cat([batch.vl_age_s.flatten() for batch in source.held_back()])
    assert held_back.min() >= 0.04 and held_back.max() <= 0.12 + 1 / 650
    assert source.vl.vl_width == 128 and source.vl.base == UNTRAINED


def test_held_back_worlds_are_not_training_worlds(tmp_path: Path) -> None:
    source = NeedleSource(quick(tmp_path), blind_robot())
    train = {stream.chunk(1.0).tobytes() for stream in source._train.worlds}
    fresh = {stream.chunk(1.0).tobytes() for stream in source._fresh.worlds}
    assert len(train) == 60 and len(fresh) == 24 and not train & fresh


@pytest.mark.slow
def test_it_learns_what_the_sensor_tells_and_the_score_says_so(tmp_path: Path) -> None:
    optim = OptimOptions(lr=3e-3, lr_sensor=3e-3, warmup=0.2, lr_end=0.0)
    config = quick(tmp_path, optim=optim, batch_size=6, steps=60)
    learner = blind_learner(config)
    before = score(learner, config)
    train(learner, config, Schedule(60, warmup=0.2, floor=0.0), lambda: None)
    after = score(learner, config)
    feed = after["dimensions"]["feed"]
    assert feed["mae"] < 0.6 * feed["mean_mae"] < before["dimensions"]["feed"]["mae"]
    blind = after["dimensions"]["vx"]  # no camera: nothing tells where the mark is
    assert blind["mae"] > 0.85 * blind["mean_mae"]


def test_score_is_the_error_in_units_and_the_mean_s_is_that_of_the_training_mean(tmp_path: Path) -> None:
    config = quick(tmp_path)
    learner = blind_learner(config)
    torch.nn.init.zeros_(learner.network.expert.out.weight)
    torch.nn.init.zeros_(learner.network.expert.out.bias)  # predicts the training mean
    found, source = score(learner, config), learner.source
    assert found["n"] == 24 and found["mae"] == pytest.approx(found["mean_mae"])
    want = torch.cat([batch.actions for batch in source.held_back()]).numpy() * source.norm.action.std
    feed = found["dimensions"]["feed"]
    assert feed["mae"] == pytest.approx(np.abs(want[..., 6]).mean(), rel=1e-5) and feed["unit"] == "mm/s"


def test_a_loss_that_is_not_finite_ends_the_training_with_weights_unharmed(tmp_path: Path) -> None:
    config = quick(tmp_path)
    learner = blind_learner(config)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    batch = learner.source.batch(0)
    batch.samples[0, 600] = float("nan")
    off, _ = losses(learner.network, batch)
    off.mean().backward()
    with pytest.raises(GanglionError, match="loss is nan"):
        take_step(make_optimizer(learner.groups, config.optim), off.mean().item(), 1.0)
    assert all(torch.equal(before[name], value) for name, value in learner.network.state_dict().items())


def test_a_checkpoint_restores_every_number_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    config, path, device = quick(tmp_path), tmp_path / "checkpoint.pt", torch.device("cpu")

    def step(learner: Learner, optimizer: torch.optim.Optimizer, number: int) -> None:
        off, _ = losses(learner.network, learner.source.batch(number))
        off.mean().backward()
        take_step(optimizer, off.mean().item(), 1.0)

    one, two = blind_learner(config), blind_learner(replace(config, seed=1))
    optimizer, other = (make_optimizer(learner.groups, config.optim) for learner in (one, two))
    assert load_checkpoint(path, one.parameters(), optimizer, device) == Progress()
    step(one, optimizer, 0)
    reached = Progress(1, None, 0.5, 1, [{"step": 1, "loss": 0.5}], [{"loss": 0.25}])
    save_checkpoint(path, reached, one.parameters(), optimizer)
    assert load_checkpoint(path, two.parameters(), other, device) == replace(reached, resumed=1)
    for learner, its in ((one, optimizer), (two, other)):
        step(replace(learner, source=one.source), its, 1)
    again = two.network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in one.network.state_dict().items())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(GanglionError, match=r"checkpoint\.pt: is damaged"):
        load_checkpoint(path, one.parameters(), optimizer, device)


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "ganglion.core.cli", "train", "policy", "--data", str(folder), "--out", str(out)),
        *("--size", "tiny", "--steps", "24", "--batch_size", "2", "--save_steps", "2", "--threads", "1", *more),
    ]


@pytest.mark.slow
def test_killed_and_run_again_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    folder = oct_folder(tmp_path / "volumes")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(folder, whole), check=True, capture_output=True)
    process = subprocess.Popen(command(folder, broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (broken / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (broken / "run.json").exists()
    subprocess.run(command(folder, broken), check=True, capture_output=True)
    one, two = load_file(whole / "model.safetensors"), load_file(broken / "model.safetensors")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "history.json").read_text() == (broken / "history.json").read_text()
    assert (whole / "metrics.json").read_text() == (broken / "metrics.json").read_text()


@pytest.mark.slow
def test_oct_volumes_train_from_the_command_into_a_folder_that_says_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = oct_folder(tmp_path / "volumes"), tmp_path / "policy"
    arguments = command(folder, out, "--steps", "4")[3:]
    assert main(arguments) == 0
    robot = robot_from_dict(json.loads((out / "robot.json").read_text()))
    norm, policy = read_normalization(out / "norm.json"), VLAPolicy.from_pretrained(out)
    config = policy.network.config
    assert robot.sensors[0].channels == len(norm.sensor.mean) == config.channels == 514
    assert (config.fusion, config.vl_width, config.horizon, config.action_dim) == ("concat", 0, 1, 6)
    run, metrics = json.loads((out / "run.json").read_text()), json.loads((out / "metrics.json").read_text())
    assert {part: len(names) for part, names in run["volumes"].items()} == {"test": 2, "validation": 1, "train": 7}
    assert metrics["n"] == 20 and set(metrics["dimensions"]) == {"x", "y", "z", "rx", "ry", "rz"}
    assert json.loads((out / "history.json").read_text())[-1]["step"] == 4 and (out / "best" / "config.json").is_file()
    assert "rz" in (out / "README.md").read_text() and not (out / "checkpoint.pt").exists()
    weights = (out / "model.safetensors").stat().st_mtime_ns
    assert main(arguments) == 0 and (out / "model.safetensors").stat().st_mtime_ns == weights
    assert "finished" in capsys.readouterr().out
    assert main([*arguments, "--seed", "5"]) == 2
    assert "another seed" in capsys.readouterr().err


@pytest.mark.slow
def test_the_needle_trains_from_the_command_with_a_camera(tmp_path: Path) -> None:
    out = tmp_path / "policy"
    small = ("--frames", "8", "--eval_count", "4", "--batch_size", "1", "--threads", "1", "--size", "tiny")
    assert main(["train", "policy", "--out", str(out), "--vl.base", UNTRAINED, "--steps", "2", *small]) == 0
    policy = VLAPolicy.from_pretrained(out, backbone=False)
    assert policy.network.config.vl_width == 128
    assert policy.vl["base"] == UNTRAINED and len(policy.vl["base_hash"]) == 64
    assert policy.vl["instruction"] and policy.vl["vl_layer"] == 2 and policy.vl["age_ms"] == [0.0, 150.0]
    assert set(json.loads((out / "metrics.json").read_text())["dimensions"]) == set(default_robot().actions.names)


def test_one_bad_volume_is_named_before_any_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = oct_folder(tmp_path / "volumes"), tmp_path / "policy"
    (folder / "3.npz").write_bytes(b"PK\x03\x04 truncated")
    assert main(command(folder, out)[3:]) == 2
    line = capsys.readouterr().err.strip()
    assert "3.npz: can't be read" in line and "\n" not in line
    assert not (out / "model.safetensors").exists() and not (out / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("size", "huge", "--size is 'huge'"),
        ("precision", "int8", "--precision is 'int8'"),
        ("batch_size", 0, "--batch_size is 0"),
        ("steps", 0, "--steps is 0"),
        ("fusion", "sum", "--fusion is 'sum'"),
        ("head", "diffusion", "--head is 'diffusion'"),
        ("accumulation", 0, "--accumulation is 0"),
        ("epochs", 0.0, "--epochs is 0.0"),
        ("epochs", float("nan"), "--epochs is nan"),
        ("epochs", float("inf"), "--epochs is inf"),
        ("test_share", 1.0, "--test_share is 1.0"),
        ("sensor_dropout", -0.1, "--sensor_dropout is -0.1"),
        ("optim", OptimOptions(lr=0.0), "--optim.lr is 0.0"),
        ("optim", OptimOptions(lr_sensor=float("nan")), "--optim.lr_sensor is nan"),
        ("optim", OptimOptions(warmup=1.5), "--optim.warmup is 1.5"),
        ("optim", OptimOptions(unit="hour"), "--optim.unit is 'hour'"),
        ("optim", OptimOptions(betas=(0.9, 1.0)), r"--optim.betas is \[0.9, 1.0\]"),
        ("optim", OptimOptions(weight_decay=1.0), "--optim.weight_decay is 1.0"),
        ("vl", VlOptions(age_ms=(100.0, 50.0)), "--vl.age_ms"),
        ("vl", VlOptions(finetune="some"), "--vl.finetune is 'some'"),
        ("vl", VlOptions(layer=-1), "--vl.layer is -1"),
        ("vl", VlOptions(alpha=0.0), "--vl.alpha is 0.0"),
        ("vl", VlOptions(dropout=1.0), "--vl.dropout is 1.0"),
        ("sensor", False, "--sensor false means nothing"),
        ("data", ["synthetic", "elsewhere"], "can't be mixed"),
        ("data", [], "no data"),
        ("cache", ["a", "b"], "2 --cache for 1 --data"),
        ("seed", -1, "--seed is -1"),
        ("data", "/no/such/folder", "/no/such/folder: no such folder"),
    ],
)
def test_an_option_out_of_range_is_named(option: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(PolicyTrainConfig(**{option: value}))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = oct_folder(tmp_path / "volumes", 5), tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    assert main(command(folder, out)[3:]) == 2
    assert "holds something other" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
