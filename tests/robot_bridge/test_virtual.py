"""The virtual clock: real controllers in closed loop, every stamp and bit where it belongs."""

import queue
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.limits import Limits
from ganglion.core.messages import Reply
from ganglion.robot_bridge.camera import encode_frame
from ganglion.robot_bridge.virtual import VirtualBridge
from ganglion.robot_bridge.worlds import open_world
from ganglion.simulation import scenario
from ganglion.simulation.insertion.case import draw_case, insertion_robot
from ganglion.simulation.insertion.expert import Expert
from ganglion.simulation.insertion.outcome import SECONDS, judge
from ganglion.simulation.insertion.world import Insertion
from ganglion.simulation.scenario import Scenario, Trial

ROBOT = insertion_robot()
BLIND = replace(ROBOT, cameras=())
HOP_NS, FIRST_NS = 20_000_000, round(12e9 / 650)  # a hop, and the stamp of the first one's newest sample


class Client:
    """Answers each hop with what `act(hop number)` wants, from then on; keeps what it gets, in order."""

    def __init__(self, act, ready_from=0):
        self.act, self.ready_from, self.got = act, ready_from, []

    @property
    def hops(self):
        return [item for item in self.got if hasattr(item, "samples")]

    @property
    def frames(self):
        return [item for item in self.got if hasattr(item, "jpeg")]

    def set_instruction(self, instruction):
        pass

    def send_frame(self, frame):
        self.got.append(frame)

    def send_hop(self, hop):
        self.got.append(hop)
        number = hop.first_seq // 13
        ready = number >= self.ready_from
        chunk = np.tile(self.act(number), (8, 1)).astype(np.float32)
        return Reply(chunk, hop.first_seq + 12, hop.stamp_ns, ready, None, () if ready else ("warming",))

    def close(self):
        pass


def driven(seed, seconds, robot=None, **options):
    """An expert's run: its world, client and log."""
    world = open_world("insertion", seed, robot)
    expert = Expert(world)
    client = Client(lambda _: expert.act())
    log = VirtualBridge(world, client, **options).run(seconds)
    world.close()
    return world, client, log


@pytest.mark.parametrize(("seed", "latency_s"), [(1, 0.0), (8, 0.03)])
def test_an_expert_in_the_loop_succeeds_even_with_latency(seed, latency_s):
    world, _, log = driven(seed, SECONDS, BLIND, reply_latency_s=latency_s)
    assert judge(world).success
    assert world.time_s == SECONDS and len(log.stamps_ns) == 300
    assert log.holds == {} and log.ready.all()
    np.testing.assert_array_equal(log.states[-1], world.state())


def test_a_needle_that_nobody_moves_does_not_succeed():
    world = open_world("insertion", 1, BLIND)
    VirtualBridge(world, Client(lambda _: np.zeros(7))).run(SECONDS)
    assert not judge(world).success


def everything(client, log):
    """All bytes that went either way."""
    sent = [(i.stamp_ns, i.samples.tobytes()) if hasattr(i, "samples") else (i.stamp_ns, i.jpeg) for i in client.got]
    return sent, [log.stamps_ns.tobytes(), log.actions.tobytes(), log.states.tobytes(), log.held, log.flags]


