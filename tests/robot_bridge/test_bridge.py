"""A bridge with a real acquisition process and a client that looks at every sample."""

import io
import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.messages import Reply
from ganglion.core.specs import CameraSpec, ChannelGroup, SensorSpec, default_robot
from ganglion.robot_bridge.bridge import Bridge
from ganglion.robot_bridge.counting import CountingSource
from ganglion.robot_bridge.source import SourceName

ROBOT = default_robot()
COUNTING = "ganglion.robot_bridge.counting:CountingSource"


class Client:
    """Keeps the hops and frames it gets; answers like a policy that is ready after `ready_after` hops."""

    def __init__(self, ready_after=0, busy_s=0.0):
        self.hops, self.frames = [], []
        self.ready_after, self.busy_s = ready_after, busy_s

    def set_instruction(self, instruction):
        pass

    def send_frame(self, frame):
        self.frames.append(frame)

    def send_hop(self, hop):
        self.hops.append(hop)
        time.sleep(self.busy_s)
        last = hop.first_seq + len(hop.samples) - 1
        ready = len(self.hops) > self.ready_after
        flags = () if ready else ("warming",)
        return Reply(np.ones((8, 7), np.float32), last, hop.stamp_ns, ready, None, flags, {"head": 0.5})

    def close(self):
        pass


def run(client, seconds=0.4, robot=ROBOT, **arguments):
    options = {key: arguments.pop(key) for key in ("ring_seconds", "dtype", "cameras", "startup_s") if key in arguments}
    return Bridge(robot, SourceName(COUNTING, arguments), client, **options).run(seconds)


def received(client):
    seqs = np.concatenate([hop.first_seq + np.arange(len(hop.samples)) for hop in client.hops])
    return seqs, np.concatenate([hop.samples for hop in client.hops])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_sample_reaches_the_client_once_in_order_and_unchanged(dtype):
    client = Client()
    report = run(client, dtype=dtype)
    seqs, samples = received(client)
    source = CountingSource(ROBOT)
    assert (seqs == np.arange(len(seqs))).all()
    assert all(hop.samples.dtype == dtype and len(hop.samples) % 13 == 0 for hop in client.hops)
    assert (samples == np.array([source.expected(seq) for seq in seqs])).all()
    assert report.samples_expected == report.samples_received == len(seqs)
    assert (report.samples_lost, report.samples_torn) == (0, 0)
    assert report.seconds >= 0.4
    assert report.hops == report.hop_to_action_ms.count > 0


def test_the_shape_of_a_sample_comes_from_the_spec():
    sensor = SensorSpec("oct", (ChannelGroup("a_scan", 512, "dB"),), rate_hz=500.0, hop_samples=10, window_samples=100)
    client = Client()
    report = run(client, robot=replace(ROBOT, sensors=(sensor,)))
    assert {hop.samples.shape[1] for hop in client.hops} == {512}
    assert all(hop.first_seq % 10 == 0 for hop in client.hops)
    assert report.trace.window.shape == (100, 512)


def test_samples_that_the_source_loses_are_counted_and_the_hops_stay_on_their_grid():
    client = Client()
    lose = [20, 21, 22, 70]
    report = run(client, lose=lose)
    seqs, samples = received(client)
    assert sorted(set(range(seqs[-1] + 1)) - set(seqs.tolist())) == lose
    assert (samples[:, 0] == seqs % 2048).all()
    assert report.samples_lost == report.acquisition.lost_at_source == 4
    assert report.samples_expected == report.samples_received + 4
    after = [hop for hop in client.hops if hop.first_seq > 78]
    assert all(hop.first_seq % 13 == 0 for hop in after)


def test_a_stall_of_the_source_makes_samples_late_but_loses_none():
    client = Client()
    report = run(client, seconds=0.6, stall_ms=[[100, 150.0]])
    seqs, _ = received(client)
    assert (seqs == np.arange(len(seqs))).all()
    assert report.samples_lost == 0
    assert report.acquisition.late >= 50
    assert report.acquisition.lateness_us["max"] > 100_000
    assert report.deadline_misses >= 4
    assert report.hop_to_action_ms.max > 100


def test_a_host_too_slow_for_the_ring_loses_samples_and_says_so():
    client = Client(busy_s=0.15)
    report = run(client, seconds=0.8, ring_seconds=0.05)
    seqs, samples = received(client)
    assert report.samples_lost > 0
    assert report.samples_expected == report.samples_received + report.samples_lost
    assert report.samples_received == len(seqs)
    assert (samples[:, 0] == seqs % 2048).all()


def test_a_host_that_is_slow_for_a_moment_gets_the_backlog_at_once_and_each_hop_counts():
    client = Client(busy_s=0.07)
    report = run(client, seconds=0.6)
    assert max(len(hop.samples) for hop in client.hops) > 13
    assert report.hops > report.replies
    assert report.deadline_misses == report.hops
    assert report.samples_lost == 0


def test_hops_before_the_first_ready_reply_are_startup():
    client = Client(ready_after=15)
    report = run(client)
    assert report.startup_s >= 0.25
    assert report.replies == len(client.hops) - 15
    assert report.flags == {} and report.holds == {}
    assert report.samples_expected == report.samples_received == len(received(client)[0])


def test_a_host_that_never_gets_ready_is_held_and_measured_after_the_startup_time():
    client = Client(ready_after=1 << 30)
    report = run(client, seconds=0.2, startup_s=0.5)
    assert report.startup_s >= 0.5
    assert report.holds == {"not_ready": report.replies}
    assert report.flags == {"warming": report.replies}
    assert not report.trace.commanded.any()


