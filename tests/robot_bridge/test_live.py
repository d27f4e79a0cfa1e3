"""One simulated world in real time: a real acquisition process steps it, a real bridge sees, feels and moves it."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.messages import Reply
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.bridge import Bridge
from ganglion.robot_bridge.camera import encode_frame
from ganglion.robot_bridge.link import WorldLink
from ganglion.robot_bridge.live import WorldActuator, WorldFrames, WorldSamples
from ganglion.robot_bridge.ring import Ring
from ganglion.robot_bridge.sink import LimitingSink
from ganglion.robot_bridge.source import EndOfSamples, SourceName
from ganglion.simulation import scenario
from ganglion.simulation.insertion.case import draw_case, insertion_robot
from ganglion.simulation.insertion.expert import Expert
from ganglion.simulation.insertion.outcome import judge
from ganglion.simulation.insertion.world import Insertion
from ganglion.simulation.scenario import Scenario, Trial

DRIVE = Path(__file__).with_name("drive_for_test.py")
ROBOT = insertion_robot()
BLIND = replace(ROBOT, cameras=())
SHM = Path("/dev/shm")
HOP_NS = 20_000_000


class Client:
    """Wants what `act(newest sample's number)` says; keeps what it gets."""

    def __init__(self, act):
        self.act, self.hops, self.frames = act, [], []

    def set_instruction(self, instruction):
        pass

    def send_frame(self, frame):
        self.frames.append(frame)

    def send_hop(self, hop):
        self.hops.append(hop)
        last = hop.first_seq + len(hop.samples) - 1
        chunk = np.tile(self.act(last), (8, 1)).astype(np.float32)
        return Reply(chunk, last, hop.stamp_ns, ready=True, vl_age_ms=None)

    def close(self):
        pass


class Recording(WorldActuator):
    """Keeps the commands by their stamps."""

    def __init__(self, link):
        super().__init__(link)
        self.commands = {}

    def command(self, action, stamp_ns):
        self.commands[stamp_ns] = action.copy()
        super().command(action, stamp_ns)


def drive(link, client, seconds, actuator=None):
    sink = LimitingSink(link.robot.actions, actuator or WorldActuator(link))
    return Bridge(link.robot, link.samples, client, sink, cameras=link.cameras).run(seconds)


def followed(link):
    """A client that knows the world by redoing what it did, up to the newest sample, and wants what an expert would."""
    world, hops = link.open_world(), 0
    expert = Expert(world)

    def act(last_seq):
        nonlocal hops
        while hops < (last_seq + 1) // 13:
            hops += 1
            world.step(link.hop(hops).action)
        return expert.act()

    return Client(act)


def replay(link, actions):
    """(n, channels) samples and (n + 1, pose dim) poses of a world of the same case that does the same."""
    world = link.open_world()
    samples, poses = [], [world.pose()]
    for action in actions:
        samples.append(world.step(action))
        poses.append(world.pose())
    world.close()
    return np.concatenate(samples), np.array(poses)


SPEED = np.array([6.0, -4.0, -14.0, 0.05, 0.0, 0.1, 9.0])  # down to the block within a second


@pytest.fixture(scope="module")
def run():
    """A while of a steady motion: what came of it."""
    with WorldLink.create("insertion", seed=1) as link:
        client, actuator = Client(lambda _: SPEED), Recording(link)
        report = drive(link, client, 1.2, actuator)
        hops = [link.hop(number) for number in range(link.hops_driven + 1)]
        samples, poses = replay(link, [hop.action for hop in hops[1:]])
        yield SimpleNamespace(
            link=link, client=client, report=report, hops=hops, commands=actuator.commands, samples=samples, poses=poses
        )
    assert not (SHM / link.name).exists()


def start_ns(client):
    """When sample 0 was due."""
    hop = client.hops[0]
    return hop.stamp_ns - round((hop.first_seq + len(hop.samples) - 1) * 1e9 / 650)


def test_no_sample_is_lost_and_each_is_the_worlds_that_was_so_commanded(run):
    received = np.concatenate([hop.samples for hop in run.client.hops])
    assert run.report.samples_lost == run.report.samples_torn == 0
    assert run.report.samples_received == len(received) > 650
    np.testing.assert_array_equal(received, run.samples[: len(received)].astype(np.float16))
    unmoved, _ = replay(run.link, np.zeros((len(run.hops) - 1, 7)))
    assert (received[-13:] != unmoved[len(received) - 13 : len(received)].astype(np.float16)).mean() > 0.1


def test_the_robot_moves_as_it_was_commanded(run):
    poses = np.array([hop.pose for hop in run.hops])
    np.testing.assert_array_equal(poses, run.poses)
    begun = next(number for number, hop in enumerate(run.hops) if (hop.action == SPEED.astype(np.float32)).all()) + 5
    moved = (poses[begun + 20] - poses[begun]) * [1e3, 1e3, 1e3, 1, 1, 1, 1e3]  # all of it above the block
    np.testing.assert_allclose(moved, SPEED * 20 * 0.02, rtol=0.01, atol=1e-3)


def test_a_hop_does_a_command_that_was_given_before_it_began_and_samples_know_of_no_later_one(run):
    begin = start_ns(run.client)
    stamps = [hop.command_ns for hop in run.hops]
    assert stamps == sorted(stamps)
    driven = [(number, hop) for number, hop in enumerate(run.hops) if hop.command_ns]
    assert len(driven) > 40
    for number, hop in driven:
        assert hop.command_ns <= begin + round((number - 1) * HOP_NS)
        np.testing.assert_array_equal(hop.action, run.commands[hop.command_ns])
    assert all(not hop.action.any() for hop in run.hops if not hop.command_ns)


def test_frames_show_the_moved_robot_at_the_time_of_their_exposure(run):
    world, begin = run.link.open_world(), start_ns(run.client)
    for camera in ROBOT.cameras:
        frames = [frame for frame in run.client.frames if frame.camera == camera.name]
        assert len(frames) > 2
        for frame in frames:
            # After n hops the last sample was n * 13 - 1: the pose belongs to the time of that one.
            world.show(run.poses[int(((frame.stamp_ns - begin) / 1e9 * 650 + 1) / 13 + 1e-3)])
            assert encode_frame(world.frame(camera.name), camera) == frame.jpeg
        first, last = (np.asarray(Image.open(io.BytesIO(frames[i].jpeg)), np.float32) for i in (0, -1))
        assert np.abs(first - last).mean() > 1
    world.close()


def test_the_outcome_can_be_judged_after_the_run(run):
    world = run.link.replayed()
    assert world.time_s == pytest.approx(0.02 * (len(run.hops) - 1))
    np.testing.assert_array_equal(world.pose(), run.hops[-1].pose)
    assert not judge(world).success


@pytest.mark.slow
def test_an_expert_in_real_time_succeeds():
    with WorldLink.create("insertion", seed=1, robot=BLIND) as link:
        report = drive(link, followed(link), 6.5)
        assert report.samples_lost == 0
        assert judge(link.replayed()).success


def opened(link):
    """The source as acquisition has it, and a time after it was opened."""
    return WorldSamples(link.robot, link.name), time.monotonic_ns()


def read_hop(source, number, due_ns):
    """The hop's samples, read on time or late: the source goes by when they were due."""
    samples = np.empty((13, 1026), np.float32)
    for row, into in enumerate(samples):
        due = due_ns + round(row * 1e9 / 650)
        assert source.read(13 * number + row, due, into) == due
    return samples


