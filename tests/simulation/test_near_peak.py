"""The synthetic needle stream: pure in seed and index, and carrying what the expert acts on."""

from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.specs import ActionSpec, CameraSpec, ChannelGroup, RobotSpec, SensorSpec, default_robot
from ganglion.simulation.a_scan import SCAN_RANGE_MM, TIP_OFFSET_MM
from ganglion.simulation.near_peak import NearPeakStream


def small_robot(**changes: object) -> RobotSpec:
    robot = default_robot()
    sensor = SensorSpec("tip", (ChannelGroup("force", 2, "N"), ChannelGroup("a_scan", 96, "dB")), rate_hz=650.0)
    return replace(robot, **{"sensors": (sensor,), **changes})


def test_two_streams_of_one_seed_agree_sample_by_sample_and_block_by_block() -> None:
    block = NearPeakStream(small_robot(), seed=5).samples(12_345, 100)
    other = NearPeakStream(small_robot(), seed=5)
    assert block.shape == (100, 98) and block.dtype == np.float32
    for index in reversed(range(100)):
        np.testing.assert_array_equal(other.sample(12_345 + index), block[index])


def test_seeds_differ_in_samples_frames_and_chunks() -> None:
    one, two = NearPeakStream(small_robot(), 1), NearPeakStream(small_robot(), 2)
    assert not np.array_equal(one.samples(0, 10), two.samples(0, 10))
    assert not np.array_equal(one.frame(0.5), two.frame(0.5))
    assert not np.array_equal(one.chunk(0.5), two.chunk(0.5))


def test_noise_differs_between_samples_but_not_between_readings() -> None:
    stream = NearPeakStream(small_robot(), 3)
    a, b = stream.samples(100, 2)
    assert np.abs(a - b).max() > 1.0
    np.testing.assert_array_equal(stream.sample(100), a)


@pytest.mark.parametrize("bins", [96, 512, 1025])
def test_near_peak_bin_follows_the_distance(bins: int) -> None:
    sensor = SensorSpec("tip", (ChannelGroup("force", 1, "N"), ChannelGroup("a_scan", bins, "dB")), rate_hz=650.0)
    stream = NearPeakStream(small_robot(sensors=(sensor,)), 11)
    firsts = np.arange(0, 650 * 20, 331)
    found = [np.median(stream.samples(first, 15)[:, 1:], axis=0).argmax() for first in firsts]
    gaps = stream.state(firsts / 650.0).gap_mm
    np.testing.assert_allclose(np.array(found), (gaps + TIP_OFFSET_MM) / SCAN_RANGE_MM * bins, atol=0.03 * bins)
    assert np.ptp(found) > 0.3 * bins


def test_force_rises_on_contact_only() -> None:
    stream = NearPeakStream(small_robot(), 11)
    samples, state = stream.samples(0, 650 * 40), stream.state(np.arange(650 * 40) / 650.0)
    touching = state.push_mm > 0.1
    assert touching.any() and (state.gap_mm > 0).any()
    assert samples[touching, 0].mean() > 0.2
    assert np.abs(samples[state.gap_mm > 0, 0].mean()) < 0.01
    assert np.corrcoef(samples[touching, 0], state.push_mm[touching])[0, 1] > 0.95


@pytest.mark.parametrize("seed", range(4))
def test_mark_in_the_image_lies_where_the_lateral_velocity_points(seed: int) -> None:
    stream = NearPeakStream(default_robot(), seed)
    for time_s in (0.0, 3.7, 9.1, 14.2):
        frame = stream.frame(time_s).astype(float)
        bright = frame.sum(2) >= np.quantile(frame.sum(2), 0.97)
        rows, columns = np.nonzero(bright)
        seen = np.array([columns.mean(), rows.mean()]) - 56
        state = stream.state(np.array([time_s]))
        mark = np.array([state.mark_x_mm[0], state.mark_y_mm[0]])
        np.testing.assert_allclose(seen / 7.0, mark, atol=0.6)
        vx, vy = stream.chunk(time_s)[0, :2]
        np.testing.assert_allclose([vx, vy], 1.5 * mark, rtol=1e-5)


def test_chunks_keep_the_limits_and_decay_toward_rest() -> None:
    actions = default_robot().actions
    chunks = NearPeakStream(default_robot(), 2).chunks(np.linspace(0, 60, 600))
    assert chunks.shape == (600, 8, 7) and chunks.dtype == np.float32
    assert (chunks >= np.float32(actions.low)).all() and (chunks <= np.float32(actions.high)).all()
    assert (np.abs(chunks[:, 1:]) <= np.abs(chunks[:, :-1])).all()
    assert (chunks.std((0, 1)) > 0).tolist() == [True, True, True, True, True, False, True]


def test_feed_depends_on_the_gap_through_the_a_scan_and_on_the_push_through_force() -> None:
    stream = NearPeakStream(small_robot(), 11)
    times = np.linspace(0, 40, 500)
    state, feed = stream.state(times), stream.chunks(times)[:, 0, 6]
    far, deep = state.gap_mm > 0.5, state.push_mm > 0.2
    assert far.any() and deep.any()
    assert (feed[far] > 1.0).all() and (feed[deep] < 0).all()


def test_chunk_follows_the_spec_s_order_horizon_and_limits() -> None:
    actions = ActionSpec(("feed", "vx"), ("mm/s", "mm/s"), (-1.0, -1.0), (1.0, 1.0), (9.0, 9.0), 25.0, horizon=3)
    stream = NearPeakStream(small_robot(actions=actions), 4)
    chunks, whole = stream.chunks(np.linspace(0, 9, 50)), NearPeakStream(small_robot(), 4).chunks(np.linspace(0, 9, 50))
    assert chunks.shape == (50, 3, 2)
    np.testing.assert_allclose(chunks[:, 0], np.clip(whole[:, 0, [6, 0]], -1, 1), rtol=1e-6)


def test_frame_has_the_camera_s_size_and_an_unknown_camera_is_named() -> None:
    stream = NearPeakStream(small_robot(cameras=(CameraSpec("wrist", 64, 80, 30.0),)), 1)
    assert stream.frame(1.0).shape == (64, 80, 3) and stream.frame(1.0).dtype == np.uint8
    with pytest.raises(InputError, match="no camera 'scene'"):
        stream.frame(1.0, "scene")


def test_a_robot_without_camera_streams_samples() -> None:
    stream = NearPeakStream(small_robot(cameras=()), 1)
    assert stream.samples(0, 5).shape == (5, 98)
    with pytest.raises(InputError, match="no camera"):
        stream.frame(0.0)


def test_an_action_the_needle_lacks_is_refused_at_construction() -> None:
    actions = ActionSpec(("gripper",), ("mm",), (0.0,), (1.0,), (1.0,), 50.0)
    with pytest.raises(InputError, match="gripper"):
        NearPeakStream(small_robot(actions=actions), 0)
