"""What is cut at one moment, beside what a slow reader of the same rules, or the truth of how it was made, says."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demonstrations_for_test import ROBOT, episode, stamps, stream
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.specs import ChannelGroup, SensorSpec
from ganglion.training.demonstrations.cutting import cut_chunk, cut_state, cut_window, episode_views, view_at
from ganglion.training.demonstrations.episode import CameraStream, Stream

SENSOR = ROBOT.sensors[0]  # 100 Hz, hops of 5, windows of 20
HOP, COUNT = SENSOR.hop_samples, SENSOR.window_samples
PERIOD_NS = 10_000_000


def recorded(numbers: Any, jitter_ns: Any = 0, start_ns: int = 0) -> Stream:
    """The samples of those numbers of an ideal 100 Hz clock; channel 0 is the number itself."""
    numbers = np.asarray(numbers, np.int64)
    values = np.repeat(numbers[:, None], SENSOR.channels, axis=1).astype(np.float32)
    return Stream(start_ns + numbers * PERIOD_NS + np.asarray(jitter_ns), values)


def true_window(numbers: list[int], newest: int) -> npt.NDArray[np.float32]:
    """(window,) number of the sample in each place of the window that ends with sample `newest`, NaN where lost."""
    there = set(numbers)
    return np.array([k if k in there else np.nan for k in range(newest - COUNT + 1, newest + 1)], np.float32)


@given(
    lost=st.sets(st.integers(0, 79), max_size=60),
    newest=st.integers(0, 79),
    jitter=st.lists(st.integers(-2_000_000, 2_000_000), min_size=80, max_size=80),
    start_ns=st.sampled_from([0, 123_456_789, 1_700_000_000 * 10**9]),
)
def test_samples_lie_where_they_were_taken_however_many_are_lost(
    lost: set[int], newest: int, jitter: list[int], start_ns: int
) -> None:
    numbers = [k for k in range(80) if k not in lost]
    sampled = recorded(numbers, [jitter[k] for k in numbers], start_ns)
    window = cut_window(sampled, SENSOR, start_ns + newest * PERIOD_NS + PERIOD_NS // 2)
    truth = true_window(numbers, newest)
    had = [k for k in numbers if k <= newest][-COUNT:]
    missing = newest - had[0] + 1 - len(had) if had else COUNT
    if missing <= HOP / 2:  # counted back from the newest
        truth = np.full(COUNT, np.nan, np.float32)
        truth[COUNT - len(had) :] = had
    whole = ~np.isnan(truth).reshape(-1, HOP).any(axis=1)
    np.testing.assert_array_equal(window.present, np.stack([whole, whole], axis=1))
    np.testing.assert_array_equal(window.samples[:, 2], np.nan_to_num(truth))


@given(newest=st.integers(25, 79), lost=st.sets(st.integers(0, 79), max_size=12), offset_ns=st.integers(0, 9_800_000))
def test_a_moment_may_fall_on_a_sample_or_between_two(newest: int, lost: set[int], offset_ns: int) -> None:
    numbers = [k for k in range(80) if k not in lost and not newest - 9 <= k < newest - 5]  # enough to be a gap
    window = cut_window(recorded(numbers), SENSOR, newest * PERIOD_NS + offset_ns)
    np.testing.assert_array_equal(window.samples[:, 0], np.nan_to_num(true_window(numbers, newest)))


def test_stamps_in_whole_nanoseconds_do_not_open_holes() -> None:
    """650 Hz has no whole period; after a gap, each sample still has its place, at moments right on samples too."""
    sensor = SensorSpec("oct", (ChannelGroup("force", 1, "N"),), 650.0)
    at = stamps(650, 3)
    kept = np.r_[0:1000, 1100:1950]
    sampled = Stream(at[kept], kept[:, None].astype(np.float32))
    for newest in range(1100, 1750, 13):
        window = cut_window(sampled, sensor, int(at[newest]))
        expected = np.arange(newest - 649, newest + 1)
        expected[(expected >= 1000) & (expected < 1100)] = 0
        np.testing.assert_array_equal(window.samples[:, 0], expected)


def test_the_usual_window_is_a_view_of_the_recording() -> None:
    sampled = recorded(np.arange(100))
    window = cut_window(sampled, SENSOR, 50 * PERIOD_NS)
    assert np.shares_memory(window.samples, sampled.values)
    np.testing.assert_array_equal(window.samples[:, 0], np.arange(31, 51))
    assert window.present.shape == (4, 2) and window.present.all()


@pytest.mark.parametrize(("stream_or_none", "now_ns"), [(None, 0), (recorded([5, 6]), 4 * PERIOD_NS)])
def test_a_window_of_nothing_is_zeros_and_absent(stream_or_none: Stream | None, now_ns: int) -> None:
    window = cut_window(stream_or_none, SENSOR, now_ns)
    assert window.samples.shape == (20, 4) and not window.samples.any()
    assert window.present.shape == (4, 2) and not window.present.any()


def test_a_sensor_that_fell_silent_is_absent() -> None:
    window = cut_window(recorded(np.arange(50)), SENSOR, 100 * PERIOD_NS)
    assert not window.samples.any() and not window.present.any()


def test_samples_in_a_burst_all_keep_a_place() -> None:
    """Samples that came in one packet, with stamps a microsecond apart, after a gap."""
    at = np.r_[np.arange(10) * PERIOD_NS, 30 * PERIOD_NS + np.arange(4) * 1000]
    window = cut_window(Stream(at, np.arange(1.0, 15.0)[:, None].repeat(4, 1)), SENSOR, int(at[-1]))
    assert window.samples[-4:, 0].tolist() == [11, 12, 13, 14]


def test_an_absent_group_is_absent_in_every_frame() -> None:
    present = cut_window(recorded(np.arange(100)), SENSOR, 50 * PERIOD_NS, ["force"]).present
    assert not present[:, 0].any() and present[:, 1].all()


@given(st.data())
def test_the_state_is_the_newest_there_was(data: st.DataObject) -> None:
    at = np.cumsum(data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=20)))
    now = data.draw(st.integers(0, 700))
    taken = stream(3, 2, at, np.float64)
    earlier = [k for k in range(len(at)) if at[k] <= now]
    state, there = cut_state(taken, 2, now)
    assert there == bool(earlier) and state.dtype == np.float32
    expected = taken.values[earlier[-1]] if earlier else np.zeros(2)
    np.testing.assert_array_equal(state, expected.astype(np.float32))
    assert cut_state(None, 2, now)[1] is False


@given(st.data())
def test_a_chunk_is_what_was_commanded_at_each_period(data: st.DataObject) -> None:
    period = 50_000_000
    at = np.cumsum(data.draw(st.lists(st.integers(1, 3 * period), min_size=1, max_size=20)))
    commanded = stream(4, 2, at)
    now = int(at[data.draw(st.integers(0, len(at) - 1))])
    chunk, real = cut_chunk(commanded, ROBOT.actions, now)
    assert chunk.dtype == np.float32
    for row in range(4):
        due = now + row * period
        number = max(k for k in range(len(at)) if at[k] <= due + period / 2)
        np.testing.assert_array_equal(chunk[row], commanded.values[number])
        assert real[row] == (due <= at[-1] + period / 2)


@given(st.data())
def test_a_chunk_of_a_jittered_stream_has_each_command_once(data: st.DataObject) -> None:
    period = 50_000_000
    jitter = data.draw(st.lists(st.integers(-12_000_000, 12_000_000), min_size=20, max_size=20))
    commanded = stream(4, 2, np.arange(20) * period + 10**8 + np.array(jitter))
    first = data.draw(st.integers(0, 19))
    chunk, real = cut_chunk(commanded, ROBOT.actions, int(commanded.stamps_ns[first]))
    wanted = [min(first + row, 19) for row in range(4)]
    np.testing.assert_array_equal(chunk, commanded.values[wanted])
    assert real.tolist() == [first + row <= 19 for row in range(4)]


def camera(at: Any) -> CameraStream:
    return CameraStream(np.asarray(at, np.int64), [b"x"] * len(at))


@given(st.data())
def test_views_have_of_each_camera_the_newest_frame_there_was(data: st.DataObject) -> None:
    def times() -> npt.NDArray[np.int64]:
        return np.cumsum(data.draw(st.lists(st.integers(1_000_000, 90_000_000), min_size=1, max_size=12)))

    cameras = {name: camera(times()) for name in ("front", "wrist") if data.draw(st.booleans())}
    views = episode_views(episode(cameras=cameras), ROBOT)
    if not cameras:
        assert views.frames.shape == (0, 2) and len(views.stamps_ns) == 0
        return
    leading = "front" if "front" in cameras else "wrist"
    slack = 0.5e9 / {"front": 30.0, "wrist": 10.0}[leading]
    for number, stamp in enumerate(cameras[leading].stamps_ns):
        exposed = []
        for column, name in enumerate(("front", "wrist")):
            frame = int(views.frames[number, column])
            if name == leading:
                expected = number
            else:
                at = cameras[name].stamps_ns.tolist() if name in cameras else []
                expected = max((k for k in range(len(at)) if at[k] <= stamp + int(slack)), default=-1)
            assert frame == expected
            exposed += [cameras[name].stamps_ns[frame]] if frame >= 0 else []
        assert (views.stamps_ns[number], views.whole_ns[number]) == (min(exposed), max(exposed))
    now, age = data.draw(st.integers(0, 10**9)), data.draw(st.integers(0, 10**8))
    there = [k for k, whole in enumerate(views.whole_ns) if whole <= now]  # no frame from the future
    old = [k for k in there if views.stamps_ns[k] <= now - age]
    assert view_at(views, now, age) == max(old or there[:1], default=-1)


def test_a_robot_without_cameras_has_no_views() -> None:
    views = episode_views(episode(cameras={}), replace(ROBOT, cameras=()))
    assert views.frames.shape == (0, 0) and view_at(views, 10**9, 0) == -1
