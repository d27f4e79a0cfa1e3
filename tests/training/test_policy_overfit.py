"""Every fusion with every head can learn: 32 moments by heart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policy_for_test import ROBOT, UNTRAINED, options, recorded

from ganglion.model.backbone.facts import describe_backbone
from ganglion.model.policy.config import FUSIONS, HEADS
from ganglion.training.policy.batch import Batch, losses
from ganglion.training.policy.config import OptimOptions, PolicyTrainConfig
from ganglion.training.policy.learner import Learner, make_learner
from ganglion.training.policy.loop import prepared, train
from ganglion.training.policy.recorded import RecordedSource
from ganglion.training.policy.schedule import Schedule

pytestmark = pytest.mark.slow
STEPS, MOMENTS = 250, 32
SLOW = replace(ROBOT, sensors=(replace(ROBOT.sensors[0], rate_hz=100.0, hop_samples=2, window_samples=60),))


class Few(RecordedSource):
    """The same 32 moments in every batch; of each view drawn features."""

    def __init__(self, config: PolicyTrainConfig) -> None:
        facts = replace(describe_backbone(UNTRAINED), vl_width=16)
        super().__init__(config, facts, [self._features_of])
        self._same = super().batch(0)

    def _features_of(self, episode: int, view: int) -> torch.Tensor:
        return torch.as_tensor(np.random.default_rng([episode, view]).normal(size=(5, 16)), dtype=torch.float32)

    def batch(self, number: int) -> Batch:
        return self._same

    def weight(self, number: int) -> float:
        return super().weight(0)


@torch.no_grad()
def loss(learner: Learner, config: PolicyTrainConfig) -> float:
    """With noise that training has not seen."""
    learner.learn(False)
    batches = (prepared(learner.source.batch(0), config, (99, number)) for number in range(8))
    return float(torch.stack([losses(learner.network, batch)[0].mean() for batch in batches]).mean())


ONE = "concat"  # the others train as long, in `make acceptance`


@pytest.mark.parametrize("fusion", [pytest.param(f, marks=[pytest.mark.acceptance] * (f != ONE)) for f in FUSIONS])
@pytest.mark.parametrize("head", HEADS)
def test_32_moments_are_learned_to_a_hundredth_of_the_first_loss(tmp_path: Path, fusion: str, head: str) -> None:
    folder = recorded(tmp_path / "set", 4, robot=SLOW)
    config = options(
        folder, tmp_path / "out", batch_size=MOMENTS, fusion=fusion, head=head, test_share=0.0, validation_share=0.0,
        save_steps=STEPS, logging_steps=STEPS,
        optim=OptimOptions(lr=4e-3, lr_sensor=4e-3, lr_end=0.0, weight_decay=0.0),
    )  # fmt: skip
    learner = make_learner(config, Few(config), None, "", torch.device("cpu"))
    before = loss(learner, config)
    train(learner, config, Schedule(STEPS, floor=0.0), lambda: None)
    after = loss(learner, config)
    assert after < 0.01 * before, (before, after)