def test_equal_seeds_repeat_to_the_bit_and_others_do_not():
    runs = [everything(*driven(seed, 0.6, frame_latency_s=0.03)[1:]) for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_run_in_two_parts_is_the_same_as_in_one():
    whole = everything(*driven(3, 0.6)[1:])
    world = open_world("insertion", 3)
    expert = Expert(world)
    client = Client(lambda _: expert.act())
    bridge = VirtualBridge(world, client)
    logs = [bridge.run(0.26), bridge.run(0.34)]
    world.close()
    assert everything(client, logs[0])[0] == whole[0]
    assert b"".join(log.actions.tobytes() for log in logs) == whole[1][1]


def test_hops_come_with_the_clocks_stamps_and_are_the_worlds_samples():
    _, client, log = driven(5, 0.4, BLIND)
    assert [hop.first_seq for hop in client.hops] == list(range(0, 260, 13))
    assert [hop.stamp_ns for hop in client.hops] == [FIRST_NS + k * HOP_NS for k in range(20)]
    assert log.stamps_ns.tolist() == [hop.stamp_ns for hop in client.hops]
    world = open_world("insertion", 5, BLIND)
    for hop, action in zip(client.hops, log.actions, strict=True):
        np.testing.assert_array_equal(hop.samples, world.step(action).astype(np.float16))


def test_frames_come_at_each_cameras_rate_after_their_latency_and_show_the_pose_of_their_exposure():
    robot = replace(ROBOT, cameras=(ROBOT.cameras[0], replace(ROBOT.cameras[1], height=56, rate_hz=25.0)))
    latency_ns = 30_000_000
    _, client, log = driven(5, 0.5, robot, frame_latency_s=latency_ns / 1e9)
    for camera in robot.cameras:
        stamps = [frame.stamp_ns for frame in client.frames if frame.camera == camera.name]
        last_ns = client.hops[-1].stamp_ns - latency_ns
        assert stamps == [round(i * 1e9 / camera.rate_hz) for i in range(int(last_ns * camera.rate_hz / 1e9) + 1)]
    for index, item in enumerate(client.got):
        if hasattr(item, "jpeg"):  # it came before the first hop that ended after it had arrived
            later = next(other for other in client.got[index:] if hasattr(other, "samples"))
            assert 0 <= later.stamp_ns - (item.stamp_ns + latency_ns) < HOP_NS
    world = open_world("insertion", 5, robot)
    poses = [world.pose()]
    for action in log.actions:
        world.step(action)
        poses.append(world.pose())
    for frame in client.frames:
        # After n hops the last sample was n * 13 - 1: the pose belongs to the time of that one.
        hops = int((frame.stamp_ns / 1e9 * 650 + 1) / 13 + 1e-6)
        world.show(poses[hops])
        camera = next(camera for camera in robot.cameras if camera.name == frame.camera)
        assert encode_frame(world.frame(frame.camera), camera) == frame.jpeg
    world.close()


@pytest.mark.parametrize(("latency_s", "hops_later"), [(0.0, 1), (0.0015, 1), (0.0016, 2), (0.015, 2), (0.030, 3)])
def test_a_command_acts_from_the_first_hop_that_begins_after_it(latency_s, hops_later):
    world = open_world("insertion", 1, BLIND)
    client = Client(lambda number: np.full(7, number / 1024))  # exact in float32, and slow enough for every limit
    log = VirtualBridge(world, client, reply_latency_s=latency_s).run(0.5)
    assert log.actions[:, 0].tolist() == [0.0] * hops_later + [k / 1024 for k in range(25 - hops_later)]


def test_the_robot_holds_until_the_replies_are_ready_and_the_log_says_why():
    world = open_world("insertion", 1, BLIND)
    log = VirtualBridge(world, Client(lambda _: np.full(7, 0.5), ready_from=10)).run(0.4)
    assert log.held == ("not_ready",) * 10 + (None,) * 10
    assert log.flags == (("warming",),) * 10 + ((),) * 10
    assert log.ready.tolist() == [False] * 10 + [True] * 10
    assert log.holds == {"not_ready": 10}
    assert not log.actions[:11].any() and log.actions[11:].all()
    np.testing.assert_allclose(log.states[:11], np.tile(draw_case(1).start, (11, 1)), atol=1e-3)


def test_commands_never_jump_however_wild_the_client_is():
    random = np.random.default_rng(0)
    wild = np.array([1e6, -1e6, np.inf, np.nan, 3.0, -0.2])
    world = open_world("insertion", 1, BLIND)
    log = VirtualBridge(world, Client(lambda _: random.choice(wild, 7))).run(2.0)
    limits = Limits.of(ROBOT.actions)
    assert (log.actions >= limits.low).all() and (log.actions <= limits.high).all()
    jumps = np.abs(np.diff(log.actions, axis=0, prepend=np.zeros((1, 7))))
    assert (jumps <= limits.max_rate * 0.02 + 1e-9).all()
    assert (jumps.max(0) > limits.max_rate * 0.0199).all() and "nonfinite" in log.holds


def test_a_client_that_buffers_gives_no_command():
    class Buffers(Client):
        def send_hop(self, hop):
            reply = super().send_hop(hop)
            return reply if hop.first_seq // 13 % 2 else None

    world = open_world("insertion", 1, BLIND)
    log = VirtualBridge(world, Buffers(lambda number: np.full(7, number / 1024))).run(0.2)
    assert (log.actions[:, 0] * 1024).tolist() == [0, 0, 1, 1, 3, 3, 5, 5, 7, 7]
    assert log.ready.tolist() == [False, True] * 5 and log.holds == {}


class Threaded(Client):
    """Takes frames in in a thread of its own, and wants what the newest one that it has taken in says."""

    def __init__(self):
        super().__init__(lambda _: np.full(7, self.seen_ns / 1e12))
        self.seen_ns, self.waiting = 0, queue.Queue()
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while frame := self.waiting.get():
            self.seen_ns = frame.stamp_ns
            self.waiting.task_done()

    def send_frame(self, frame):
        super().send_frame(frame)
        self.waiting.put(frame)

    def close(self):
        self.waiting.put(None)


def test_a_client_with_a_thread_for_its_frames_is_waited_for_where_it_says_how():
    world, client = open_world("insertion", 1), Threaded()
    log = VirtualBridge(world, client, settle=client.waiting.join).run(0.6)
    newest = [max(f.stamp_ns for f in client.frames if f.stamp_ns <= hop.stamp_ns) for hop in client.hops]
    np.testing.assert_allclose(log.actions[1:, 0], np.array(newest[:-1]) / 1e12, rtol=1e-6)
    client.close()
    world.close()


class Short(Insertion):
    """An episode of five hops."""

    @property
    def done(self):
        return self.samples_taken >= 65


@pytest.fixture
def short(monkeypatch):
    module = type(sys)("short_for_test")
    begin = lambda seed, robot: Trial(  # noqa: E731
        Short(draw_case(seed), BLIND), 1.0, "", lambda: np.zeros(7), lambda: np.zeros(7), dict
    )
    module.SHORT = Scenario("short", BLIND, 256, begin)
    monkeypatch.setitem(sys.modules, "short_for_test", module)
    monkeypatch.setitem(scenario._SCENARIOS, "short", "short_for_test:SHORT")


def test_the_loop_ends_with_the_episode(short):
    world = open_world("short", 1)
    bridge = VirtualBridge(world, Client(lambda _: np.zeros(7)))
    assert len(bridge.run(1.0).stamps_ns) == 5
    after = bridge.run(1.0)
    assert len(after.held) == 0 and after.actions.shape == (0, 7)


def test_a_negative_latency_is_refused():
    with pytest.raises(InputError, match="latency: is negative"):
        VirtualBridge(open_world("insertion", 1, BLIND), Client(None), frame_latency_s=-0.1)