def test_a_command_acts_from_the_first_hop_that_begins_at_or_after_it_and_until_the_next_one():
    with WorldLink.create("insertion", seed=1, robot=BLIND) as link:
        source, now = opened(link)
        actuator, world = WorldActuator(link), link.open_world()
        first, second, third = (np.full(7, value) for value in (0.1, 0.2, 0.3))
        actuator.command(first, now)
        actuator.command(second, now + HOP_NS + 1)  # a moment too late for hop 1
        actuator.command(third, now + 4 * HOP_NS)
        for number, expected in enumerate((first, first, second, second, third)):
            samples = read_hop(
                source, number, now + number * HOP_NS
            )  # as after a stall: all commands are there already
            np.testing.assert_array_equal(samples, world.step(expected))
            assert link.hop(number + 1).action.tolist() == expected.tolist()
        assert [link.hop(n).command_ns - now for n in range(1, 6)] == [0, 0, HOP_NS + 1, HOP_NS + 1, 4 * HOP_NS]
        source.close()


def test_a_new_run_begins_anew_and_heeds_no_command_of_the_one_before():
    with WorldLink.create("insertion", seed=1, robot=BLIND) as link:
        actuator = WorldActuator(link)
        found = []
        for _ in range(2):
            source, now = opened(link)
            assert link.hops_driven == 0
            found.append(read_hop(source, 0, now))
            actuator.command(np.ones(7), now + 1)
            read_hop(source, 1, now + HOP_NS)
            assert link.hop(2).action.all() and not link.hop(1).action.any()
            source.close()
        np.testing.assert_array_equal(*found)


