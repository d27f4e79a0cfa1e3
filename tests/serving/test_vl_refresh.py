"""Whose frames are encoded when: several workers, one session never twice at once, the newest wins, order is kept."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.messages import Frame
from ganglion.serving.policy.vl_encoder import VlFeatures
from ganglion.serving.policy.vl_refresh import VlRefresh, VlRequest

PATIENCE_S = 60
NOTHING = np.zeros((1, 1, 1), np.float32)


class Gate:
    """An encoder that notes what it begins, and holds back the frames of some cameras until they are let through."""

    def __init__(self, *held):
        self.begun, self.busy, self.most, self.overlap = [], set(), 0, False
        self.doors = {camera: threading.Semaphore(0) for camera in held}
        self.changed = threading.Condition()

    def __call__(self, frames, instruction):
        (frame,) = frames
        with self.changed:
            self.overlap |= frame.camera in self.busy
            self.busy.add(frame.camera)
            self.most = max(self.most, len(self.busy))
            self.begun.append((frame.camera, frame.stamp_ns))
            self.changed.notify_all()
        if frame.camera in self.doors:
            assert self.doors[frame.camera].acquire(timeout=PATIENCE_S)
        with self.changed:
            self.busy.discard(frame.camera)
        if instruction == "break":
            raise RuntimeError("broken")
        return VlFeatures(NOTHING, NOTHING[0], frame.stamp_ns, 0.0)

    def wait_until(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S)


class Robot:
    """One session's side: numbered frames of one camera, and what came of them."""

    def __init__(self, refresh, key):
        self.refresh, self.key, self.got = refresh, key, []

    def send(self, number, instruction=""):
        frames = (Frame(str(self.key), number, b""),)
        self.refresh.submit(self.key, VlRequest(frames, instruction, self.deliver))

    def deliver(self, found):
        self.got.append(found if isinstance(found, InputError) else found.exposed_ns)


@pytest.fixture
def serve():
    opened = []

    def open_refresh(gate, workers):
        opened.append((gate, VlRefresh(gate, workers)))
        return opened[-1][1]

    yield open_refresh
    for gate, refresh in opened:
        for door in gate.doors.values():
            door.release(1000)
        refresh.close()


def test_a_slow_session_holds_up_no_other_while_there_is_a_second_worker(serve):
    gate = Gate("0")
    refresh = serve(gate, 2)
    slow, quick = Robot(refresh, 0), Robot(refresh, 1)
    slow.send(1)
    gate.wait_until(lambda: gate.begun)
    for number in range(5):
        quick.send(number)
        refresh.settle(1)
    assert quick.got == [0, 1, 2, 3, 4] and slow.got == []


def test_as_many_sessions_are_encoded_at_once_as_there_are_workers(serve):
    gate = Gate("0", "1", "2", "3")
    refresh = serve(gate, 3)
    for key in range(4):
        Robot(refresh, key).send(1)
    gate.wait_until(lambda: len(gate.begun) == 3)
    gate.doors["1"].release()
    gate.wait_until(lambda: len(gate.begun) == 4)
    assert gate.most == 3 and gate.begun[3] == ("3", 1)


def test_a_session_being_encoded_waits_for_itself_even_if_workers_are_free_and_then_only_its_newest_is_encoded(serve):
    gate = Gate("0")
    refresh = serve(gate, 3)
    robot, other = Robot(refresh, 0), Robot(refresh, 1)
    robot.send(1)
    gate.wait_until(lambda: gate.begun)
    for number in (2, 3, 4):
        robot.send(number)
    other.send(1)
    refresh.settle(1)  # the free workers have passed over the session that is busy
    assert gate.begun == [("0", 1), ("1", 1)]
    gate.doors["0"].release(2)
    refresh.settle(0)
    assert robot.got == [1, 4] and not gate.overlap


def test_under_load_each_session_gets_its_frames_in_order_and_its_last(serve):
    gate = Gate()
    refresh = serve(gate, 4)
    robots = [Robot(refresh, key) for key in range(3)]
    for number in range(300):
        for robot in robots:
            robot.send(number)
    for robot in robots:
        refresh.settle(robot.key)
        assert robot.got == sorted(set(robot.got)) and robot.got[-1] == 299
    assert not gate.overlap


def test_who_waited_longest_is_next_though_others_send_more(serve):
    gate = Gate("0")
    refresh = serve(gate, 1)
    robots = [Robot(refresh, key) for key in range(3)]
    robots[0].send(1)
    gate.wait_until(lambda: gate.begun)
    for key, number in ((1, 1), (2, 1), (0, 2), (1, 2), (1, 3)):
        robots[key].send(number)
    gate.doors["0"].release(2)
    for robot in robots:
        refresh.settle(robot.key)
    assert gate.begun == [("0", 1), ("1", 3), ("2", 1), ("0", 2)]


def test_what_breaks_is_told_and_the_workers_go_on(serve):
    refresh = serve(Gate(), 2)
    robot = Robot(refresh, 0)
    for number, instruction in enumerate(("break", "break", "break", "")):
        robot.send(number, instruction)
        refresh.settle(0)
    assert [str(found) for found in robot.got[:3]] == ["camera frame: can't be encoded (broken)"] * 3
    assert robot.got[3] == 3


def test_a_session_that_is_forgotten_gets_nothing_that_still_waited(serve):
    gate = Gate("0")
    refresh = serve(gate, 1)
    first, second = Robot(refresh, 0), Robot(refresh, 1)
    first.send(1)
    gate.wait_until(lambda: gate.begun)
    second.send(1)
    refresh.forget(1)
    gate.doors["0"].release()
    refresh.settle(0)
    refresh.settle(1)
    assert (first.got, second.got) == ([1], [])


def test_closing_ends_every_thread():
    before = threading.active_count()
    refresh = VlRefresh(Gate(), 3)
    assert threading.active_count() == before + 3
    refresh.close()
    refresh.close()
    assert threading.active_count() == before


def test_a_process_that_ends_without_closing_it_ends_in_order():
    code = """if True:
        import time
        from ganglion.serving.policy.vl_refresh import VlRefresh, VlRequest
        def encode(frames, instruction):
            time.sleep(0.5)
            print("encoded")
        refresh = VlRefresh(encode)
        refresh.submit(1, VlRequest((), "go", lambda found: print("delivered")))
        time.sleep(0.2)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["encoded", "delivered"]), done.stderr
