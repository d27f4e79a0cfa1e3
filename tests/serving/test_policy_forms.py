"""Every form of policy that export writes, served hop by hop, against the torch policy on whole windows."""

import io
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from ganglion.core.bundle import open_bundle, seal_bundle
from ganglion.core.errors import BundleError, InputError
from ganglion.core.manifest import FORMAT_VERSION, Manifest, PolicyPart
from ganglion.core.messages import Frame, Hop
from ganglion.core.normalization import Normalization, Scale, write_normalization
from ganglion.core.specs import CameraSpec, ChannelGroup, RobotSpec, SensorSpec, StateSpec, default_robot, to_dict
from ganglion.serving.policy.action_head import flow_noise
from ganglion.serving.policy.engine import PolicyEngine

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

HOP, WINDOW, PERIOD_NS, BASE = 13, 650, round(1e9 / 650), "offline:qwen2_vl?untrained"
TIP = SensorSpec("tip", (ChannelGroup("force", 4, "N"), ChannelGroup("a_scan", 20, "dB")), rate_hz=650.0)
JOINTS = StateSpec(("hip", "knee", "ankle"), ("rad",) * 3, 50.0)
CAMERA = CameraSpec("scene", height=56, width=84, rate_hz=30.0)
HEADS, SENSES = ("regression", "flow"), ("sensor", "unread", "none")
# A policy that neither feels nor knows itself must see.
FORMS = [(head, state, sensor) for head in HEADS for state in (True, False) for sensor in SENSES]
IDS = ["-".join([head, "state" if state else "no_state", sensor]) for head, state, sensor in FORMS]
# Every pair of choices is in one of these; the other six are left to make acceptance.
PAIRED = {
    ("regression", True, "sensor"),
    ("regression", False, "unread"),
    ("regression", False, "none"),
    ("flow", False, "sensor"),
    ("flow", True, "unread"),
    ("flow", True, "none"),
}
MARKED = [pytest.param(*form, marks=[] if form in PAIRED else pytest.mark.acceptance) for form in FORMS]


def robot_of(state, sensor):
    cameras = () if state or sensor == "sensor" else (CAMERA,)
    sensors = () if sensor == "none" else (TIP,)
    return RobotSpec("legs", cameras, sensors, default_robot().actions, JOINTS if state else None)


def write_policy(folder, robot, head, sensor):
    """What training would leave, with random weights of which every one matters."""
    from ganglion.model.backbone.facts import describe_backbone
    from ganglion.model.policy.config import policy_config
    from ganglion.model.policy.network import PolicyNetwork
    from ganglion.model.policy.policy import VLAPolicy

    torch.manual_seed(5)
    facts = describe_backbone(BASE, 1) if robot.cameras else None
    options = {"head": head, "flow_steps": 2, "vl_width": facts.vl_width if facts else 0}
    fusion = "gated" if sensor == "sensor" else "none"
    network = PolicyNetwork(policy_config(robot, "tiny", fusion=fusion, **options)).eval()
    torch.manual_seed(6)  # the encoder, whose weights come first, is the same in all forms
    for value in network.parameters():
        if value.ndim < 2:
            torch.nn.init.normal_(value, value.mean().item(), 0.3)
    random = np.random.default_rng(5)
    sizes = {"sensor": TIP.channels * (sensor == "sensor"), "action": 7, "state": robot.state.dim if robot.state else 0}
    scales = {
        name: Scale(random.normal(size=n).astype(np.float32), random.uniform(0.5, 2, n).astype(np.float32))
        if n
        else None
        for name, n in sizes.items()
    }
    vl = {**facts.to_dict(), "age_ms": [0.0, 150.0], "instruction": "Go."} if facts else None
    policy = VLAPolicy(network, robot, Normalization(**scales), vl)
    policy.save_pretrained(folder)
    return policy


