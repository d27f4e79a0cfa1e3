"""The world as a robot: its spec, its clock, its seeds, its camera, and gait and statics against references."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.specs import robot_from_dict, to_dict
from ganglion.core.tasks.exo_rules import TERRAINS
from ganglion.simulation.exo_walk import draw_walk, exo_walk_robot
from ganglion.simulation.exo_walk.mjcf import PHYSICS_HZ
from ganglion.simulation.exo_walk.world import ExoWalk


def start(seed: int, terrain: str | None = None) -> ExoWalk:
    return ExoWalk(draw_walk(seed, terrain), exo_walk_robot())


def first_frame(seed: int, terrain: str) -> np.ndarray:
    world = start(seed, terrain)
    frame = world.frame("forward")
    world.close()
    return frame


def test_the_spec_is_a_10_hz_camera_16_channels_at_650_hz_and_four_torques_at_50() -> None:
    robot = exo_walk_robot()
    (camera,), (sensor,) = robot.cameras, robot.sensors
    assert (camera.height, camera.width, camera.rate_hz) == (112, 112, 10.0)
    assert (sensor.channels, sensor.rate_hz, sensor.hop_ms) == (16, 650.0, 20.0)
    assert (robot.actions.dim, robot.actions.rate_hz) == (4, 50.0)
    assert robot_from_dict(to_dict(robot)) == robot


def test_a_step_is_thirteen_samples_and_twenty_milliseconds_of_physics() -> None:
    world = start(0)
    for _ in range(5):
        samples = world.step(np.zeros(4))
        assert samples.shape == (13, 16) and samples.dtype == np.float32
    assert PHYSICS_HZ == 2 * 650
    assert world.time_s == pytest.approx(0.1, abs=1e-12) and world.data.time == pytest.approx(0.1, abs=1e-9)
    assert world.state().shape == (2,)


def test_a_seed_gives_the_same_bits_and_another_other_ones() -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-10, 10, (40, 4))
    worlds = start(5), start(5), start(6)
    runs = [np.concatenate([world.step(action) for action in actions]) for world in worlds]
    assert runs[0].tobytes() == runs[1].tobytes() and runs[0].tobytes() != runs[2].tobytes()
    assert worlds[0].effort() == worlds[1].effort()
    assert draw_walk(5) == draw_walk(5) != draw_walk(6)


def test_seeds_vary_wearer_ground_pace_light_and_camera() -> None:
    walks = [draw_walk(seed) for seed in range(200)]
    assert {walk.terrain for walk in walks} == set(TERRAINS)
    for field in ("rise_m", "run_m", "height_m", "mass_kg", "thigh_scale", "speed_m_s", "start_m", "yields"):
        assert len({getattr(walk, field) for walk in walks}) == 200
    for field in ("ground", "light", "sun_azimuth_deg", "texture_seed", "camera_height", "camera_pitch_deg"):
        assert len({getattr(walk.look, field) for walk in walks}) == 200
    assert all(0.15 <= walk.rise_m <= 0.19 and 0.28 <= walk.run_m <= 0.32 for walk in walks)
    slopes = {kind: [w.slope_deg for w in walks if w.terrain == kind] for kind in TERRAINS}
    assert min(slopes["uphill_moderate"]) >= 5 and max(slopes["uphill_moderate"]) <= 8
    assert min(slopes["uphill_steep"]) >= 10 and max(slopes["uphill_steep"]) <= 15


def test_a_terrain_may_be_asked_for_and_unknown_ones_are_refused() -> None:
    assert draw_walk(5, "stairs_up").mass_kg == draw_walk(5, "flat").mass_kg
    with pytest.raises(InputError, match="no terrain 'ice'"):
        draw_walk(0, "ice")
    with pytest.raises(InputError, match="seed is -1"):
        draw_walk(-1)


def test_a_walk_that_is_over_takes_no_step(level) -> None:
    assert level.world.done
    with pytest.raises(InputError, match="the walk is over"):
        level.world.step(np.zeros(4))


def test_a_leg_held_out_level_needs_its_weights_moment() -> None:
    """The model's own gravity torque against Winter's table: thigh 0.1, shank 0.0465, foot 0.0145 of body mass."""
    world = start(4, "flat")
    walk, data = world.walk, world.data
    data.qpos[:], data.qvel[:] = 0, 0
    data.qpos[3] = np.pi / 2
    mujoco.mj_forward(world.model, data)
    thigh, shank = 0.245 * walk.height_m * walk.thigh_scale, 0.246 * walk.height_m * walk.shank_scale
    ankle, foot = thigh + shank, 0.5 * 0.039 * walk.height_m
    hip = 0.1 * 0.433 * thigh + 0.0465 * (thigh + 0.433 * shank) + 0.0145 * (ankle + foot)
    assert data.qfrc_bias[3] == pytest.approx(9.81 * walk.mass_kg * hip, rel=1e-6)
    assert data.qfrc_bias[1] == pytest.approx(9.81 * walk.mass_kg, rel=1e-6)


def test_the_sensors_read_the_joints_within_their_noise_and_offsets(level) -> None:
    read = level.samples[12::13, :4]
    true = level.q[:, [3, 4, 6, 7]]
    off = np.abs((read - true).mean(axis=0) - level.world.walk.angle_offset_rad)
    assert (off < 0.006).all() and ((read - true).std(axis=0) > 0.002).all()


def test_level_gait_is_timed_as_recorded_people_walk(level, shared_data: Path) -> None:
    """Stride time within 15 percent and stance share within 0.08 of the medians that foot sensors of gaitmap hold."""
    table = np.genfromtxt(shared_data / "gaitmap_imu" / "stride_events_sample.csv", delimiter=",", names=True)
    strides = (table["ic"] - table["pre_ic"]) / 204.8
    shares = (table["tc"] - table["pre_ic"]) / (table["ic"] - table["pre_ic"])
    force = np.convolve(level.samples[:, 12:14].sum(axis=1), np.ones(13) / 13, "same")
    edges = np.diff((force > 25.0).astype(int))
    off = np.flatnonzero(edges < 0)
    swings = [
        (a, b) for a, b in zip(off, off + [np.argmax(edges[a:] > 0) for a in off], strict=True) if b - a > 0.2 * 650
    ]
    leave, land = np.array(swings).T
    stride = np.diff(land)
    assert len(stride) >= 3
    assert np.median(stride) / 650 == pytest.approx(np.median(strides), rel=0.15)
    assert np.median((leave[1:] - land[:-1]) / stride) == pytest.approx(np.median(shares), abs=0.08)


def test_the_camera_tells_the_terrain_ahead_before_it_is_stepped_on(offscreen: None) -> None:
    views = {terrain: first_frame(7, terrain).astype(float) for terrain in TERRAINS}
    assert all(view.shape == (112, 112, 3) for view in views.values())
    for one in views:
        for other in views:
            if one < other:
                assert np.abs(views[one] - views[other]).mean() > 2.0, (one, other)
    sky = views["flat"][0, 0]
    seen = {terrain: (np.abs(view - sky).max(axis=2) < 40).mean() for terrain, view in views.items()}
    assert seen["flat"] > seen["uphill_moderate"] > seen["uphill_steep"]
    # Risers and treads alternate down the middle of the image; a slope has nothing of the kind.
    bands = {terrain: np.abs(np.diff(view[:, 40:72].mean(axis=(1, 2)))).sum() for terrain, view in views.items()}
    assert bands["stairs_up"] > 1.5 * max(bands["flat"], bands["uphill_moderate"], bands["uphill_steep"])


def test_frames_repeat_and_differ_by_seed(offscreen: None) -> None:
    one, again, other = first_frame(1, "flat"), first_frame(1, "flat"), first_frame(2, "flat")
    assert one.tobytes() == again.tobytes()
    assert np.abs(one.astype(float) - other).mean() > 5


def test_a_camera_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no camera 'rear'"):
        start(0).frame("rear")
