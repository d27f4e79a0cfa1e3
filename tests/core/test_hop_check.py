"""A hop that does not fit its robot is refused with what would."""

from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.hop_check import check_hop, check_length
from ganglion.core.messages import Hop
from ganglion.core.specs import ChannelGroup, StateSpec, default_robot

TIP = replace(default_robot().sensors[0], groups=(ChannelGroup("force", 3, "N"),))
ROBOT = replace(default_robot(), sensors=(TIP,), state=StateSpec(("x", "y"), ("mm", "mm"), 50.0))
GOOD = np.zeros((13, 3), np.float16)


@pytest.mark.parametrize("samples", [GOOD, GOOD.astype(np.float32), GOOD[:0], GOOD[:1]])
def test_any_number_of_samples_in_either_type_fits(samples):
    check_hop(Hop(0, 0, samples), ROBOT)
    check_hop(Hop(0, 0, samples, np.zeros(2, np.float32)), ROBOT)


@pytest.mark.parametrize("samples", [np.zeros((13, 4), np.float16), np.zeros(13, np.float16), np.zeros((13, 3), int)])
def test_other_samples_do_not(samples):
    with pytest.raises(InputError, match=r"sensor tip: samples are .*; send float16 or float32 \(n, 3\)"):
        check_hop(Hop(0, 0, samples), ROBOT)


@pytest.mark.parametrize("state", [np.zeros(3, np.float32), np.zeros(2), np.zeros((1, 2), np.float32)])
def test_another_state_does_not(state):
    with pytest.raises(InputError, match=r"robot needle: state is .*; send float32 \(2,\)"):
        check_hop(Hop(0, 0, GOOD, state), ROBOT)


def test_a_robot_without_sensor_or_state_sends_rows_of_nothing():
    bare = replace(ROBOT, sensors=(), state=None)
    check_hop(Hop(0, 0, np.zeros((1, 0), np.float32)), bare)
    with pytest.raises(InputError, match=r"robot needle: samples are .*; send float16 or float32 \(n, 0\)"):
        check_hop(Hop(0, 0, GOOD), bare)
    with pytest.raises(InputError, match="send none: its spec has no state"):
        check_hop(Hop(0, 0, np.zeros((1, 0), np.float32), np.zeros(2, np.float32)), bare)


def test_a_message_holds_two_windows_at_most():
    window = TIP.window_samples
    check_length(Hop(0, 0, np.zeros((2 * window, 3), np.float16)), ROBOT)
    with pytest.raises(InputError, match=rf"holds {2 * window + 1} samples; send at most {2 * window}"):
        check_length(Hop(0, 0, np.zeros((2 * window + 1, 3), np.float16)), ROBOT)


def test_a_robot_without_sensor_asks_for_a_bounded_number_of_chunks():
    bare = replace(ROBOT, sensors=())
    check_length(Hop(0, 0, np.zeros((100, 0), np.float16)), bare)
    with pytest.raises(InputError, match="holds 101 samples"):
        check_length(Hop(0, 0, np.zeros((101, 0), np.float16)), bare)