def write_bundle(root, policy, like):
    """By the graphs alone: what is compared here needs no parity rows. `like` is a bundle with all but the head."""
    from ganglion.export.policy_graph import write_action_head, write_sensor_stream

    folder, config = root / "policy", policy.network.config
    if like:
        shutil.copytree(like, root)
        part = replace(open_bundle(like).manifest.policy, config={"vl_age_ms": [0.0, 150.0], **asdict(config)})
    else:
        folder.mkdir(parents=True)
        part = PolicyPart(asdict(config), config.read_frames, config.receptive_frames, config.width, "", {}, 20)
        if policy.network.encoder is not None:
            write_sensor_stream(policy.network.encoder, folder / "sensor_stream.onnx")
    write_action_head(policy.network.expert, folder / "action_head.onnx")
    write_normalization(root / "norm.json", policy.norm)
    seal_bundle(root, Manifest(FORMAT_VERSION, "test", {}, {}, robot=to_dict(policy.robot), policy=part))


def export_bundle(root, policy_folder, robot):
    from ganglion.export.onnx_policy import export_policy

    part, parity = export_policy(policy_folder, root)
    seal_bundle(root, Manifest(FORMAT_VERSION, "test", {}, {}, tuple(parity), to_dict(robot), policy=part))


class Served:
    """An engine of one form and the torch policy it was made from."""

    def __init__(self, root, head, state, sensor, like):
        robot = robot_of(state, sensor)
        self.robot, self.policy = robot, write_policy(root / "trained", robot, head, sensor)
        if robot.cameras and not like:
            export_bundle(root / "bundle", root / "trained", robot)
        else:
            write_bundle(root / "bundle", self.policy, like)
        self.root, self.engine = root, PolicyEngine.open(open_bundle(root / "bundle"))
        self.noise = torch.from_numpy(flow_noise(8, 7)) if head == "flow" else None
        self.reads_sensor, self.knows_state = sensor == "sensor", state
        self.channels = TIP.channels if robot.sensors else 0
        self.hop = HOP if robot.sensors else 1

    def expected(self, samples, end, state, seen=None, noise=None):
        """Of a whole window that ends before sample `end`: the chunk, normalized."""
        from ganglion.model.policy.context import Context

        norm, window, present = self.policy.norm, None, None
        if self.reads_sensor:
            window = torch.from_numpy(norm.sensor.normalize(samples[end - WINDOW : end]))[None]
            present = torch.ones(1, WINDOW // HOP, 2)
        context = Context()
        if self.knows_state:
            context = context._replace(state=torch.tensor(norm.state.normalize(state))[None], state_known=torch.ones(1))
        if seen is not None:
            mask, age = torch.ones(seen.features.shape[:2]), torch.tensor([0.05])
            context = context._replace(vl_features=torch.from_numpy(seen.features), vl_mask=mask, vl_age_s=age)
        with torch.no_grad():
            return self.policy.network(window, present, context, self.noise if noise is None else noise)[0].numpy()

    def normalized(self, reply):
        return (reply.chunk - self.policy.norm.action.mean) / self.policy.norm.action.std


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made, bundles = {}, {}

    def serve(head, state, sensor):
        key = head, state, sensor
        if key not in made:
            shared = sensor == "sensor", not (state or sensor == "sensor")  # the graphs beside the head
            root = tmp_path_factory.mktemp("form")
            made[key] = Served(root, *key, bundles.get(shared))
            bundles[shared] = root / "bundle"
        return made[key]

    yield serve
    for form in made.values():
        form.engine.close()


def samples_of(form, count):
    return np.random.default_rng(1).normal(0, 2, (count, form.channels)).astype(np.float32)


def states_of(count):
    return np.random.default_rng(2).normal(0, 2, (count, 3)).astype(np.float32)


def stamp(last_seq):
    return 10**9 + last_seq * PERIOD_NS


def hop_of(samples, first, count, state=None, shift=0):
    last = shift + first + count - 1
    return Hop(shift + first, stamp(last), samples[first : first + count], state)


def picture(seed):
    jpeg = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((CAMERA.width, CAMERA.height)).save(jpeg, "JPEG")
    return jpeg.getvalue()


@pytest.mark.parametrize(("head", "state", "sensor"), MARKED, ids=IDS)
def test_each_form_served_hop_by_hop_equals_the_trained_policy_on_whole_windows(served, head, state, sensor):
    form = served(head, state, sensor)
    hops = 70 if form.reads_sensor else 12
    samples, states, compared = samples_of(form, hops * form.hop), states_of(hops), []
    session = form.engine.session()
    for number in range(hops):
        first, seen = number * form.hop, None
        if form.robot.cameras:
            session.send_frame(Frame("scene", stamp(first + form.hop - 1) - 50_000_000, picture(number)))
            session.settle()
            seen = session._sight.features
        reply = session.send_hop(hop_of(samples, first, form.hop, states[number] if state else None))
        end = first + form.hop
        assert (reply.last_seq, reply.stamp_ns) == (end - 1, stamp(end - 1))
        if not form.reads_sensor or (end >= WINDOW and number % 4 == 0):
            assert reply.ready and reply.flags == ()
            expected = form.expected(samples, end, states[number], seen)
            np.testing.assert_allclose(form.normalized(reply), expected, atol=1e-4, rtol=0)
            compared.append(expected)
    assert len(compared) >= 5 and np.std(compared, axis=0).max() > 1e-2


# The state.


@pytest.fixture(params=["sensor", "none"])
def knowing(served, request):
    return served("regression", True, request.param)


def ready_session(form, samples):
    """A session that lacks nothing but the next hop; and where that begins."""
    session = form.engine.session()
    session.prime(hop_of(samples, 0, WINDOW))
    return session, WINDOW


def test_without_the_state_that_it_reads_a_robot_holds_until_it_comes(knowing):
    samples, states = samples_of(knowing, WINDOW + 2 * HOP), states_of(1)
    session, at = ready_session(knowing, samples)
    reply = session.send_hop(hop_of(samples, at, knowing.hop))
    assert (reply.ready, reply.flags) == (False, ("no_state",)) and not reply.chunk.any()
    reply = session.send_hop(hop_of(samples, at + knowing.hop, knowing.hop, states[0]))
    assert (reply.ready, reply.flags) == (True, ())
    expected = knowing.expected(samples, at + 2 * knowing.hop, states[0])
    np.testing.assert_allclose(knowing.normalized(reply), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_state_that_is_no_number_is_named_and_that_reply_holds(knowing, value):
    samples, states = samples_of(knowing, WINDOW + 2 * HOP), states_of(1)
    session, at = ready_session(knowing, samples)
    broken = states[0].copy()
    broken[1] = value
    reply = session.send_hop(hop_of(samples, at, knowing.hop, broken))
    assert (reply.ready, reply.flags) == (False, ("nonfinite",)) and not reply.chunk.any()
    reply = session.send_hop(hop_of(samples, at + knowing.hop, knowing.hop, states[0]))
    assert (reply.ready, reply.flags) == (True, ())
    expected = knowing.expected(samples, at + 2 * knowing.hop, states[0])
    np.testing.assert_allclose(knowing.normalized(reply), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "state", [np.zeros(2, np.float32), np.zeros((1, 3), np.float32), np.zeros(3), np.zeros((), np.float32)]
)
def test_a_state_of_another_shape_or_type_is_refused_and_nothing_is_lost(knowing, state):
    samples, states = samples_of(knowing, WINDOW + HOP), states_of(1)
    session, at = ready_session(knowing, samples)
    with pytest.raises(InputError, match=r"robot legs: state is float.*; send float32 \(3,\)"):
        session.send_hop(hop_of(samples, at, knowing.hop, state))
    reply = session.send_hop(hop_of(samples, at, knowing.hop, states[0]))
    assert (reply.ready, reply.flags) == (True, ())


def test_a_state_of_a_robot_that_has_none_is_refused(served):
    form = served("regression", False, "sensor")
    with pytest.raises(InputError, match=r"state is float32 .*; send none: its spec has no state"):
        form.engine.session().send_hop(hop_of(samples_of(form, HOP), 0, HOP, np.zeros(3, np.float32)))


def test_the_state_is_that_of_the_message_which_makes_the_hop_whole(served):
    form, states = served("regression", True, "sensor"), states_of(3)
    samples = samples_of(form, WINDOW + 2 * HOP)
    session, at = ready_session(form, samples)
    assert session.send_hop(hop_of(samples, at, 5, states[0])) is None
    reply = session.send_hop(hop_of(samples, at + 5, 8, states[1]))
    np.testing.assert_allclose(form.normalized(reply), form.expected(samples, at + HOP, states[1]), atol=1e-4, rtol=0)
    assert session.send_hop(hop_of(samples, at + HOP, 5, states[2])) is None
    assert session.send_hop(hop_of(samples, at + HOP + 5, 8)).flags == ("no_state",)


# Flow.


def test_a_flow_head_repeats_to_the_bit_in_every_session_and_engine_and_leans_on_its_noise(served):
    form, state = served("flow", True, "none"), states_of(1)[0]
    row, chunks = np.zeros((1, 0), np.float32), []
    with PolicyEngine.open(open_bundle(form.root / "bundle")) as other:
        for engine in (form.engine, form.engine, other):
            session = engine.session()
            chunks += [session.send_hop(Hop(seq, stamp(seq), row, state)).chunk.tobytes() for seq in range(3)]
    assert len(set(chunks)) == 1
    moved = form.expected(row, 1, state) - form.expected(row, 1, state, noise=-form.noise)
    assert np.abs(moved).max() > 1e-2


def test_the_noise_is_these_numbers_on_every_host():
    noise = flow_noise(8, 7)
    assert noise.shape == (1, 8, 7) and noise.dtype == np.float32
    assert noise[0, 0, :3].tolist() == pytest.approx([0.0912047, 1.0912827, -1.9469703], abs=1e-6)


# Without a sensor that is read.


def test_samples_that_are_not_read_count_as_ticks_and_nothing_warms(served):
    form = served("regression", True, "unread")
    samples, states, session = samples_of(form, 40), states_of(1), form.engine.session()
    samples[3] = np.nan
    replies, at = [], 0
    for count in (5, 7, 1, 13, 14):
        replies.append(session.send_hop(hop_of(samples, at, count, states[0])))
        at += count
    assert [reply and reply.last_seq for reply in replies] == [None, None, 12, 25, 38]
    assert all(reply.ready and reply.flags == () for reply in replies if reply)
    assert replies[4].stamp_ns == stamp(39) - round(1e9 / 650)
    assert set(replies[4].timings_ms) == {"head"}


def test_a_gap_in_ticks_is_named_and_costs_nothing_else(served):
    form = served("regression", True, "unread")
    samples, states, session = samples_of(form, 2 * HOP), states_of(1), form.engine.session()
    session.send_hop(hop_of(samples, 0, HOP + 4, states[0]))
    reply = session.send_hop(hop_of(samples, 0, HOP, states[0], shift=100))
    assert (reply.ready, reply.flags, reply.last_seq) == (True, ("gap",), 100 + HOP - 1)
    assert session.send_hop(hop_of(samples, HOP, HOP, states[0], shift=100)).flags == ()


def test_a_robot_without_a_sensor_gets_a_chunk_for_each_empty_row(served):
    form, states = served("regression", True, "none"), states_of(3)
    session = form.engine.session()
    for seq in range(3):
        reply = session.send_hop(Hop(seq, stamp(seq), np.zeros((1, 0), np.float32), states[seq]))
        assert (reply.ready, reply.flags, reply.last_seq, reply.stamp_ns) == (True, (), seq, stamp(seq))
    assert session.send_hop(Hop(3, stamp(3), np.zeros((0, 0), np.float32), states[0])) is None
    assert session.send_hop(Hop(5, stamp(5), np.zeros((1, 0), np.float32), states[0])).flags == ("gap",)
    with pytest.raises(InputError, match=r"robot legs: samples are float32 \(1, 3\); send float16 or float32 \(n, 0\)"):
        session.send_hop(Hop(6, stamp(6), np.zeros((1, 3), np.float32), states[0]))


def test_a_head_of_another_form_than_the_manifest_says_is_refused(served, tmp_path):
    form = served("flow", True, "none")
    shutil.copytree(form.root / "bundle", tmp_path / "bundle")
    manifest = open_bundle(tmp_path / "bundle").manifest
    config = {**manifest.policy.config, "head": "regression"}
    seal_bundle(tmp_path / "bundle", replace(manifest, policy=replace(manifest.policy, config=config)))
    with pytest.raises(
        BundleError, match=r"action_head.onnx: reads noise, state, state_known; .* read state, state_known"
    ):
        PolicyEngine.open(open_bundle(tmp_path / "bundle"))
