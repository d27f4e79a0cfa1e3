"""Insertion by its name: whole trials, glances at their scenes, and a robot that has no sensor."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.simulation.insertion.case import draw_case, glance, insertion_robot
from ganglion.simulation.insertion.world import Insertion
from ganglion.simulation.scenario import get_scenario, scenario_names

BLIND = replace(insertion_robot(), sensors=())


def test_a_trial_is_of_its_seeds_case_and_fails_while_nothing_is_done() -> None:
    scenario = get_scenario("insertion")
    trial = scenario.begin(3, scenario.robot)
    assert trial.instruction == draw_case(3).instruction and trial.seconds == 6.0
    np.testing.assert_allclose(trial.world.state(), draw_case(3).start)
    assert trial.world.step(trial.act()).shape == (13, 1026)
    assert trial.judge()["success"] is False
    trial.world.close()


def test_a_world_that_is_none_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(InputError, match="unknown world 'walk'; use one of " + ", ".join(scenario_names())):
        get_scenario("walk")


def test_glances_are_of_one_scene_and_name_its_marks_and_layers_in_turn() -> None:
    case = draw_case(5)
    glances = [glance(case, number) for number in range(9)]
    assert all(replace(one, chosen=case.chosen, layer=case.layer, start=case.start) == case for one in glances)
    for first in range(7):
        three = glances[first : first + 3]
        assert len({one.chosen for one in three}) == 3
    assert all(len({one.layer for one in glances[first : first + 3]}) == 3 for first in (0, 3, 6))
    assert len({(one.chosen, one.layer) for one in glances}) == 9
    assert len({one.start for one in glances}) == 9
    assert glances[4] == glance(draw_case(5), 4) != glance(draw_case(6), 4)


def test_half_of_all_glances_begin_near_their_mark_and_the_rest_anywhere() -> None:
    case = draw_case(0)
    glances = [glance(replace(case, seed=seed), seed % 5) for seed in range(3000)]
    starts = np.array([one.start for one in glances])
    marks = np.array([(one.marks[one.chosen].x_mm, one.marks[one.chosen].y_mm) for one in glances])
    off = np.hypot(*(starts[:, :2] - marks).T)
    reach = 3.0 * math.sqrt(2 * math.log(2))  # within which half of a normal distribution of 3 mm lies
    expected = 0.5 * 0.5 + 0.5 * math.pi * reach**2 / 36**2
    assert np.mean(off < reach) == pytest.approx(expected, abs=4 * math.sqrt(expected / 3000))
    far = starts[off > 15]  # these are of the even ones
    assert np.abs(far[:, :2]).max() <= 18 and (np.abs(far[:, :2]).max(axis=0) > 17).all()
    assert -17 <= starts[:, 2].min() < -16.5 and -0.5 < starts[:, 2].max() <= 0
    assert np.abs(starts[:, 3:5]).max() <= 0.08 and (starts[:, 6] == 0).all()


def test_no_glance_begins_in_the_block() -> None:
    lowest = max((glance(draw_case(seed), 0) for seed in range(200)), key=lambda one: one.surface_mm - one.start[2])
    assert Insertion(lowest, BLIND).depth_mm < 0


def test_without_a_sensor_the_world_moves_and_looks_the_same_and_reads_nothing() -> None:
    feels, blind = Insertion(draw_case(5)), Insertion(draw_case(5), BLIND)
    for _ in range(10):
        assert feels.step(np.ones(7)).shape == (13, 1026) and blind.step(np.ones(7)).shape == (13, 0)
        np.testing.assert_array_equal(feels.state(), blind.state())
    np.testing.assert_array_equal(feels.frame("wrist"), blind.frame("wrist"))
    assert feels.time_s == blind.time_s == 0.2
    feels.close()
    blind.close()


def test_it_is_seen_where_there_is_no_display_and_nothing_is_set() -> None:
    code = (
        "from ganglion.simulation.insertion.case import draw_case\n"
        "from ganglion.simulation.insertion.world import Insertion\n"
        "print(Insertion(draw_case(1)).frame('wrist').std() > 5)"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "DISPLAY")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
