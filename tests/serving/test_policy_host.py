"""Who is served, who is refused, and what one robot's mistakes cost the others: nothing."""

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import NoSession, PolicyRequest, ServerFull
from ganglion.serving.policy.host import PolicyHost


class Recorded:
    """A session that answers with the hop's number and remembers what it was told."""

    def __init__(self):
        self.told, self.closed = [], False

    def set_instruction(self, instruction):
        self.told.append(instruction)

    def send_frame(self, frame):
        if frame.jpeg == b"broken":
            raise InputError("frame is no image")
        self.told.append(frame.camera)

    def prime(self, hop):
        self.told.append(("prime", hop.first_seq))

    def send_hop(self, hop):
        if hop.samples.shape[1] != 4:
            raise InputError("samples have another shape")
        self.told.append(hop.first_seq)
        return Reply(np.zeros((8, 7), np.float32), hop.first_seq, 0, True, None)

    def close(self):
        self.closed = True


class Served:
    def __init__(self, **options):
        self.now, self.opened = 0.0, []
        self.host = PolicyHost(self.open, **{"slots": 2, "idle_s": 5.0, "clock": lambda: self.now, **options})

    def open(self):
        self.opened.append(Recorded())
        return self.opened[-1]


def hop(number=0, width=4):
    return Hop(number, 0, np.zeros((13, width), np.float16))


def test_a_session_begins_goes_on_and_ends():
    served = Served()
    assert served.host.handle(7, PolicyRequest(hop(0)), start=True).last_seq == 0
    assert served.host.handle(7, PolicyRequest(hop(13))).last_seq == 13
    assert served.host.handle(7, PolicyRequest(hop(26)), end=True).last_seq == 26
    assert served.opened[0].closed
    with pytest.raises(NoSession, match="begin again, with a window"):
        served.host.handle(7, PolicyRequest(hop(39)))


def test_frames_and_words_come_before_the_hop_they_travel_with():
    served = Served()
    request = PolicyRequest(hop(0), frames=(Frame("left", 0, b"x"), Frame("right", 0, b"y")), instruction="go")
    served.host.handle(7, request, start=True)
    assert served.opened[0].told == ["go", "left", "right", 0]


def test_a_window_primes_and_has_no_reply():
    served = Served()
    assert served.host.handle(7, PolicyRequest(hop(0), prime=True), start=True) is None
    assert served.opened[0].told == [("prime", 0)]


def test_a_frame_that_can_not_be_used_costs_no_hop():
    served = Served()
    request = PolicyRequest(hop(0), frames=(Frame("left", 0, b"broken"), Frame("right", 0, b"y")))
    reply = served.host.handle(7, request, start=True)
    assert reply.flags == ("bad_frame",)
    assert served.opened[0].told == ["right", 0]


def test_one_robot_too_many_is_refused_and_the_others_are_served_on():
    served = Served()
    for robot in (1, 2):
        served.host.handle(robot, PolicyRequest(hop(0)), start=True)
    with pytest.raises(ServerFull, match="serves 2 robots already"):
        served.host.handle(3, PolicyRequest(hop(0)), start=True)
    assert served.host.handle(1, PolicyRequest(hop(13))).last_seq == 13
    served.host.handle(1, PolicyRequest(hop(26)), end=True)
    assert served.host.handle(3, PolicyRequest(hop(0)), start=True).last_seq == 0


def test_a_silent_robot_loses_its_place_to_one_that_waits():
    served = Served()
    served.host.handle(1, PolicyRequest(hop(0)), start=True)
    served.now = 3.0
    served.host.handle(2, PolicyRequest(hop(0)), start=True)
    served.now = 6.0
    served.host.handle(3, PolicyRequest(hop(0)), start=True)
    assert [one.closed for one in served.opened] == [True, False, False]
    with pytest.raises(NoSession):
        served.host.handle(1, PolicyRequest(hop(13)))


def test_silence_ends_a_session_even_when_nobody_waits():
    served = Served()
    served.host.handle(1, PolicyRequest(hop(0)), start=True)
    served.now = 4.0
    served.host.handle(2, PolicyRequest(hop(0)), start=True)
    served.now = 8.0
    served.host.handle(2, PolicyRequest(hop(13)))
    assert served.host.sessions == 1
    assert served.opened[0].closed


def test_another_client_can_neither_speak_in_a_session_nor_take_it_over():
    served = Served()
    served.host.handle(1, PolicyRequest(hop(0), token=b"mine"), start=True)
    for start in (False, True):
        with pytest.raises(NoSession, match="another client's"):
            served.host.handle(1, PolicyRequest(hop(13), token=b"yours"), start=start)
    assert not served.opened[0].closed
    assert served.host.handle(1, PolicyRequest(hop(13), token=b"mine")).last_seq == 13


def test_its_own_robot_may_begin_anew():
    served = Served(slots=1)
    for _ in range(2):
        served.host.handle(1, PolicyRequest(hop(0), token=b"mine"), start=True)
    assert [one.closed for one in served.opened] == [True, False]


def test_a_message_that_does_not_fit_leaves_the_session_as_it_was():
    served = Served()
    served.host.handle(1, PolicyRequest(hop(0)), start=True)
    with pytest.raises(InputError):
        served.host.handle(1, PolicyRequest(hop(13, width=5)))
    assert served.host.handle(1, PolicyRequest(hop(13))).last_seq == 13
    assert served.opened[0].told == [0, 13]


def test_closing_ends_every_session():
    served = Served()
    for robot in (1, 2):
        served.host.handle(robot, PolicyRequest(hop(0)), start=True)
    served.host.close()
    assert all(one.closed for one in served.opened)
    assert served.host.sessions == 0
