"""What a finished run keeps of real moments: those it was not trained on, as the network reads them."""

from dataclasses import replace
from pathlib import Path

import torch
from policy_for_test import BLIND, options, recorded

from ganglion.model.policy.kept_moments import MOMENTS, read_moments
from ganglion.training.policy.batch import predict
from ganglion.training.policy.keep_moments import MOST, keep_moments, spread
from ganglion.training.policy.learner import Learner, make_learner
from ganglion.training.policy.recorded import RecordedSource


def learner_of(folder: Path, out: Path, **changes: float) -> Learner:
    config = options(folder, out, **changes)
    return make_learner(config, RecordedSource(config), None, "", torch.device("cpu"))


def test_kept_moments_are_those_of_validation_in_16_bits(tmp_path: Path) -> None:
    learner = learner_of(recorded(tmp_path / "set", 6, robot=BLIND), tmp_path / "out", validation_share=0.2)
    keep_moments(learner, tmp_path)
    kept = read_moments(tmp_path, learner.network.config)
    assert kept is not None
    held_back = list(learner.source.held_back("validation"))
    actions = torch.cat([batch.actions[:, 0] for batch in held_back])
    assert 0 < len(kept) <= MOST
    assert all((row == actions).flatten(1).all(1).any() for row in kept.actions)
    batch = held_back[0]
    assert batch.samples is not None
    torch.testing.assert_close(kept.samples[0].float(), batch.samples[0], atol=2e-3, rtol=1e-3)
    half = replace(batch, samples=batch.samples.half().float())
    with torch.no_grad():
        apart = (predict(learner.network, half) - predict(learner.network, batch)).abs().max()
    assert 0 < apart < 0.01


def test_moments_without_the_sensor_are_not_kept_and_without_any_there_is_no_file(tmp_path: Path) -> None:
    learner = learner_of(recorded(tmp_path / "set", 0, 6, robot=BLIND), tmp_path / "out", validation_share=0.2)
    keep_moments(learner, tmp_path)
    assert not (tmp_path / MOMENTS).exists()


def test_they_are_spread_over_all_there_are_and_take_no_more_room_than_they_may() -> None:
    small = spread({"value": torch.tensor([float(k)])} for k in range(1000))
    numbers = torch.tensor([row["value"].item() for row in small])
    assert len(small) == MOST and numbers[0] == 0 and numbers[-1] > 900
    assert numbers.diff().max() <= 2 * 1000 / MOST
    large = spread({"value": torch.zeros(250_000)} for _ in range(100))
    assert len(large) == 32
    assert spread([]) == []