def test_more_commands_than_are_kept_leave_the_newest_in_force():
    with WorldLink.create("insertion", seed=1, robot=BLIND) as link:
        source, now = opened(link)
        for number in range(1000):
            link.command(np.full(7, number / 1000), now + number)
        read_hop(source, 0, now + 1000)
        assert link.hop(1).action.tolist() == [0.999] * 7
        source.close()


def test_a_history_that_is_too_short_keeps_the_newest_and_says_so():
    with WorldLink.create("insertion", seed=1, robot=BLIND, history_s=0.1) as link:
        source, now = opened(link)
        for number in range(8):
            read_hop(source, number, now + number * HOP_NS)
        assert link.hop(3) is None and link.hop(4) is not None and link.hop(8) is not None and link.hop(9) is None
        assert link.pose(0.0).tolist() == link.hop(5).pose.tolist()  # the oldest that is not about to be overwritten
        assert link.pose(9.0).tolist() == link.hop(8).pose.tolist()
        with pytest.raises(GanglionError, match="its beginning is forgotten; give it a longer history_s"):
            link.replayed()
        source.close()


def test_a_robot_with_other_cameras_and_no_state_drives_it_too():
    with WorldLink.create("insertion", seed=2, robot=default_robot()) as link:
        client = Client(lambda _: np.zeros(7))
        report = drive(link, client, 0.3)
        assert report.samples_lost == 0 and {frame.camera for frame in client.frames} == {"scene"}


def one_line(error):
    assert "\n" not in str(error.value)


def left():
    return {path.name for path in SHM.glob("*ganglion-*")}


@pytest.mark.parametrize("name", ["ganglion-world-none", "ganglion-ring-none", "nothing"])
def test_a_link_that_there_is_not_is_an_input_error_on_either_side(name):
    before = left()
    samples = SourceName("ganglion.robot_bridge.live:WorldSamples", {"link": name})
    with pytest.raises(InputError, match=f"acquisition: world link {name}: there is no such link") as caught:
        Bridge(BLIND, samples, Client(None)).run(1)
    one_line(caught)
    with pytest.raises(InputError, match=f"^world link {name}: there is no such link") as caught:
        WorldFrames(ROBOT, name, "scene")
    one_line(caught)
    assert left() == before


def test_something_else_in_shared_memory_is_no_link():
    ring = Ring.create(4, 2)
    other = SHM / ring.name.replace("ring", "world")
    (SHM / ring.name).rename(other)
    with pytest.raises(GanglionError, match="is no world's link"):
        WorldLink.attach(other.name, ROBOT)
    other.unlink()
    ring.close()


