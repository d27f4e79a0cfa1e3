"""Recorded episodes as training data: what a batch holds, what each moment counts, and what sets may be mixed."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demonstrations_for_test import written
from policy_for_test import BLIND, ROBOT, SENSORLESS, UNTRAINED, options, recorded, recording

from ganglion.core.errors import InputError
from ganglion.core.specs import StateSpec
from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.demonstrations.cutting import cut_chunk, cut_window
from ganglion.training.demonstrations.episode import Stream
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.policy.batch import losses
from ganglion.training.policy.config import VlOptions
from ganglion.training.policy.learner import make_learner
from ganglion.training.policy.loop import prepared
from ganglion.training.policy.recorded import RecordedSource
from ganglion.training.policy.robots import common_robot
from ganglion.training.policy.run import run

CPU = torch.device("cpu")


@pytest.fixture
def blind(tmp_path: Path) -> Path:
    """Two episodes with the sensor and ten without, 12 moments each."""
    return recorded(tmp_path / "blind", 2, 10, robot=BLIND)


def test_a_batch_holds_what_was_recorded_at_each_moment(blind: Path, tmp_path: Path) -> None:
    config = options(blind, tmp_path / "out", test_share=0.0, validation_share=0.0, batch_size=12 * 12)
    source, episodes = RecordedSource(config), EpisodeSet(blind)
    batch = source.batch(0)
    assert batch.felt.sum() == 24 == len(batch.samples) == len(batch.present) and batch.ends == (50,)
    found = 0
    for row, moment in enumerate(source._order[p] for p in range(144)):
        episode = episodes[int(source._train.episode[moment])]
        now_ns = int(episode.actions.stamps_ns[int(source._train.action[moment])])
        actions, real = cut_chunk(episode.actions, BLIND.actions, now_ns)
        np.testing.assert_allclose(source.norm.action.denormalize(batch.actions[row, 0].numpy()), actions, atol=1e-5)
        assert batch.real[row, 0].tolist() == real.tolist()
        if batch.felt[row]:
            window = cut_window(episode.sensors["tip"], BLIND.sensors[0], now_ns)
            again = source.norm.sensor.denormalize(batch.samples[found].numpy())
            np.testing.assert_allclose(again, window.samples.astype(np.float32), atol=2e-3)
            found += 1
    assert found == 24


def test_scales_are_those_of_all_training_readings(blind: Path, tmp_path: Path) -> None:
    source = RecordedSource(options(blind, tmp_path / "out", test_share=0.0, validation_share=0.0))
    every = [EpisodeSet(blind)[k] for k in range(12)]
    actions = np.concatenate([episode.actions.values for episode in every])
    np.testing.assert_allclose(source.norm.action.mean, actions.mean(0), rtol=1e-5)
    np.testing.assert_allclose(source.norm.action.std, actions.std(0), rtol=1e-5)
    felt = np.concatenate([e.sensors["tip"].values for e in every if e.sensors]).astype(np.float64)
    np.testing.assert_allclose(source.norm.sensor.mean, felt.mean(0), rtol=1e-4)


def test_moments_with_a_sensor_come_as_often_and_count_as_much_as_asked(blind: Path, tmp_path: Path) -> None:
    config = options(
        blind, tmp_path / "out", test_share=0.0, validation_share=0.0, sensor_share=0.5, sensor_loss_weight=3.0
    )
    source = RecordedSource(config)
    assert source.epoch_length == 240  # 120 moments without, as many with
    felt, weights = Counter[bool](), 0.0
    for number in range(60):
        batch = source.batch(number)
        felt.update(batch.felt.tolist())
        assert batch.weight.tolist() == [3.0 if row else 1.0 for row in batch.felt]
        assert source.weight(number) == pytest.approx(float(batch.weight.sum()))
        weights += source.weight(number)
    assert felt == {True: 120, False: 120} and weights == 120 * 3 + 120


def test_the_loss_is_the_weighted_mean_over_what_is_real(blind: Path, tmp_path: Path) -> None:
    config = options(blind, tmp_path / "out", sensor_share=0.5, batch_size=8)
    learner = make_learner(config, RecordedSource(config), None, "", CPU)
    batch = learner.source.batch(0)
    off, _ = losses(learner.network, batch)
    for row in range(8):
        one = replace(
            batch,
            **{
                name: getattr(batch, name)[row : row + 1]
                for name in ("actions", "real", "weight", "state", "state_known")
            },
            felt=batch.felt[row : row + 1],
            samples=batch.samples[int(batch.felt[:row].sum()) :][: int(batch.felt[row])],
            present=batch.present[int(batch.felt[:row].sum()) :][: int(batch.felt[row])],
        )
        torch.testing.assert_close(losses(learner.network, one)[0][0], off[row], atol=1e-5, rtol=0)
    beyond = replace(batch, actions=torch.where(batch.real[..., None], batch.actions, torch.tensor(99.0)))
    torch.testing.assert_close(losses(learner.network, beyond)[0], off)
    assert not batch.real.all()


def test_batches_are_functions_of_their_number(blind: Path, tmp_path: Path) -> None:
    config = options(blind, tmp_path / "out", sensor_share=0.4, sensor_dropout=0.5, head="flow")
    one, same = RecordedSource(config), RecordedSource(config)
    for number in (5, 0, 3):
        ours, theirs = (prepared(source.batch(number), config, (0, number)) for source in (one, same))
        for name in ("actions", "felt", "samples", "present", "noise", "time", "state"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


def test_policies_with_and_without_the_sensor_meet_the_same_moments(blind: Path, tmp_path: Path) -> None:
    ways: tuple[dict[str, Any], ...] = ({}, {"fusion": "none"}, {"sensor": False}, {"sensor_groups": ["force"]})
    sources = [RecordedSource(options(blind, tmp_path / "out", sensor_share=0.4, **way)) for way in ways]
    for number in range(3):
        first, *others = (source.batch(number) for source in sources)
        assert all(torch.equal(first.actions, other.actions) for other in others)
    assert [source.weight(0) > 4.0 for source in sources] == [True, False, False, True]


def test_a_dropped_or_switched_off_sensor_is_absent(blind: Path, tmp_path: Path) -> None:
    dropping = RecordedSource(options(blind, tmp_path / "out", sensor_share=0.9, sensor_dropout=0.5, batch_size=64))
    batch = dropping.batch(0)
    assert 0.25 < float(batch.felt.float().mean()) < 0.65
    assert dropping.weight(0) == pytest.approx(float(batch.weight.sum()))
    off = RecordedSource(options(blind, tmp_path / "out", sensor=False))
    assert not off.batch(0).felt.any() and off.weight(0) == 4.0


def test_what_is_held_back_shares_no_session_with_training(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    written(folder, *(replace(recording(k, robot=BLIND), session=f"day {k // 2}") for k in range(12)), robot=BLIND)
    source = RecordedSource(options(folder, tmp_path / "out", test_share=0.3, validation_share=0.2))
    sides = [{int(e) // 2 for e in side.episode} for side in (source._train, source._validation, source._test)]
    assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert sum(len(batch.weight) for batch in source.held_back("test")) == len(source._test)


def test_ages_of_views_are_those_drawn_or_older_by_up_to_a_frame(tmp_path: Path) -> None:
    from ganglion.model.backbone.facts import describe_backbone

    folder = recorded(tmp_path / "seen", 4)
    config = options(folder, tmp_path / "out", test_share=0.0, validation_share=0.0, batch_size=40)
    config = replace(config, vl=replace(config.vl, age_ms=(50.0, 90.0)))
    batch = RecordedSource(config, describe_backbone(config.vl.base)).batch(0)
    assert batch.vl_age_s.min() >= 0.05 and batch.vl_age_s.max() <= 0.09 + 0.1
    assert all(len(images) == 1 for images in batch.pictures.images)
    assert set(batch.pictures.instructions) <= {"touch peak 0", "touch peak 1", "touch peak 2"}


def test_sets_with_and_without_the_sensor_mix_if_they_are_of_one_robot(tmp_path: Path) -> None:
    felt = recorded(tmp_path / "felt", 3)
    plain = recorded(tmp_path / "plain", 0, 3, robot=SENSORLESS)
    config = options(felt, tmp_path / "out", data=[str(plain), str(felt)], test_share=0.0, validation_share=0.0)
    source = RecordedSource(replace(config, vl=replace(config.vl)))
    assert source.robot.sensors == ROBOT.sensors and source.facts["moments"] == {"train": 72, "with_sensor": 36}
    other = replace(ROBOT, state=StateSpec(("q",), ("rad",), 50.0))
    with pytest.raises(InputError, match="b: has other state than a"):
        common_robot([("a", ROBOT), ("b", other)])
    faster = replace(ROBOT, actions=replace(ROBOT.actions, rate_hz=30.0))
    with pytest.raises(InputError, match="b: has other actions than a"):
        common_robot([("a", ROBOT), ("b", faster)])


def test_actions_that_never_change_are_scored_and_nothing_held_back_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episodes = [recording(k, robot=BLIND) for k in range(4)]
    still = [replace(e, actions=Stream(e.actions.stamps_ns, np.ones_like(e.actions.values))) for e in episodes]
    written(tmp_path / "still", *still, robot=BLIND)
    run(options(tmp_path / "still", tmp_path / "out", steps=1, test_share=0.25, validation_share=0.0))
    assert "policy in" in capsys.readouterr().out and (tmp_path / "out/run.json").is_file()
    run(options(tmp_path / "still", tmp_path / "all", steps=1, test_share=0.0, validation_share=0.0))
    assert "nothing was held back" in capsys.readouterr().out
    assert "No data was held back" in (tmp_path / "all/README.md").read_text()


def test_one_session_of_which_nothing_can_be_held_back_is_named(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "one", 1, robot=BLIND)
    with pytest.raises(InputError, match="leaves a side empty"):
        RecordedSource(options(folder, tmp_path / "out"))


def test_only_the_groups_that_are_named_are_felt(blind: Path, tmp_path: Path) -> None:
    source = RecordedSource(options(blind, tmp_path / "out", sensor_groups=["scan"], sensor_share=0.5))
    present = source.batch(0).present
    assert present is not None and not present[..., 0].any() and present[..., 1].any()
    with pytest.raises(InputError, match=r"--sensor_groups names 'torque'.*use some of \['force', 'scan'\]"):
        RecordedSource(options(blind, tmp_path / "out", sensor_groups=["torque"]))


def test_a_state_that_is_switched_off_is_unknown(blind: Path, tmp_path: Path) -> None:
    known = RecordedSource(options(blind, tmp_path / "out")).batch(0).state_known
    unknown = RecordedSource(options(blind, tmp_path / "out", state=False)).batch(0).state_known
    assert known is not None and unknown is not None
    assert known.all() and not unknown.any()


@pytest.mark.slow
def test_a_policy_that_is_not_told_ages_makes_no_difference_by_them(tmp_path: Path) -> None:
    folder, rng = recorded(tmp_path / "set", 5), np.random.default_rng(0)
    ages = {}
    for tells in (True, False):
        config = options(folder, tmp_path / str(tells), vl=VlOptions(base=UNTRAINED, tell_age=tells))
        run(config)
        policy = VLAPolicy.from_pretrained(tmp_path / str(tells))
        window = rng.normal(size=(1, 650, 4)).astype(np.float32)
        image, state = {"front": rng.integers(0, 255, (56, 56, 3), np.uint8)}, np.zeros((1, 3))
        found = [policy.predict([image], "go", window, state, vl_age_s=age) for age in (0.0, 0.4)]
        ages[tells] = float(np.abs(found[0] - found[1]).max())
    assert ages[False] == 0.0 < ages[True]
