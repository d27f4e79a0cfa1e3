"""Simulated robots by name: which there are, and who may drive them."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.errors import InputError, MissingExtra
from ganglion.core.specs import CameraSpec, default_robot
from ganglion.robot_bridge.worlds import open_world
from ganglion.simulation.oct_replay import oct_robot
from ganglion.simulation.scenario import scenario_names


@pytest.mark.parametrize("name", scenario_names())
def test_every_world_goes_on_by_hops_of_its_one_sensor_and_shows_its_poses(name):
    world, looker = open_world(name, 2), open_world(name, 2)
    sensor = world.robot.sensors[0]
    samples = world.step(np.zeros(world.robot.actions.dim))
    assert samples.shape == (sensor.hop_samples, sensor.channels) and samples.dtype == np.float32
    assert world.time_s == pytest.approx(sensor.hop_ms / 1e3) and not world.done
    assert world.state().shape == (world.robot.state.dim,)
    looker.show(world.pose())
    for camera in world.robot.cameras:
        np.testing.assert_array_equal(looker.frame(camera.name), world.frame(camera.name))
    world.close()
    looker.close()


def test_a_robot_may_bring_its_own_cameras_and_limits():
    world = open_world("insertion", 2, default_robot())  # one camera at 30 Hz instead of two at 10
    assert world.robot.cameras == default_robot().cameras
    world.close()


NO_CAMERAS = replace(default_robot(), cameras=())


@pytest.mark.parametrize(
    ("name", "seed", "robot", "reason"),
    [
        ("juggling", 1, None, "unknown world 'juggling'; use one of .*insertion"),
        ("insertion", -1, None, "world insertion: has no case of seed -1"),
        ("insertion", 1, replace(oct_robot(), cameras=()), "robot .* has another sensor, or another rate or hop"),
        ("insertion", 1, replace(NO_CAMERAS, cameras=(CameraSpec("top", 8, 8, 1.0),)), "has no camera 'top'"),
        (
            "insertion",
            1,
            replace(NO_CAMERAS, actions=replace(default_robot().actions, rate_hz=25.0)),
            "robot needle has other actions, or another rate",
        ),
    ],
)
def test_a_world_that_there_is_not_or_a_robot_that_does_not_fit_is_refused_in_one_line(name, seed, robot, reason):
    with pytest.raises(InputError, match=reason) as caught:
        open_world(name, seed, robot)
    assert "\n" not in str(caught.value)


def test_without_mujoco_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)  # importing it fails as if it were not there
    with pytest.raises(MissingExtra, match=r"mujoco is not installed; pip install 'ganglion\[sim\]'"):
        open_world("insertion", 1)
