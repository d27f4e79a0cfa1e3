"""The wearer really walks the ground: several strides of it, up and down, on feet that hold, by joint torque alone."""

import numpy as np
import pytest

from ganglion.simulation.exo_walk import Effort
from ganglion.simulation.exo_walk.body import SOLE_RADIUS_M

GRAVITY = 9.81


def standing(recording):
    """(foothold, sole, rows of the recording) of each foot while it is planned flat on the ground."""
    world = recording.world
    seconds = (np.arange(len(recording.q)) + 1) * 0.02 + (world.steps.land_s[3] - world.steps.land_s[1])
    seconds += world.steps.land_s[1]
    for k in range(4, len(world.steps.x_m) - 4):
        land, leave = world.steps.land_s[k], world.steps.leave_s[k]
        flat = (seconds > land + 0.3 * (leave - land)) & (seconds < land + 0.6 * (leave - land))
        for sole in (2 * (k % 2), 2 * (k % 2) + 1):
            yield k, sole, np.flatnonzero(flat)


def test_every_terrain_is_walked_to_its_end_over_several_strides(walked) -> None:
    world = walked.world
    assert world.summary().finished and not world.summary().fallen
    assert world.effort().seconds - world.on_terrain_s > 4.0
    load = walked.samples[:, 12:].reshape(-1, 2, 2).sum(axis=2) > 0.2 * world.walk.mass_kg * GRAVITY
    landings = (np.diff(load.astype(int), axis=0) > 0).sum(axis=0)
    assert (landings >= 5).all()


def test_each_stride_lifts_the_trunk_by_two_treads_or_by_the_slope(walked) -> None:
    world = walked.world
    steps, walk = world.steps, world.walk
    lift = {"flat": 0.0, "stairs_up": 2 * walk.rise_m, "stairs_down": -2 * walk.rise_m}
    at = np.round((steps.land_s - steps.land_s[3]) / 0.02).astype(int) - 1
    strides = range(steps.on_terrain + 1, len(steps.x_m) - 5)
    for k in strides:
        ahead, up = walked.q[at[k + 2], :2] - walked.q[at[k], :2]
        on_slope = float(np.tan(np.deg2rad(walk.slope_deg))) * ahead
        assert up == pytest.approx(lift.get(walk.terrain, on_slope), abs=0.015)
        assert ahead > 0.5
    assert len(strides) >= 6


def test_a_standing_foot_neither_slips_nor_sinks(walked) -> None:
    checked = 0
    for _, sole, rows in standing(walked):
        place = walked.soles[rows, sole]
        assert np.ptp(place[:, 0]) < 0.005
        tilt = np.cos(walked.world.ground.slope_rad)
        gap = place[:, 1] - walked.world.ground.height(place[:, 0])
        sloped = place[:, 0] > walked.world.ground.start_m
        gap -= np.where(sloped, SOLE_RADIUS_M / tilt, SOLE_RADIUS_M)
        assert gap.min() > -0.003 and gap.max() < 0.004
        checked += len(rows)
    assert checked > 50


def test_soles_never_pass_through_the_ground(walked) -> None:
    place = walked.soles.reshape(-1, 2)
    assert (place[:, 1] - walked.world.ground.height(place[:, 0]) > SOLE_RADIUS_M - 0.004).all()


def test_on_average_the_feet_carry_the_weight(walked) -> None:
    world = walked.world
    steps = world.steps
    stride = steps.land_s[[-6, -4]] - steps.land_s[3]
    rows = slice(round(stride[0] * 650), round(stride[1] * 650))
    gains = np.array(world.walk.force_gain)
    force = (walked.samples[rows, 12:] / gains).sum(axis=1).mean()
    # A slope's soles feel the weight's part along their normal: the mean of g cos(slope), and friction holds the rest.
    normal = np.cos(world.ground.slope_rad)
    assert force / (world.walk.mass_kg * GRAVITY) == pytest.approx(normal, abs=0.05)


def test_work_and_energy_balance(walked) -> None:
    effort = walked.world.effort()
    work = effort.positive_j + effort.negative_j + effort.assist_j + effort.ground_j
    assert work == pytest.approx(effort.energy_j, abs=0.002 * (effort.positive_j - effort.negative_j))


def test_the_ground_takes_energy_up_and_never_pushes(walked) -> None:
    effort = walked.world.effort()
    assert -0.05 * (effort.positive_j - effort.negative_j) < effort.ground_j < 1.0


@pytest.mark.parametrize("terrain", ["stairs_up", "uphill_moderate", "uphill_steep"])
def test_a_climb_costs_the_wearer_its_potential_energy_and_more(terrain: str, walked_on) -> None:
    world = walked_on(terrain).world
    effort, mass = world.effort(), world.walk.mass_kg
    lifted = mass * GRAVITY * effort.height_m
    # The walk ends slower than it began, and legs and lean shift the center of mass a little against the hip.
    slack = 0.5 * mass * world.walk.speed_m_s**2 + 0.05 * mass * GRAVITY
    assert lifted > 200
    assert effort.positive_j + effort.negative_j > lifted - slack
    assert effort.positive_j > lifted


def test_going_down_costs_brakes_rather_than_pushes(walked_on) -> None:
    effort = walked_on("stairs_down").world.effort()
    assert -effort.negative_j > 2 * effort.positive_j


def test_efforts_subtract_and_weigh_work_by_efficiency() -> None:
    early, late = Effort(seconds=1, positive_j=10, negative_j=-6), Effort(seconds=3, positive_j=30, negative_j=-18)
    part = late.since(early)
    assert (part.seconds, part.positive_j, part.negative_j) == (2, 20, -12)
    assert part.net_j == pytest.approx(20 / 0.25 + 12 / 1.2)
