"""The sink: no reply, however wild, moves the robot out of its limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.messages import Reply
from ganglion.core.specs import ActionSpec
from ganglion.robot_bridge.sink import LimitingSink, Limits, limit

ACTIONS = ActionSpec(
    names=("vx", "grip"), units=("mm/s", "N"), low=(-10.0, 1.0), high=(10.0, 5.0), max_rate=(100.0, 20.0), rate_hz=50.0
)
LIMITS = Limits.of(ACTIONS)
ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
MS = 1_000_000


def reply(rows, ready=True, stamp_ns=0):
    return Reply(np.asarray(rows, np.float32), last_seq=12, stamp_ns=stamp_ns, ready=ready, vl_age_ms=None)


@given(
    target=st.tuples(ANY, ANY),
    previous=st.tuples(st.floats(-10, 10), st.floats(1, 5)),
    dt_s=st.floats(0, 10),
)
def test_a_command_is_in_range_and_within_the_rate(target, previous, dt_s):
    before = np.array(previous)
    action = limit(np.array(target), before, dt_s, LIMITS)
    assert (action >= LIMITS.low).all() and (action <= LIMITS.high).all()
    assert (np.abs(action - before) <= LIMITS.max_rate * dt_s + 1e-12).all()


@given(target=st.tuples(st.floats(-10, 10), st.floats(1, 5)))
def test_a_reachable_target_is_commanded_as_it_is(target):
    assert limit(np.array(target), np.array([0.0, 3.0]), 10.0, LIMITS) == pytest.approx(np.array(target))


def test_a_target_that_is_no_number_keeps_the_previous_value():
    assert limit(np.array([np.nan, 4.0]), np.array([2.0, 3.0]), 1.0, LIMITS).tolist() == [2.0, 4.0]


class Recorder:
    def __init__(self):
        self.commands = []

    def command(self, action, stamp_ns):
        self.commands.append((stamp_ns, action.copy()))


@given(
    replies=st.lists(
        st.tuples(st.lists(st.tuples(ANY, ANY), min_size=8, max_size=8), st.booleans(), st.integers(0, 400)),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_comes_when_the_actuator_sees_no_jump_and_no_excess(replies):
    recorder, now = Recorder(), 0
    sink = LimitingSink(ACTIONS, recorder)
    for rows, ready, wait_ms in replies:
        stamp = now
        now += wait_ms * MS
        sink.apply(reply(rows, ready, stamp), now)
    times, actions = zip(*recorder.commands, strict=True)
    actions = np.array(actions)
    assert (actions >= LIMITS.low).all() and (actions <= LIMITS.high).all()
    allowed = LIMITS.max_rate * np.minimum(np.diff(times), 20 * MS)[:, None] / 1e9
    assert (np.abs(np.diff(actions, axis=0)) <= allowed + 1e-12).all()


def settled(sink, rows):
    """Apply a constant target until it is reached; returns the time then."""
    now = 0
    for _ in range(50):
        now += 20 * MS
        sink.apply(reply(rows, stamp_ns=now), now)
    return now


def test_the_row_that_is_due_now_is_commanded():
    sink = LimitingSink(ACTIONS)
    now = settled(sink, [(1.0, 3.0)] * 8)
    rows = [(1.0 + 0.1 * i, 3.0) for i in range(8)]
    applied = sink.apply(reply(rows, stamp_ns=now), now + 41 * MS)
    assert applied.held is None
    assert applied.action == pytest.approx([1.2, 3.0])


@pytest.mark.parametrize(
    ("held", "late_ms", "ready", "value"),
    [("not_ready", 1, False, 8.0), ("stale", 161, True, 8.0), ("nonfinite", 1, True, np.nan)],
)
def test_holding_stops_velocities_and_keeps_forces(held, late_ms, ready, value):
    sink = LimitingSink(ACTIONS)
    now = settled(sink, [(8.0, 4.0)] * 8)
    applied = sink.apply(reply([(value, 2.0)] * 8, ready, now), now + late_ms * MS)
    assert applied.held == held
    assert applied.action[1] == 4.0
    for _ in range(10):
        now += 200 * MS
        applied = sink.apply(reply([(8.0, 2.0)] * 8, ready=False, stamp_ns=now), now)
    assert applied.action.tolist() == [0.0, 4.0]


def test_before_the_first_reply_the_robot_is_at_rest_within_its_range():
    applied = LimitingSink(ACTIONS).apply(reply([(9.0, 5.0)] * 8, ready=False), 0)
    assert applied.action.tolist() == [0.0, 1.0]
