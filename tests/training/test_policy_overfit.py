"""Every fusion with every head can learn: 32 moments by heart."""

from pathlib import Path

import pytest
import torch
from policy_for_test import BLIND, options, recorded

from ganglion.model.policy.config import FUSIONS, HEADS
from ganglion.training.policy.batch import losses, with_noise
from ganglion.training.policy.config import OptimOptions
from ganglion.training.policy.learner import make_learner
from ganglion.training.policy.loop import train
from ganglion.training.policy.recorded import RecordedSource
from ganglion.training.policy.schedule import Schedule

pytestmark = pytest.mark.slow
STEPS, MOMENTS = 120, 32


class Few(RecordedSource):
    """The same 32 moments in every batch, in another order each."""

    def batch(self, number):
        return super().batch(0)

    def weight(self, number):
        return super().weight(0)

    def held_back(self, part="test"):
        return iter(())


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("head", HEADS)
def test_it_learns_32_moments_to_less_than_a_hundredth_of_the_first_loss(
    tmp_path: Path, fusion: str, head: str
) -> None:
    folder = recorded(tmp_path / "set", 4, robot=BLIND)
    config = options(
        folder, tmp_path / "out", batch_size=MOMENTS, steps=STEPS, fusion=fusion, head=head, test_share=0.0,
        validation_share=0.0, save_steps=STEPS, logging_steps=STEPS,
        optim=OptimOptions(lr=3e-3, lr_sensor=3e-3, lr_end=0.0, weight_decay=0.0),
    )  # fmt: skip
    learner = make_learner(config, Few(config), None, "", torch.device("cpu"))

    @torch.no_grad()
    def loss() -> float:
        learner.learn(False)
        fresh = [losses(learner.network, with_noise(learner.source.batch(0), [9, k]) if head == "flow" else
                 learner.source.batch(0))[0].mean() for k in range(4)]  # fmt: skip
        return float(torch.stack(fresh).mean())

    before = loss()
    train(learner, config, Schedule(STEPS, floor=0.0), lambda: None)
    assert loss() < 0.01 * before
