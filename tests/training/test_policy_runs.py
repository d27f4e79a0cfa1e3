"""Runs on recorded episodes from the command: resumed exactly, alike on two processes, in stages, with a backbone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from demonstrations_for_test import picture
from policy_for_test import BLIND, ROBOT, UNTRAINED, options, recorded, recording
from safetensors.torch import load_file

from ganglion.core.cli import main
from ganglion.core.errors import InputError
from ganglion.model.policy.context import Context
from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.policy.batch import predict
from ganglion.training.policy.config import OptimOptions, VlOptions
from ganglion.training.policy.recorded import RecordedSource
from ganglion.training.policy.run import train_policy

pytestmark = pytest.mark.slow
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(folder: Path, out: Path, *more: str) -> list[str]:
    """12 steps on episodes of a robot without cameras."""
    return [
        *("train", "policy", "--data", str(folder), "--out", str(out), "--size", "tiny", "--fusion", "gated"),
        *("--steps", "12", "--batch_size", "2", "--accumulation", "2", "--save_steps", "2", "--logging_steps", "2"),
        *("--optim.lr", "1e-3", "--sensor_share", "0.5", "--sensor_dropout", "0.2", "--head", "flow"),
        *("--validation_steps", "6", "--precision", "float32", "--threads", "1", *more),
    ]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def history(out: Path) -> list[dict]:
    return json.loads((out / "history.json").read_text())


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("data") / "blind", 5, 7, robot=BLIND)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("data") / "seen", 4, 2)


@pytest.fixture(scope="module")
def whole(blind: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(blind, out)) == 0
    return out


def test_a_run_leaves_a_policy_its_best_weights_and_what_there_is_to_say(whole: Path) -> None:
    logged = [entry for entry in history(whole) if "loss" in entry]
    assert [entry["step"] for entry in logged] == [2, 4, 6, 8, 10, 12]
    for entry in logged:
        assert set(entry["learning_rates"]) == {"action_expert", "sensor_encoder"}
        assert entry["gradient_norm"] > 0 and 0 <= entry["sensor_share"] <= 1 and 0 < entry["gate"] < 1
        assert entry["memory_mb"] > 0
    assert [entry["step"] for entry in history(whole) if "validation_loss" in entry] == [6, 12]
    run = json.loads((whole / "run.json").read_text())
    assert run["parameters"]["sensor_encoder"] > 0 and run["best"]["step"] in (6, 12)
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG") and not (whole / "checkpoint.pt").exists()
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["n"] > 0 and {"mae", "mean_mae", "last_mae"} <= set(metrics["dimensions"]["x"])
    assert VLAPolicy.from_pretrained(whole / "best").network.config.fusion == "gated"


def test_killed_and_run_again_it_ends_with_the_same_weights(blind: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "broken"
    process = subprocess.Popen(
        [sys.executable, "-m", "ganglion.core.cli", *command(blind, out)], env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (out / "run.json").exists()
    assert main(command(blind, out)) == 0
    assert all(torch.equal(value, weights(out)[name]) for name, value in weights(whole).items())
    for kind in ("loss", "epoch_loss"):
        assert [e.get(kind) for e in history(out)] == [e.get(kind) for e in history(whole)]
    assert (out / "metrics.json").read_text() == (whole / "metrics.json").read_text()


def test_two_processes_learn_what_one_does(blind: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    halved = [part if part != "2" or before != "--accumulation" else "1" for before, part in zip(
        ["", *command(blind, out)], command(blind, out), strict=False
    )]  # fmt: skip
    done = subprocess.run(
        [*torchrun, "ganglion.core.cli", *halved], capture_output=True, text=True, timeout=300, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(f"policy in {out}") == 1
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(out)[name], value, atol=2e-5, rtol=0)
    for ours, theirs in zip(history(out), history(whole), strict=True):
        assert ours.get("loss") == pytest.approx(theirs.get("loss"), abs=1e-4)
        assert ours.get("sensor_share") == theirs.get("sensor_share")


def test_rates_grow_back_after_an_interruption_only_where_that_was_asked(blind: Path, tmp_path: Path) -> None:
    config = options(
        blind, tmp_path / "out", steps=8, save_steps=4, logging_steps=1, optim=OptimOptions(warmup=0.0, rewarm_steps=3)
    )

    class Stop(Exception):
        pass

    def stop(at: int) -> None:
        import ganglion.training.policy.loop as loop

        take = loop.take_step

        def stopped(*args, **kwargs):
            if (config.out / "checkpoint.pt").exists():
                raise Stop
            return take(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
            patch.setattr(loop, "take_step", stopped)
            train_policy(config)

    stop(4)
    train_policy(config)
    rates = [entry["learning_rates"]["action_expert"] for entry in history(config.out) if "loss" in entry]
    plain = options(blind, tmp_path / "plain", steps=8, logging_steps=1, optim=OptimOptions(warmup=0.0))
    train_policy(plain)
    wanted = [entry["learning_rates"]["action_expert"] for entry in history(plain.out) if "loss" in entry]
    assert np.divide(rates, wanted) == pytest.approx([1, 1, 1, 1, 1 / 3, 2 / 3, 1, 1])


def test_the_second_stage_goes_on_from_the_first_now_with_the_sensor(blind: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train_policy(options(blind, first, sensor=False, fusion="gated"))
    assert all(entry["sensor_share"] == 0 for entry in history(first) if "loss" in entry)
    stage = options(
        blind, second, fusion="gated", init_from=first, steps=1, optim=OptimOptions(lr=1e-9, lr_sensor=1e-9)
    )
    train_policy(stage)
    assert [entry["sensor_share"] > 0 for entry in history(second) if "loss" in entry] == [True]
    for name, value in weights(first).items():
        torch.testing.assert_close(weights(second)[name], value, atol=1e-6, rtol=0)
    with pytest.raises(InputError, match=r'first: has another fusion \("gated", now "concat"\)'):
        train_policy(options(blind, tmp_path / "third", init_from=first))
    with pytest.raises(InputError, match=r"model\.safetensors: is missing"):
        train_policy(options(blind, tmp_path / "third", init_from=tmp_path))


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_backbone_that_learns_is_saved_with_the_policy_and_decides_with_it(
    seen: Path, tmp_path: Path, mode: str
) -> None:
    out = tmp_path / mode
    vl = VlOptions(base=UNTRAINED, finetune=mode, r=4, layers=1, vision=True, gradient_checkpointing=True)
    optim = OptimOptions(lr=1e-3, lr_sensor=1e-3, lr_vl=1e-3, lr_vision=1e-3)
    train_policy(options(seen, out, vl=vl, optim=optim, steps=2, batch_size=2, logging_steps=1))
    text = {"lora": "vl_lora", "full": "vl"}[mode]
    assert set(history(out)[0]["learning_rates"]) == {"action_expert", "sensor_encoder", text, "vision"}
    policy = VLAPolicy.from_pretrained(out)
    plain = VLAPolicy.from_pretrained(out, backbone=False)
    frames = [{"front": picture(k, 56, 56)} for k in range(2)]
    rng = np.random.default_rng(0)
    sensors, state = rng.normal(size=(2, 650, 4)), rng.normal(size=(2, 3))
    chunk = policy.predict(frames, "touch peak 1", sensors, state, vl_age_s=0.05)
    assert chunk.shape == (2, 4, 2) and np.isfinite(chunk).all()
    features, mask = policy.backbone.features([[frame["front"]] for frame in frames], ["touch peak 1"] * 2)
    context = Context(
        vl_features=features, vl_mask=mask, vl_age_s=torch.full((2,), 0.05),
        state=torch.tensor(plain.norm.state.normalize(state)), state_known=torch.ones(2),
    )  # fmt: skip
    with torch.no_grad():
        samples = torch.tensor(plain.norm.sensor.normalize(sensors))
        expected = plain.network(samples, torch.ones(2, 50, 2), context)
    np.testing.assert_allclose(chunk, plain.norm.action.denormalize(expected.numpy()), atol=1e-5)
    with pytest.raises(InputError, match="was loaded without its backbone"):
        plain.predict(frames, None, sensors, state)
    untuned = VLAPolicy(policy.network, policy.robot, policy.norm, policy.vl, fresh_backbone(policy))
    assert np.abs(untuned.predict(frames, "touch peak 1", sensors, state, vl_age_s=0.05) - chunk).max() > 1e-6
    frozen = options(seen, tmp_path / "second", init_from=out, steps=1)
    with pytest.raises(InputError, match=rf"let its backbone learn \({mode}\), --vl.finetune is none"):
        train_policy(frozen)
    shutil.rmtree(out / "backbone")
    for use in (
        lambda: VLAPolicy.from_pretrained(out),
        lambda: train_policy(replace(frozen, out=tmp_path / "third", vl=vl)),
    ):
        with pytest.raises(
            InputError, match=rf"backbone: is missing: the backbone learned \({mode}\); copy the folder"
        ):
            use()
    assert json.loads((out / "vl.json").read_text())["finetune"] == mode
    VLAPolicy.from_pretrained(out, backbone=False).save_pretrained(tmp_path / "copy")
    with pytest.raises(InputError, match="backbone: is missing"):
        VLAPolicy.from_pretrained(tmp_path / "copy")


def test_a_stage_takes_over_what_the_backbone_learned(seen: Path, tmp_path: Path) -> None:
    vl = VlOptions(base=UNTRAINED, finetune="lora", r=4)
    train_policy(options(seen, tmp_path / "first", vl=vl, steps=1, batch_size=2, optim=OptimOptions(lr_vl=1e-2)))
    stage = options(seen, tmp_path / "second", vl=vl, steps=1, init_from=tmp_path / "first")
    train_policy(replace(stage, optim=OptimOptions(lr=1e-9, lr_sensor=1e-9, lr_vl=1e-12)))
    adapters = [load_file(tmp_path / name / "backbone/adapter_model.safetensors") for name in ("first", "second")]
    learned = [name for name in adapters[0] if "lora_B" in name]
    assert learned and all(adapters[0][name].abs().max() > 0 for name in learned)
    for name, value in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], value, atol=1e-9, rtol=0)
    with pytest.raises(InputError, match=r"first: has another vl_layer \(2, now 1\); give the stage before the same"):
        train_policy(replace(stage, out=tmp_path / "other", vl=replace(vl, layer=1)))
    with pytest.raises(InputError, match=r"backbone: has another r \(4, now 8\); give the --vl options"):
        train_policy(replace(stage, out=tmp_path / "third", vl=replace(vl, r=8)))


def fresh_backbone(policy: VLAPolicy):
    from ganglion.model.backbone.backbone import Backbone

    return Backbone(policy.backbone.facts, "cpu")


def test_predict_names_what_does_not_fit_and_takes_what_is_missing_for_absent(seen: Path, tmp_path: Path) -> None:
    train_policy(options(seen, tmp_path / "out", steps=1))
    policy = VLAPolicy.from_pretrained(tmp_path / "out")
    frames, state = [{"front": picture(1, 56, 56)}], np.zeros((1, 3))
    sensors = np.random.default_rng(0).normal(size=(1, 650, 4))
    with_nothing = policy.predict(frames, state=None, sensors=None)
    np.testing.assert_allclose(
        policy.predict(frames, state=np.full((1, 3), np.nan), sensors=np.full((1, 650, 4), np.nan)), with_nothing
    )
    whole = policy.predict(frames, None, sensors, state)
    half = sensors.copy()
    half[:, :, 1:] = np.nan
    present = np.zeros((1, 50, 2), bool)
    present[:, :, 0] = True
    force = policy.predict(frames, None, sensors, state, present=present)
    np.testing.assert_allclose(policy.predict(frames, None, half, state), force, atol=1e-6)
    for other in (force, with_nothing, policy.predict([{}], None, sensors, state)):
        assert np.abs(other - whole).max() > 1e-6
    for wrong, message in (
        (dict(sensors=sensors[:, :600]), r"sensors: has shape \(1, 600, 4\)"),
        (dict(state=np.zeros((2, 3))), "has rows"),
        (dict(images=[{"left": picture(1)}]), "row 0 has a camera 'left'"),
        (dict(present=np.ones((1, 49, 2), bool)), "present: has shape"),
        (dict(instruction=["one", "two"]), "instruction: has 2 texts; give one, or 1"),
        (dict(vl_age_s=[0.0, 0.1]), r"vl_age_s: has shape \(2,\)"),
        (dict(noise=np.zeros((1, 3, 2))), r"noise: has shape \(1, 3, 2\); give \(1, 4, 2\)"),
        (dict(images=[], sensors=None, state=None), "has rows"),
        (dict(images=None, sensors=None, state=None), "has rows"),
    ):
        with pytest.raises(InputError, match=message):
            policy.predict(**{"images": frames, "sensors": sensors, "state": state, **wrong})


def test_fusion_none_reads_no_sensor(seen: Path, tmp_path: Path) -> None:
    train_policy(options(seen, tmp_path / "out", fusion="none", steps=1))
    policy = VLAPolicy.from_pretrained(tmp_path / "out")
    assert policy.network.encoder is None and policy.norm.sensor is None
    chunk = policy.predict([{"front": picture(1, 56, 56)}], state=np.zeros((1, 3)))
    assert chunk.shape == (1, 4, 2)
    with pytest.raises(InputError, match="reads no sensors"):
        policy.predict([{}], None, np.zeros((1, 650, 4)))


def test_a_robot_that_only_sees_trains_without_a_sensor(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set", 0, 4, robot=replace(ROBOT, sensors=(), state=None))
    with pytest.raises(InputError, match=r"set: no robot has a sensor, --fusion is concat; give --fusion none"):
        train_policy(options(folder, tmp_path / "out", steps=1))
    assert train_policy(options(folder, tmp_path / "out", steps=1, fusion="none", force=True))["n"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vl": VlOptions(base=UNTRAINED, finetune="lora")}, r"--vl.finetune is lora, which is for recorded episodes"),
        ({"cache": "features"}, "--cache is given, which is for recorded episodes with cameras; leave it out"),
        ({"vl": VlOptions(base=UNTRAINED, vision=True)}, "--vl.vision is true, --vl.finetune is none"),
        ({"data": ["{blind}", "{empty}"]}, "empty: holds no set of episodes; correct --data"),
        ({"data": "{empty}"}, r"empty: holds no set of episodes and no OCT volume \(.npz\); correct --data"),
    ],
)
def test_what_the_data_can_not_give_is_refused_before_the_folder_is_taken(
    blind: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    if "data" in changes:
        names = {"{blind}": str(blind), "{empty}": str(tmp_path / "empty")}
        data = changes["data"]
        changes = {"data": names[data] if isinstance(data, str) else [names[name] for name in data]}
    with pytest.raises(InputError, match=message):
        train_policy(options(blind, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_epochs_count_the_data(blind: Path, tmp_path: Path) -> None:
    config = options(blind, tmp_path / "out", steps=None, epochs=0.5, batch_size=8, logging_steps=1)
    train_policy(config)
    moments = json.loads((tmp_path / "out/run.json").read_text())["epoch_length"]
    assert len([e for e in history(tmp_path / "out") if "loss" in e]) == round(0.5 * -(-moments // 8))


def test_the_loss_of_an_epoch_is_the_mean_over_its_steps(blind: Path, tmp_path: Path) -> None:
    train_policy(options(blind, tmp_path / "out", steps=None, epochs=2.5, batch_size=16, logging_steps=1))
    entries = history(tmp_path / "out")
    steps = -(-json.loads((tmp_path / "out/run.json").read_text())["epoch_length"] // 16)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    logged = [(e["epoch"], e["step"], e["epoch_loss"]) for e in entries if "epoch_loss" in e]
    assert steps > 1 and [entry[:2] for entry in logged] == [(1, steps), (2, 2 * steps)]
    for epoch, end, loss in logged:
        assert loss == pytest.approx(np.mean(losses[(epoch - 1) * steps : end]))


def test_the_best_weights_are_scored_beside_the_last(blind: Path, tmp_path: Path) -> None:
    steady = OptimOptions(lr=3e-3, lr_sensor=3e-3, lr_end=3e-3)  # learns noise by heart
    config = options(blind, tmp_path / "out", steps=40, validation_steps=4, optim=steady)
    metrics = train_policy(config)
    best, source = VLAPolicy.from_pretrained(tmp_path / "out/best"), RecordedSource(config)
    with torch.no_grad():
        batches = [(predict(best.network, b), b.actions, b.real) for b in source.held_back()]
    rows = [row for batch in batches for row in zip(*batch, strict=True)]
    assert metrics["best"]["step"] < 40 and metrics["best"]["n"] == metrics["n"]
    assert metrics["best"]["mae"] != metrics["mae"]
    rows = [row for batch in batches for row in zip(*batch, strict=True)]
    off = np.mean([float((said - wanted).abs()[real].mean()) for said, wanted, real in rows])
    assert metrics["best"]["mae"] == pytest.approx(off)


def test_recordings_are_what_the_tests_take_them_for() -> None:
    assert len(recording(0).actions.stamps_ns) == 12


def test_features_from_a_cache_teach_what_the_backbone_would(
    seen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "features"
    assert main(["cache", str(seen), "--base", UNTRAINED, "--out", str(cache)]) == 0
    train_policy(options(seen, tmp_path / "uncached", steps=6, logging_steps=1))
    import ganglion.model.backbone.backbone as backbone

    def never(*args, **kwargs):
        raise AssertionError("a backbone was loaded")

    with monkeypatch.context() as patch:
        patch.setattr(backbone, "load_vlm", never)
        train_policy(options(seen, tmp_path / "cached", steps=6, logging_steps=1, cache=str(cache)))
    for ours, theirs in zip(history(tmp_path / "cached"), history(tmp_path / "uncached"), strict=True):
        assert ours.get("loss") == pytest.approx(theirs.get("loss"), abs=1e-5)
    frames = [{"front": picture(1, 56, 56)}]
    chunks = [
        VLAPolicy.from_pretrained(tmp_path / name).predict(frames, None, np.zeros((1, 650, 4)), np.zeros((1, 3)))
        for name in ("cached", "uncached")
    ]
    np.testing.assert_allclose(*chunks, atol=1e-3)


def test_a_cache_of_another_set_and_a_backbone_that_should_learn_are_refused(seen: Path, tmp_path: Path) -> None:
    cache, other = tmp_path / "features", recorded(tmp_path / "other", 3)
    assert main(["cache", str(other), "--base", UNTRAINED, "--out", str(cache)]) == 0
    with pytest.raises(InputError, match="features"):
        train_policy(options(seen, tmp_path / "out", cache=str(cache)))
    for vl, what in (
        (VlOptions(base="offline:qwen3_vl?untrained"), r"base_hash .*; add --vl\.base offline:qwen2_vl"),
        (VlOptions(base=UNTRAINED, layer=1), r"vl_layer \(2, now 1\)"),
        (VlOptions(base=UNTRAINED, max_pixels=784), r"image_processor\.max_pixels .*784"),
    ):
        with pytest.raises(InputError, match=f"features: holds VL features of another {what}"):
            train_policy(options(other, tmp_path / vl.base.partition("?")[0] / str(vl.layer), cache=str(cache), vl=vl))
    learning = VlOptions(base=UNTRAINED, finetune="lora")
    with pytest.raises(InputError, match=r"--vl\.finetune is lora"):
        train_policy(options(other, tmp_path / "out", cache=str(cache), vl=learning))
