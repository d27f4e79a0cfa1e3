"""Assistance: it lowers effort only at the right time, within the limits, and by a device that knows its sensors."""

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.simulation.exo_walk import Assist, Summary, draw_walk, exo_walk_robot
from ganglion.simulation.exo_walk.robot import MAX_RATE_NM_S, MAX_TORQUE_NM
from ganglion.simulation.exo_walk.world import ExoWalk

SEED = 3


def walk(terrain: str, percent: float, sign: float = 1.0, late_hops: int = 0) -> Summary:
    drawn = draw_walk(SEED, terrain)
    world, device = ExoWalk(drawn, exo_walk_robot()), Assist(drawn)
    world.set_assistance(percent)
    waiting = [np.zeros(4)] * (1 + late_hops)
    while not world.done:
        samples = world.step(waiting.pop(0))
        waiting.append(sign * device.torque(samples, world.state()))
    return world.summary()


@pytest.fixture(scope="module")
def unassisted() -> Summary:
    return walk("stairs_up", 0)


@pytest.fixture(scope="module")
def assisted() -> Summary:
    return walk("stairs_up", 20)


def test_help_at_the_right_time_lowers_effort_and_works_on_the_joints(unassisted: Summary, assisted: Summary) -> None:
    assert assisted.finished
    assert assisted.effort.net_j < 0.95 * unassisted.effort.net_j
    assert assisted.effort.torque_squared < 0.9 * unassisted.effort.torque_squared
    assert assisted.effort.assist_j > 50


def test_effort_falls_by_less_than_the_percent_asked(unassisted: Summary, assisted: Summary) -> None:
    assert assisted.effort.net_j > 0.8 * unassisted.effort.net_j


def test_help_of_the_wrong_sign_raises_effort(unassisted: Summary) -> None:
    assert walk("stairs_up", 20, sign=-1.0).effort.net_j > 1.05 * unassisted.effort.net_j


def test_help_half_a_second_late_raises_effort(unassisted: Summary) -> None:
    late = walk("stairs_up", 20, late_hops=24)
    assert late.finished and late.effort.net_j > 1.05 * unassisted.effort.net_j


def test_work_and_energy_balance_with_assistance(assisted: Summary) -> None:
    effort = assisted.effort
    work = effort.positive_j + effort.negative_j + effort.assist_j + effort.ground_j
    assert work == pytest.approx(effort.energy_j, abs=0.002 * (effort.positive_j - effort.negative_j))


def test_zero_percent_is_the_same_as_no_device_bit_for_bit(unassisted: Summary) -> None:
    world = ExoWalk(draw_walk(SEED, "stairs_up"), exo_walk_robot())
    while not world.done:
        world.step(np.zeros(4))
    assert world.summary() == unassisted


def test_torque_and_its_rate_keep_their_limits_whatever_is_asked() -> None:
    world = ExoWalk(draw_walk(SEED, "flat"), exo_walk_robot())
    rng, torques = np.random.default_rng(0), []
    for _ in range(25):
        world.step(rng.uniform(-500, 500, 4))
        torques.append(world.data.ctrl[6:].copy())
    summary = world.summary()
    assert 5 < summary.peak_torque_nm <= MAX_TORQUE_NM
    assert summary.peak_rate_nm_s <= MAX_RATE_NM_S * (1 + 1e-9)
    assert np.abs(np.diff(torques, axis=0)).max() <= MAX_RATE_NM_S * 0.02 * (1 + 1e-9)


def test_a_steady_command_arrives_at_the_joint() -> None:
    world = ExoWalk(draw_walk(SEED, "flat"), exo_walk_robot())
    asked = np.array([6.0, -4.0, 2.0, 5.0])
    for _ in range(10):
        samples = world.step(asked)
    offset = np.array(world.walk.torque_offset_nm)
    assert samples[:, 8:12].mean(axis=0) - offset == pytest.approx(asked, abs=0.5)


@pytest.mark.parametrize("action", [[0.0] * 3, [0.0, np.nan, 0.0, 0.0], [[0.0] * 4]])
def test_what_is_no_action_is_refused(action) -> None:
    world = ExoWalk(draw_walk(SEED, "flat"), exo_walk_robot())
    with pytest.raises(InputError, match="four finite numbers"):
        world.step(action)


@pytest.mark.parametrize("percent", [-1, 20.5])
def test_assistance_outside_the_tasks_limits_is_refused(percent: float) -> None:
    with pytest.raises(InputError, match="give 0 to 20"):
        ExoWalk(draw_walk(SEED, "flat"), exo_walk_robot()).set_assistance(percent)


def test_the_device_holds_a_leg_up_with_its_weights_moment() -> None:
    """A straight leg held out level: by Winter's table its weight's moment about hip and knee, in percent asked."""
    drawn = draw_walk(SEED, "flat")
    samples = np.zeros((13, 16), np.float32)
    samples[:, 0] = np.pi / 2
    torque = Assist(drawn).torque(samples, np.array([0.0, 10.0], np.float32))
    mass, height = drawn.mass_kg * drawn.fit_error, drawn.height_m * drawn.fit_error
    thigh, shank = 0.245 * height, 0.246 * height
    ankle_lever, foot_ahead = thigh + shank, 0.25 * 0.152 * height
    shank_lever = thigh + 0.433 * shank
    hip = 9.81 * mass * (0.1 * 0.433 * thigh + 0.0465 * shank_lever + 0.0145 * (ankle_lever + foot_ahead))
    knee = -9.81 * mass * (0.0465 * 0.433 * shank + 0.0145 * (shank + foot_ahead))
    assert torque[:2] == pytest.approx([0.1 * hip, 0.1 * knee], rel=1e-5)