def test_a_robot_that_does_not_fit_the_links_world_is_refused_on_either_side():
    odd = replace(ROBOT, sensors=(replace(ROBOT.sensors[0], rate_hz=600.0),))
    with WorldLink.create("insertion", seed=1) as link:
        with pytest.raises(InputError, match="robot insertion has another sensor") as caught:
            Bridge(odd, link.samples, Client(None)).run(1)
        one_line(caught)
        with pytest.raises(InputError, match="robot insertion has another sensor"):
            WorldFrames(odd, link.name, "scene")


def test_two_bridges_can_not_drive_one_world():
    with WorldLink.create("insertion", seed=1, robot=BLIND) as link:
        source, _ = opened(link)
        with pytest.raises(GanglionError, match=f"world link {link.name}: is driven by another bridge") as caught:
            drive(link, Client(None), 1)
        one_line(caught)
        source.close()
        assert drive(link, Client(lambda _: np.zeros(7)), 0.1).samples_lost == 0


def test_a_camera_without_anything_that_steps_the_world_says_so():
    with WorldLink.create("insertion", seed=1) as link:
        frames = WorldFrames(ROBOT, link.name, "scene")
        with pytest.raises(GanglionError, match="nothing drives it; give the bridge"):
            frames.frame(0.0)
        frames.close()


class Short(Insertion):
    """An episode of two hops."""

    @property
    def done(self):
        return self.samples_taken >= 26


def test_an_episode_that_is_over_ends_the_source_with_its_length(monkeypatch):
    module = type(sys)("short_for_test")
    begin = lambda seed, robot: Trial(  # noqa: E731
        Short(draw_case(seed), BLIND), 1.0, "", lambda: np.zeros(7), lambda: np.zeros(7), dict
    )
    module.SHORT = Scenario("short", BLIND, 256, begin)
    monkeypatch.setitem(sys.modules, "short_for_test", module)
    monkeypatch.setitem(scenario._SCENARIOS, "short", "short_for_test:SHORT")
    with WorldLink.create("short", seed=3) as link:
        source, now = opened(link)
        for number in range(2):
            read_hop(source, number, now)
        with pytest.raises(EndOfSamples, match=r"world short, seed 3: the episode is over after 0.04 s"):
            read_hop(source, 2, now)
        source.close()


def start(**environment):
    return subprocess.Popen(
        [sys.executable, str(DRIVE), "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.fixture
def driving():
    """A bridge process in closed loop, its link's name and its child's pid."""
    process = start()
    name = process.stdout.readline().strip()
    assert (SHM / name).exists(), process.stderr.read()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    yield SimpleNamespace(process=process, link=SHM / name, child=int(children[0]))
    process.kill()
    process.communicate()


def gone(path):
    give_up = time.monotonic() + 30
    while path.exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    return not path.exists()


def test_a_killed_acquisition_ends_the_bridge_with_one_line_and_leaves_nothing(driving):
    os.kill(driving.child, signal.SIGKILL)
    _, errors = driving.process.communicate(timeout=30)
    assert (driving.process.returncode, errors) == (1, "acquisition: was ended by SIGKILL; start the bridge again\n")
    assert not driving.link.exists()


def test_a_killed_bridge_leaves_no_link(driving):
    driving.process.kill()
    driving.process.wait()
    assert gone(driving.link)


def test_a_link_that_everybody_left_is_removed_by_the_next_one(driving):
    os.kill(driving.child, signal.SIGSTOP)
    driving.process.kill()
    os.kill(driving.child, signal.SIGKILL)
    driving.process.wait()
    assert driving.link.exists()
    give_up = time.monotonic() + 30
    while driving.link.exists() and time.monotonic() < give_up:
        WorldLink.create("insertion", seed=1, robot=BLIND).__exit__(None, None, None)
    assert not driving.link.exists()


def test_a_world_that_can_not_be_rendered_is_refused_with_one_line_and_leaves_nothing():
    before = left()
    process = start(MUJOCO_GL="disable")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and errors.count("\n") == 1, errors
    assert errors.startswith("nothing can be rendered") and "MUJOCO_GL" in errors
    assert left() <= before