def test_the_report_is_plain_json_and_names_each_leg():
    report = run(Client())
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(data["legs_ms"]) == {"source_to_ring", "ring_to_sender", "host", "host.head", "sink"}
    assert data["legs_ms"]["host.head"]["p50"] == 0.5
    assert data["vl_age_ms"] is None
    assert set(data["acquisition"]["lateness_us"]) == {"p50", "p99", "p99.9", "max"}
    legs = [data["legs_ms"][leg]["p50"] for leg in ("source_to_ring", "ring_to_sender", "host", "sink")]
    assert 0 < max(legs) <= data["hop_to_action_ms"]["max"]


def test_the_trace_holds_what_was_predicted_and_commanded():
    report = run(Client())
    assert report.trace.predicted.shape == report.trace.commanded.shape == (report.replies, 7)
    assert (report.trace.predicted == 1).all()
    assert (report.trace.commanded[-1] == [1, 1, 1, 0.5, 0.5, 0.5, 1]).all()  # rotation is limited to 0.5 rad/s
    assert (np.diff(report.trace.last_seq) > 0).all()
    assert report.trace.window.shape[1] == 1026


def start_ns(client):
    """When sample 0 was due."""
    first = client.hops[0]
    return first.stamp_ns - (first.first_seq + len(first.samples) - 1) / 650 * 1e9


class Stripes:
    """Frames of one color that counts up."""

    closed = 0

    def __init__(self, robot, height=112, width=112):
        self.shape = (height, width, 3)

    def frame(self, time_s):
        return np.full(self.shape, round(time_s * 30) % 256, np.uint8)

    def close(self):
        Stripes.closed += 1


@pytest.fixture
def stripes(monkeypatch):
    module = type(sys)("stripes_for_test")
    module.Stripes = Stripes
    monkeypatch.setitem(sys.modules, "stripes_for_test", module)
    return "stripes_for_test:Stripes"


def test_frames_come_as_jpeg_at_the_cameras_size_and_rate(stripes):
    client, closed = Client(), Stripes.closed
    report = run(client, seconds=0.5, cameras={"scene": SourceName(stripes)})
    assert Stripes.closed == closed + 1
    assert report.frames_sent == len(client.frames)
    assert 2 <= len(client.frames) <= (report.seconds + report.startup_s) * 30 + 1
    index = (np.array([frame.stamp_ns for frame in client.frames]) - start_ns(client)) / 1e9 * 30
    assert np.allclose(index, np.round(index), atol=1e-3) and (np.diff(index) > 0.5).all()
    for frame, number in zip(client.frames, index, strict=True):
        image = Image.open(io.BytesIO(frame.jpeg))
        assert (frame.camera, image.format, image.size) == ("scene", "JPEG", (112, 112))
        assert abs(np.asarray(image).mean() - number) < 2


def test_a_frame_of_another_size_ends_the_run_with_its_name(stripes):
    with pytest.raises(InputError, match=r"camera scene: gave uint8 \(10, 112, 3\)"):
        run(Client(), cameras={"scene": SourceName(stripes, {"height": 10})})


def test_every_camera_keeps_its_own_rate_on_the_time_of_the_samples(stripes):
    robot = replace(ROBOT, cameras=(CameraSpec("left", 112, 112, 20.0), CameraSpec("right", 112, 112, 10.0)))
    client = Client()
    run(client, robot=robot, cameras={"left": SourceName(stripes), "right": SourceName(stripes)})
    for camera in robot.cameras:
        stamps = np.array([frame.stamp_ns for frame in client.frames if frame.camera == camera.name])
        index = (stamps - start_ns(client)) / 1e9 * camera.rate_hz
        assert len(index) and np.allclose(index, np.round(index), atol=1e-3)


def test_a_camera_that_the_robot_does_not_have_is_refused(stripes):
    with pytest.raises(InputError, match=r"robot needle: has no camera 'rear'; give sources for \['scene'\]"):
        run(Client(), cameras={"rear": SourceName(stripes)})


def test_a_source_that_comes_to_its_end_ends_the_run_with_every_sample_and_a_report():
    client = Client()
    report = run(client, seconds=60, end_at=260)
    seqs, _ = received(client)
    assert (seqs == np.arange(260)).all()
    assert report.interrupted == "end of samples" and report.acquisition.ended
    assert (report.samples_expected, report.samples_lost, report.acquisition.samples) == (260, 0, 260)


def test_a_source_that_ends_before_its_first_sample_gives_an_empty_report():
    report = run(Client(), end_at=0)
    assert (report.interrupted, report.samples_expected, report.hops) == ("end of samples", 0, 0)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_source_that_fails_ends_the_run_with_its_reason():
    with pytest.raises(GanglionError, match="acquisition: RuntimeError: asked to fail at sample 40"):
        run(Client(), fail_at=40)


@pytest.mark.parametrize(
    ("factory", "arguments", "reason"),
    [
        ("nowhere:Source", {}, "nowhere:Source: no such source"),
        ("json:Nothing", {}, "json:Nothing: no such source"),
        (COUNTING, {"speed": 3}, "speed"),
    ],
)
def test_a_source_that_can_not_be_made_is_an_input_error_with_its_name(factory, arguments, reason):
    with pytest.raises(InputError, match=reason) as caught:
        Bridge(ROBOT, SourceName(factory, arguments), Client()).run(1)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_host_passes_through_and_ends_the_child():
    class Broken(Client):
        def send_hop(self, hop):
            raise GanglionError("lost the line", where="host")

    with pytest.raises(GanglionError, match="host: lost the line"):
        run(Broken())


def test_the_robots_side_imports_nothing_heavy():
    code = (
        "import sys, ganglion.robot_bridge.bridge, ganglion.robot_bridge.acquisition;"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'mujoco'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
