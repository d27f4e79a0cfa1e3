"""The simulated robot as a source gives what the simulation gives, sample by sample."""

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.core.messages import Reply
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.bridge import Bridge
from ganglion.robot_bridge.simulated import NeedleFrames, needle_samples, oct_samples
from ganglion.robot_bridge.source import SourceName
from ganglion.simulation.near_peak import NearPeakStream
from ganglion.simulation.oct_replay import OctReplay, oct_robot

ROBOT = default_robot()


def test_reading_in_order_after_a_jump_and_backwards_gives_the_same_stream():
    source, stream = needle_samples(ROBOT, seed=4), NearPeakStream(ROBOT, 4)
    into = np.empty(1026, np.float32)
    for seq in (*range(40), 1000, 1001, 17, 18):
        assert source.read(seq, 123 + seq, into) == 123 + seq
        np.testing.assert_array_equal(into, stream.sample(seq))


def test_frames_show_the_same_world_at_the_same_time():
    frames, stream = NeedleFrames(ROBOT, 4, "scene"), NearPeakStream(ROBOT, 4)
    np.testing.assert_array_equal(frames.frame(1.5), stream.frame(1.5))


def write_volume(path, seed):
    random = np.random.default_rng(seed)
    np.savez(path, data=random.integers(0, 256, (512, 64, 64), dtype=np.uint8), pos=random.normal(size=6))


def test_recorded_volumes_come_in_order_and_only_to_a_robot_with_that_sensor(tmp_path):
    for seed in range(2):
        write_volume(tmp_path / f"{seed}.npz", seed)
    arguments = {"folder": str(tmp_path), "names": ["1.npz", "0.npz"], "rasters_per_volume": 1}
    source, replay = oct_samples(oct_robot(), **arguments), OctReplay(tmp_path, ["1.npz", "0.npz"], 1)
    into = np.empty(514, np.float32)
    for seq in (0, 649, 650, 1300):
        source.read(seq, seq, into)
        np.testing.assert_array_equal(into, replay.sample(seq))
    with pytest.raises(InputError, match="robot needle: sensor has 1026 channels, the recordings 514"):
        oct_samples(ROBOT, **arguments)


class Keeper:
    def __init__(self):
        self.hops, self.frames = [], []

    def set_instruction(self, instruction):
        pass

    def send_frame(self, frame):
        self.frames.append(frame)

    def send_hop(self, hop):
        self.hops.append(hop)
        last = hop.first_seq + len(hop.samples) - 1
        return Reply(np.zeros((8, 7), np.float32), last, hop.stamp_ns, ready=True, vl_age_ms=None)

    def close(self):
        pass


def test_the_needle_comes_through_the_bridge_in_float16():
    client = Keeper()
    source = SourceName("ganglion.robot_bridge.simulated:needle_samples", {"seed": 4})
    cameras = {"scene": SourceName("ganglion.robot_bridge.simulated:NeedleFrames", {"seed": 4, "camera": "scene"})}
    report = Bridge(ROBOT, source, client, cameras=cameras).run(0.4)
    last = client.hops[-1]
    expected = NearPeakStream(ROBOT, 4).samples(0, last.first_seq + len(last.samples)).astype(np.float16)
    for hop in client.hops:  # by their numbers: a machine with other work may lose some
        np.testing.assert_array_equal(hop.samples, expected[hop.first_seq : hop.first_seq + len(hop.samples)])
    assert client.frames and report.samples_lost < last.first_seq
