"""The rows of an episode: every reading is new in exactly one, in the order of time, in as few as can be."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.training.demonstrations.lerobot.rows import lay_out

Room = dict[str, int]
SECOND = 10**9


def jittered(rate_hz: float, seconds: float, jitter: float, seed: int) -> npt.NDArray[np.int64]:
    """Stamps at a rate, each off by up to `jitter` periods."""
    steps = np.arange(round(rate_hz * seconds))
    off = np.random.default_rng(seed).uniform(-jitter, jitter, len(steps))
    return np.sort((steps + 1 + off) / rate_hz * SECOND).astype(np.int64)


def fewest(streams: dict[str, npt.NDArray[np.int64]], room: Room, last: str) -> int:
    """Rows that are needed when each is filled as far as it goes, from the beginning on."""
    events = sorted((stamp, name == last, name) for name, stamps in streams.items() for stamp in stamps.tolist())
    rows, there = 0, dict.fromkeys(streams, 0)
    for _, _, name in events:
        if rows == 0 or there[name] == room[name]:
            rows, there = rows + 1, dict.fromkeys(streams, 0)
        there[name] += 1
    return rows


@st.composite
def recordings(draw: st.DrawFn) -> tuple[dict[str, npt.NDArray[np.int64]], Room]:
    streams = {
        name: np.array(sorted(draw(st.sets(st.integers(-50, 50), min_size=1, max_size=20))), np.int64)
        for name in ("camera", "sensor", "action")
    }
    return streams, {"camera": 1, "sensor": draw(st.integers(1, 4)), "action": 1}


@given(recordings())
def test_each_row_is_a_stretch_of_time_with_room_for_what_is_new_in_it(recording):
    streams, room = recording
    rows = lay_out(streams, room, "action")
    end = -np.inf
    for row in range(len(rows)):
        new = [
            (stamp, name == "action")
            for name in streams
            for stamp in streams[name][rows.ends[name][row] - rows.counts(name)[row] : rows.ends[name][row]].tolist()
        ]
        assert new and min(new)[0] >= end  # nothing in it is older than the row before, and it isn't empty
        end = max(new)[0]
    for name, stamps in streams.items():
        assert rows.counts(name).max() <= room[name] and rows.counts(name).sum() == len(stamps)


@given(recordings())
def test_there_are_no_more_rows_than_needed_before_and_after_the_last_action(recording):
    streams, room = recording
    rows = lay_out(streams, room, "action")
    last = streams["action"][-1]
    before = {name: stamps[stamps <= last] for name, stamps in streams.items()}
    after = {name: stamps[stamps > last] for name, stamps in streams.items()}
    assert len(rows) == fewest(before, room, "action") + fewest(after, room, "action")


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_a_row_ends_with_each_action_and_shows_what_was_seen_before_it(phase):
    actions = np.arange(1, 200, dtype=np.int64) * SECOND // 50
    frames = np.arange(0, 118, dtype=np.int64) * SECOND // 30 + int(phase * SECOND / 30)
    samples = np.arange(0, 2500, dtype=np.int64) * SECOND // 650
    streams = {"frames": frames, "samples": samples, "action": actions}
    rows = lay_out(streams, {"frames": 1, "samples": 18, "action": 1}, "action")
    through = rows.counts("action") == 1
    assert (rows.ends["action"][through] == np.arange(1, 200)).all()
    for stamps, name in ((frames, "frames"), (samples, "samples")):
        there = rows.ends[name][through]
        assert (there == np.searchsorted(stamps, actions, side="right")).all()
        assert (rows.shown(name)[through] == (there - 1).clip(min=0)).all()


def test_streams_of_one_rate_share_rows_however_their_stamps_jitter():
    names = ("front", "wrist", "state", "action")
    streams = {name: jittered(50, 20, 0.4, seed) for seed, name in enumerate(names)}
    rows = lay_out(streams, dict.fromkeys(names, 1), "action")
    assert len(rows) <= 1.01 * len(streams["action"])


def test_a_pause_of_one_stream_is_filled_with_rows_of_the_others():
    sensor = np.arange(0, 1000, dtype=np.int64)
    rows = lay_out({"sensor": sensor, "action": np.array([10, 990])}, {"sensor": 20, "action": 1}, "action")
    assert rows.counts("sensor").max() == 20 and len(rows) == 1 + 49 + 1
    assert rows.shown("action").tolist() == [0] * 49 + [1] * 2
