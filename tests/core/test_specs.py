import json
from dataclasses import replace

import pytest

from ganglion.core.errors import InputError
from ganglion.core.specs import ChannelGroup, SensorSpec, default_robot, robot_from_dict, to_dict


def test_the_default_robot_is_the_documented_one():
    robot = default_robot()
    sensor = robot.sensors[0]
    assert (sensor.window_samples, sensor.channels, sensor.rate_hz) == (650, 1026, 650.0)
    assert (sensor.hop_samples, sensor.window_frames) == (13, 50)
    assert sensor.hop_ms == pytest.approx(20.0)
    assert (robot.actions.horizon, robot.actions.dim) == (8, 7)


def test_a_spec_survives_json():
    robot = default_robot()
    assert robot_from_dict(json.loads(json.dumps(to_dict(robot)))) == robot


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("sensors", 0, "rate_hz"), 0, "rate_hz"),
        (("sensors", 0, "rate_hz"), float("nan"), "rate_hz"),
        (("sensors", 0, "window_samples"), 651, "651"),
        (("sensors", 0, "groups"), [], "channel group"),
        (("sensors", 0, "hops"), 3, "'hops'"),
        (("actions", "low"), [0.0], "low has 1 entries for 7 names"),
        (("actions", "max_rate"), [-1.0] * 7, "max_rate -1.0"),
        (("cameras", 0, "height"), "tall", "height"),
        (("cameras",), None, "wrong type"),
        (("colour",), "red", "'colour'"),
    ],
)
def test_a_bad_spec_is_named_in_one_line(path, value, named):
    data = json.loads(json.dumps(to_dict(default_robot())))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError) as error:
        robot_from_dict(data, where="robot.json")
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_key_is_named():
    data = to_dict(default_robot())
    del data["actions"]
    with pytest.raises(InputError, match="'actions' of RobotSpec is missing"):
        robot_from_dict(data)


def test_two_parts_may_not_share_a_name():
    robot = default_robot()
    with pytest.raises(InputError, match="repeat"):
        replace(robot, sensors=(replace(robot.sensors[0], name="scene"),))


def test_channels_are_the_sum_of_the_groups():
    sensor = SensorSpec(
        "arm", (ChannelGroup("a", 3, "N"), ChannelGroup("b", 5, "m")), rate_hz=60, hop_samples=2, window_samples=6
    )
    assert (sensor.channels, sensor.window_frames) == (8, 3)
