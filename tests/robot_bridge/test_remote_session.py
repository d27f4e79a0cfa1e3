"""What a robot says to a server that may die: how a session begins, and begins again."""

from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.remote_session import RemoteSession

ROBOT = default_robot()
HOP = ROBOT.sensors[0].hop_samples
WINDOW = ROBOT.sensors[0].window_samples


def hop(index):
    first = index * HOP
    values = np.arange(first, first + HOP, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    return Hop(first, index * 20_000_000, values)


def reply(flags=()):
    return Reply(np.zeros((8, 7), np.float32), 0, 0, True, None, flags)


def test_the_first_hop_begins_the_session_and_the_next_goes_alone():
    session = RemoteSession(ROBOT)
    first, second = session.messages(hop(0)), session.messages(hop(1))
    assert [(m.start, m.request.prime, m.request.hop.first_seq) for m in first] == [(True, False, 0)]
    assert [(m.start, m.request.prime, m.request.hop.first_seq) for m in second] == [(False, False, HOP)]
    assert first[0].request.token == second[0].request.token
    assert len(first[0].request.token) == 16
    assert RemoteSession(ROBOT).messages(hop(0))[0].request.token != first[0].request.token


def test_after_a_loss_the_window_is_sent_first_and_the_reply_says_gap():
    session = RemoteSession(ROBOT)
    for index in range(80):
        session.messages(hop(index))
    session.lost()
    window, alone = session.messages(hop(80))
    assert (window.start, window.request.prime) == (True, True)
    assert (alone.start, alone.request.prime) == (False, False)
    sent = window.request.hop
    assert len(sent.samples) == WINDOW
    np.testing.assert_array_equal(sent.samples[:, 0], np.arange(80 * HOP - WINDOW, 80 * HOP))
    assert sent.first_seq == 80 * HOP - WINDOW
    assert sent.stamp_ns == 79 * 20_000_000
    assert session.answered(None) is None
    assert session.answered(reply(("stale_frame",))).flags == ("gap", "stale_frame")
    assert session.answered(reply()).flags == ()


def test_samples_are_kept_while_there_is_no_server():
    session = RemoteSession(ROBOT)
    session.messages(hop(0))
    session.lost()
    for index in range(1, 60):
        session.keep(hop(index))
    window, _ = session.messages(hop(60))
    assert window.request.hop.first_seq == 60 * HOP - WINDOW


def test_a_gap_at_the_source_leaves_nothing_to_begin_from():
    session = RemoteSession(ROBOT)
    for index in range(10):
        session.messages(hop(index))
    session.lost()
    (alone,) = session.messages(hop(12))
    assert (alone.start, alone.request.prime) == (True, False)
    session.messages(hop(13))
    session.lost()
    window, _ = session.messages(hop(14))
    assert window.request.hop.first_seq == 12 * HOP


def test_frames_and_instruction_go_once_and_the_newest_wins():
    session = RemoteSession(ROBOT)
    session.set_instruction("left")
    session.set_instruction("right")
    for stamp in (1, 2):
        session.send_frame(Frame("scene", stamp, b"jpeg"))
    (first,) = session.messages(hop(0))
    assert (first.request.instruction, [frame.stamp_ns for frame in first.request.frames]) == ("right", [2])
    (second,) = session.messages(hop(1))
    assert (second.request.instruction, second.request.frames) == (None, ())


def test_a_new_session_is_told_goal_and_pictures_again():
    session = RemoteSession(ROBOT)
    session.set_instruction("left")
    session.send_frame(Frame("scene", 1, b"jpeg"))
    session.messages(hop(0))
    session.lost()
    window, alone = session.messages(hop(1))
    assert (window.request.instruction, [frame.stamp_ns for frame in window.request.frames]) == ("left", [1])
    assert (alone.request.instruction, alone.request.frames) == (None, ())


@pytest.mark.parametrize("flag", ["late", "unreachable"])
def test_a_reply_in_the_servers_place_holds(flag):
    found = RemoteSession(ROBOT).unanswered(hop(3), flag)
    assert not found.ready
    assert found.flags == (flag,)
    assert found.chunk.shape == (ROBOT.actions.horizon, ROBOT.actions.dim)
    assert not found.chunk.any()
    assert (found.last_seq, found.stamp_ns) == (4 * HOP - 1, 60_000_000)


def test_the_end_is_said_once_and_carries_no_samples():
    session = RemoteSession(ROBOT)
    assert session.end() is None
    session.messages(hop(0))
    last = session.end()
    assert last.hop.samples.shape == (0, 3)
    assert last.hop.first_seq == HOP
    assert session.end() is None


def test_a_robot_without_sensor_keeps_its_last_tick_alone():
    session = RemoteSession(replace(ROBOT, sensors=()))
    for index in range(5):
        session.messages(hop(index))
    session.lost()
    window, _ = session.messages(hop(5))
    assert window.request.hop.first_seq == 4 * HOP
