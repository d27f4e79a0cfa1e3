"""A policy that drives worlds: the numbers of its predictions, streamed or not, whatever it is batched with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ganglion.core.normalization import Normalization, Scale
from ganglion.core.specs import RobotSpec
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import describe_backbone
from ganglion.model.policy.config import policy_config
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.policy.policy import VLAPolicy
from ganglion.simulation.insertion.case import draw_case, insertion_robot
from ganglion.simulation.insertion.world import Insertion
from ganglion.training.closed_loop.driver import Driver
from ganglion.training.closed_loop.rollout import Conditions, Traces, roll_out

pytestmark = pytest.mark.slow
WHOLE = insertion_robot()
BLIND = replace(WHOLE, cameras=())


def scale(count: int, mean: float = 0.0, std: float = 1.0) -> Scale:
    return Scale(np.full(count, mean, np.float32), np.full(count, std, np.float32))


def policy(robot: RobotSpec, **changes: object) -> VLAPolicy:
    """With random weights, large enough that what it reads makes a difference."""
    torch.manual_seed(0)
    facts = describe_backbone("offline:qwen2_vl?untrained", 2) if robot.cameras else None
    config = policy_config(robot, "tiny", vl_width=facts.vl_width if facts else 0, **changes)  # type: ignore[arg-type]
    network = PolicyNetwork(config).eval()
    torch.nn.init.normal_(network.expert.out.weight, std=0.3)
    norm = Normalization(scale(1026, -20.0, 15.0), scale(7, 0.0, 3.0), scale(7, 0.0, 10.0))
    vl = {**facts.to_dict(), "instruction": "go", "age_ms": [0, 200], "finetune": "none"} if facts else None
    return VLAPolicy(network, robot, norm, vl, Backbone(facts, "cpu") if facts else None)


def drive(made: VLAPolicy, seeds: list[int], conditions: Conditions, **options: object) -> Traces:
    worlds = [Insertion(draw_case(seed), made.robot) for seed in seeds]
    try:
        goals = [world.case.instruction for world in worlds]
        return roll_out(worlds, Driver(made, len(worlds), **options), goals, conditions)  # type: ignore[arg-type]
    finally:
        for world in worlds:
            world.close()


def test_streaming_and_whole_windows_command_the_same() -> None:
    made, while_ = policy(BLIND), Conditions(0.5)
    streamed, windows = drive(made, [1, 2], while_), drive(made, [1, 2], while_, window=True)
    assert np.abs(streamed.actions).max() > 1
    np.testing.assert_allclose(streamed.actions, windows.actions, atol=2e-3)


def test_a_world_goes_the_same_way_alone_and_among_others_and_each_time() -> None:
    made, while_ = policy(BLIND), Conditions(0.3)
    together, again, alone = (drive(made, seeds, while_).actions for seeds in ([1, 2, 3], [1, 2, 3], [2]))
    np.testing.assert_array_equal(together, again)
    np.testing.assert_allclose(together[:, 1], alone[:, 0], atol=1e-4)


def test_a_commands_number_is_that_of_predict_for_what_is_known_then() -> None:
    made = policy(WHOLE)
    world = Insertion(draw_case(4))
    rows: list[npt.NDArray[np.float32]] = [world.step(np.zeros(7)) for _ in range(50)]
    driver = Driver(made, 1)
    for row in rows:
        driver.feel(row[None], np.ones((1, 2), bool))
    shown = {camera.name: world.frame(camera.name) for camera in WHOLE.cameras}
    driver.look([0], [shown], ["touch it"])
    chunk = driver.decide(world.state()[None], np.array([0.08]))
    window = np.concatenate(rows)[None].astype(np.float16).astype(np.float32)
    expected = made.predict([shown], "touch it", window, world.state()[None], vl_age_s=0.08)
    np.testing.assert_allclose(chunk, expected, atol=1e-3)
    world.close()


def test_nothing_is_commanded_at_rest_and_then_within_the_limits_of_slew() -> None:
    made = policy(BLIND)
    traces = drive(made, [5], Conditions(0.4, rest_s=0.5))
    assert not traces.actions[:25].any() and traces.actions[25:].any()
    change = np.abs(np.diff(traces.actions[24:], axis=0))
    assert (change <= np.array(made.robot.actions.max_rate) * 0.02 + 1e-9).all()
    assert (np.abs(traces.actions) <= np.array(made.robot.actions.high) + 1e-9).all()


def test_what_is_seen_is_as_old_as_the_latency_and_grows_until_the_next_frame() -> None:
    traces = drive(policy(WHOLE, fusion="none"), [1], Conditions(0.4, rest_s=0.2, latency_ms=60.0))
    ages = traces.ages_s[:, 0]
    assert np.isnan(ages[:8]).all()  # the frame before would be forgotten by the end of the rest
    np.testing.assert_allclose(ages[8:18], [0.06, 0.08, 0.10, 0.12, 0.14] * 2, atol=1e-9)


@pytest.mark.parametrize(
    "changed",
    [
        lambda c: replace(c, sensor_until_s=0.3),
        lambda c: replace(c, camera_until_s=0.3),
        lambda c: replace(c, sensor_groups=("force",)),
        lambda c: replace(c, state=False),
    ],
    ids=["sensor lost", "camera dark", "force only", "no state"],
)
def test_what_is_lost_makes_a_difference_from_then_on(changed: Callable[[Conditions], Conditions]) -> None:
    made, usual = policy(WHOLE), Conditions(0.3, rest_s=0.2)
    whole, less = drive(made, [1], usual), drive(made, [1], changed(usual))
    if changed(usual).sensor_until_s or changed(usual).camera_until_s:
        np.testing.assert_array_equal(whole.actions[:15], less.actions[:15])
    assert np.abs(whole.actions[-3:] - less.actions[-3:]).max() > 1e-3
