"""A policy session against the torch policy on whole windows, and what it does when the data is not as it should be."""

import io
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from policy_bundle_for_test import policy_bundle

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import BundleError, GanglionError, InputError
from ganglion.core.messages import Frame, Hop
from ganglion.core.specs import CameraSpec, ChannelGroup, RobotSpec, SensorSpec, default_robot
from ganglion.serving.policy.engine import PolicyEngine
from ganglion.serving.policy.vl_encoder import local_runner

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

CHANNELS, HOP, WINDOW, PERIOD_NS = 24, 13, 650, round(1e9 / 650)
BLIND = RobotSpec(
    name="blind",
    cameras=(),
    sensors=(SensorSpec("tip", (ChannelGroup("force", 4, "N"), ChannelGroup("a_scan", 20, "dB")), rate_hz=650.0),),
    actions=default_robot().actions,
)
SEEING = replace(BLIND, name="seeing", cameras=(CameraSpec("scene", height=56, width=84, rate_hz=30.0),))
BASE = "offline:qwen2_vl?untrained"


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    policy_bundle(root := tmp_path_factory.mktemp("blind"), BLIND)
    return root


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    policy_bundle(root := tmp_path_factory.mktemp("seeing"), SEEING)
    return root


@pytest.fixture(scope="module")
def engine(blind):
    with PolicyEngine.open(open_bundle(blind / "bundle")) as engine:
        yield engine


@pytest.fixture(scope="module")
def seeing_engine(seeing):
    with PolicyEngine.open(open_bundle(seeing / "bundle")) as engine:
        yield engine


class Trained:
    """The torch policy with its normalization: a whole window in, a chunk in units out."""

    def __init__(self, root):
        from ganglion.model.policy.policy import VLAPolicy

        policy = VLAPolicy.from_pretrained(root / "policy", backbone=False)
        self.network, self.norm = policy.network, policy.norm

    def chunk(self, samples, end, *vl):
        """From the window that ends before sample `end`, normalized as the session's is."""
        from ganglion.model.policy.context import Context

        window = torch.from_numpy(self.norm.sensor.normalize(samples[end - WINDOW : end]))[None]
        with torch.no_grad():
            return self.network(window, torch.ones(1, 50, 2), Context(None, None, *vl))[0].numpy()

    def normalized(self, reply):
        return (reply.chunk - self.norm.action.mean) / self.norm.action.std


@pytest.fixture(scope="module")
def trained(blind):
    return Trained(blind)


def stream(count, seed=0, dtype=np.float32):
    random = np.random.default_rng(seed)
    slow = 2 * np.sin(np.arange(count)[:, None] / 300 + np.arange(CHANNELS))
    return (random.standard_normal((count, CHANNELS)) + slow).astype(dtype)


def stamp(last_seq):
    return 10**9 + last_seq * PERIOD_NS


def send(session, samples, sizes, first=0):
    """Send samples in messages of `sizes` in turn; returns the replies."""
    replies, at, turn = [], 0, 0
    while at < len(samples):
        part = samples[at : at + sizes[turn % len(sizes)]]
        replies.append(session.send_hop(Hop(first + at, stamp(first + at + len(part) - 1), part)))
        at, turn = at + len(part), turn + 1
    return replies


@pytest.mark.parametrize("sizes", [(13,), (65,), (7, 20, 13), (1,), (650,), (2000,)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_streamed_equals_the_whole_window(engine, trained, sizes, dtype):
    samples = stream(3 * WINDOW, dtype=dtype)
    replies = [r for r in send(engine.session(), samples, sizes) if r is not None and r.ready]
    assert replies[-1].last_seq == 3 * WINDOW - 1
    for reply in replies[::10] + replies[-1:]:
        if reply.last_seq + 1 >= WINDOW:
            expected = trained.chunk(samples, reply.last_seq + 1)
            np.testing.assert_allclose(trained.normalized(reply), expected, atol=1e-5, rtol=0)
            assert reply.stamp_ns == pytest.approx(stamp(reply.last_seq), abs=HOP)


def test_a_long_stream_does_not_drift(engine, trained):
    session, samples = engine.session(), stream(120 * WINDOW, seed=5)
    reply = send(session, samples, (130,))[-1]
    np.testing.assert_allclose(trained.normalized(reply), trained.chunk(samples, len(samples)), atol=1e-5, rtol=0)


def test_a_stream_is_warming_until_the_receptive_field_is_filled(engine):
    replies = send(engine.session(), stream(60 * HOP), (HOP,))
    receptive = engine.session()._shared.part.receptive_frames
    assert [reply.ready for reply in replies] == [False] * (receptive - 1) + [True] * (61 - receptive)
    assert all((reply.flags == ("warming",)) == (not reply.ready) for reply in replies)
    assert not replies[0].chunk.any() and replies[-1].chunk.any()
    assert replies[0].chunk.shape == (8, 7) and replies[0].chunk.dtype == np.float32


def test_no_reply_before_a_hop_is_whole(engine):
    replies = send(engine.session(), stream(26), (5, 7, 1, 12, 1))
    assert [reply is not None for reply in replies] == [False, False, True, False, True]
    assert [reply.last_seq for reply in replies if reply] == [12, 25]


@pytest.mark.parametrize("sizes", [(13,), (7, 20)])
def test_after_a_gap_the_session_begins_anew_and_is_right_again(engine, trained, sizes):
    session, samples = engine.session(), stream(4 * WINDOW)
    send(session, samples[:1000], sizes)
    replies = [r for r in send(session, samples[1005:], sizes, first=1005) if r]
    assert "gap" in replies[0].flags and not replies[0].ready
    assert all("gap" not in reply.flags for reply in replies[1:])
    assert [reply.ready for reply in replies].index(True) > 20
    ready = [reply for reply in replies if reply.ready and reply.last_seq + 1 >= 1005 + WINDOW + 20]
    for reply in ready[::7]:
        expected = trained.chunk(samples, reply.last_seq + 1)
        np.testing.assert_allclose(trained.normalized(reply), expected, atol=1e-5, rtol=0)


def test_after_a_gap_hops_end_where_the_messages_end(engine):
    session, samples = engine.session(), stream(40 * HOP)
    send(session, samples[: 10 * HOP], (HOP,))
    late = 10 * HOP + 4
    assert session.send_hop(Hop(late, stamp(11 * HOP - 1), samples[late : 11 * HOP])) is None
    reply = session.send_hop(Hop(11 * HOP, stamp(12 * HOP - 1), samples[11 * HOP : 12 * HOP]))
    assert reply.last_seq == 12 * HOP - 1
    assert reply.flags == ("gap", "warming")


def test_priming_with_a_window_leaves_no_warming_to_do(engine, trained):
    session, samples = engine.session(), stream(WINDOW + HOP)
    send(session, stream(500, seed=9), (HOP,))
    session.prime(Hop(7000, stamp(7000 + WINDOW - 1), samples[:WINDOW]))
    reply = session.send_hop(Hop(7000 + WINDOW, stamp(7000 + WINDOW + HOP - 1), samples[WINDOW:]))
    assert reply.ready and reply.flags == ()
    np.testing.assert_allclose(trained.normalized(reply), trained.chunk(samples, WINDOW + HOP), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_value_that_is_no_number_counts_as_the_mean_and_that_reply_holds(engine, trained, value):
    session, samples = engine.session(), stream(3 * WINDOW)
    broken = samples.copy()
    broken[1000, 5] = value
    replies = send(session, broken, (HOP,))
    struck = 1000 // HOP
    assert replies[struck].flags == ("nonfinite",) and not replies[struck].ready
    assert all(reply.flags == () and reply.ready for reply in replies[struck + 1 :])
    samples[1000, 5] = trained.norm.sensor.mean[5]
    for reply in replies[struck + 1 :: 9]:
        expected = trained.chunk(samples, reply.last_seq + 1)
        np.testing.assert_allclose(trained.normalized(reply), expected, atol=1e-5, rtol=0)


def test_an_infinite_float16_is_noticed(engine):
    samples = stream(HOP, dtype=np.float16)
    samples[3, 3] = np.inf
    assert "nonfinite" in send(engine.session(), samples, (HOP,))[0].flags


@pytest.mark.parametrize(
    "samples", [np.zeros((13, 23), np.float32), np.zeros(24, np.float32), np.zeros((13, 24)), np.zeros((13, 24), int)]
)
def test_samples_of_another_shape_or_type_are_refused_and_nothing_is_lost(engine, trained, samples):
    session, good = engine.session(), stream(WINDOW + HOP)
    send(session, good[:WINDOW], (HOP,))
    with pytest.raises(InputError, match=r"sensor tip: samples are .*float16 or float32 \(n, 24\)"):
        session.send_hop(Hop(WINDOW, stamp(WINDOW), samples))
    reply = session.send_hop(Hop(WINDOW, stamp(WINDOW + HOP - 1), good[WINDOW:]))
    assert reply.flags == ()
    np.testing.assert_allclose(trained.normalized(reply), trained.chunk(good, WINDOW + HOP), atol=1e-5, rtol=0)


def test_sessions_of_one_engine_do_not_see_each_other_even_in_parallel(engine):
    streams = [stream(2 * WINDOW, seed=seed) for seed in range(4)]
    alone = [send(engine.session(), samples, (HOP,))[-1].chunk for samples in streams]
    together = [None] * 4

    def serve(index):
        together[index] = send(engine.session(), streams[index], (HOP,))[-1].chunk

    threads = [threading.Thread(target=serve, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(alone, together)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_a_blind_robot_has_no_age_and_no_camera(engine):
    session = engine.session()
    assert send(session, stream(HOP), (HOP,))[0].vl_age_ms is None
    with pytest.raises(InputError, match="robot blind: has no camera 'scene'"):
        session.send_frame(Frame("scene", 0, b""))


def test_the_host_names_its_legs(engine):
    reply = send(engine.session(), stream(WINDOW), (HOP,))[-1]
    assert set(reply.timings_ms) == {"preprocess", "encoder", "head"}
    assert all(value >= 0 for value in reply.timings_ms.values())


def test_a_closed_session_says_so(engine):
    session = engine.session()
    session.close()
    session.close()
    with pytest.raises(GanglionError, match="policy session: is closed"):
        send(session, stream(HOP), (HOP,))


def test_a_graph_that_contradicts_the_robot_spec_is_refused(blind):
    bundle = open_bundle(blind / "bundle")
    wrong = replace(bundle, robot=replace(BLIND, actions=replace(BLIND.actions, horizon=9)))
    with pytest.raises(BundleError, match=r"action_head.onnx: output 'actions' has size 8 on axis 1, .* 9"):
        PolicyEngine.open(wrong)


def test_the_parity_rows_are_within_their_limits(blind, seeing):
    for root in (blind, seeing):
        rows = {row.stage: row for row in open_bundle(root / "bundle").manifest.parity}
        assert rows["onnx"].against == "trained" and rows["onnx"].max_abs <= 1e-4
        assert rows["stream"].against == "window" and rows["stream"].max_abs <= 1e-5


# With a camera.


def picture(seed, size=(84, 56)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(jpeg, "JPEG", quality=90)
    return jpeg.getvalue()


def wait_for(condition):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def seen(session, jpeg, stamp_ns):
    """Send a frame and wait until its features are in use."""
    session.send_frame(Frame("scene", stamp_ns, jpeg))
    wait_for(lambda: session._sight.features is not None and session._sight.features.exposed_ns == stamp_ns)


def torch_features(jpeg, instruction):
    from ganglion.model.checkpoint import resolve_base
    from ganglion.model.processor import load_processor
    from ganglion.model.vlm import load_vlm

    path = resolve_base(BASE)
    processor = load_processor(path)
    content = [{"type": "image"}, {"type": "text", "text": instruction}]
    chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[chat], images=[Image.open(io.BytesIO(jpeg)).convert("RGB")], return_tensors="pt")
    with torch.no_grad():
        return load_vlm(path, dtype=torch.float32).model(**inputs, output_hidden_states=True).hidden_states[1]


def test_frame_and_samples_to_chunk_equals_the_trained_policy_and_backbone(seeing_engine, seeing):
    trained, jpeg, samples = Trained(seeing), picture(1), stream(WINDOW)
    for instruction, expected_text in ((None, "Touch."), ("Back off.", "Back off.")):
        session = seeing_engine.session(instruction)
        seen(session, jpeg, stamp(WINDOW - 1) - 80_000_000)
        reply = send(session, samples, (HOP,))[-1]
        assert reply.ready and reply.vl_age_ms == pytest.approx(80, abs=1e-3)
        features = torch_features(jpeg, expected_text)
        expected = trained.chunk(samples, WINDOW, features, torch.ones(features.shape[:2]), torch.tensor([0.08]))
        np.testing.assert_allclose(trained.normalized(reply), expected, atol=1e-4, rtol=0)


def test_image_instruction_and_age_all_matter(seeing_engine):
    samples = stream(WINDOW)

    def chunk(seed=1, instruction=None, age_ms=50):
        session = seeing_engine.session(instruction)
        seen(session, picture(seed), stamp(WINDOW - 1) - age_ms * 1_000_000)
        return send(session, samples, (HOP,))[-1].chunk

    first = chunk()
    for other in (chunk(seed=2), chunk(instruction="Back off now."), chunk(age_ms=140)):
        assert np.abs(first - other).max() > 1e-4
    np.testing.assert_array_equal(first, chunk())


def test_without_a_frame_the_robot_holds(seeing_engine):
    reply = send(seeing_engine.session(), stream(WINDOW), (HOP,))[-1]
    assert (reply.ready, reply.flags, reply.vl_age_ms) == (False, ("no_frame",), None)
    assert not reply.chunk.any()


@pytest.mark.parametrize(
    ("age_ms", "flags", "ready"), [(149, (), True), (400, ("stale_frame",), True), (1500, ("stale_frame",), False)]
)
def test_an_old_frame_is_named_and_in_the_end_the_robot_holds(seeing_engine, age_ms, flags, ready):
    session = seeing_engine.session()
    seen(session, picture(1), stamp(WINDOW - 1) - age_ms * 1_000_000)
    reply = send(session, stream(WINDOW), (HOP,))[-1]
    assert (reply.flags, reply.ready) == (flags, ready)
    assert reply.vl_age_ms == pytest.approx(age_ms, abs=1e-3)


def test_a_frame_of_a_moment_after_the_sample_has_age_zero(seeing_engine):
    session = seeing_engine.session()
    seen(session, picture(1), stamp(WINDOW - 1) + 5_000_000)
    assert send(session, stream(WINDOW), (HOP,))[-1].vl_age_ms == 0.0


def test_the_newest_frame_wins_and_each_session_gets_its_turn(seeing_engine):
    sessions = [seeing_engine.session() for _ in range(3)]
    for number in range(20):
        for session in sessions:
            session.send_frame(Frame("scene", 1 + number, picture(number)))
    wait_for(lambda: all(s._sight.features is not None and s._sight.features.exposed_ns == 20 for s in sessions))


def test_an_instruction_takes_effect_with_the_next_frame(seeing_engine):
    session, samples = seeing_engine.session(), stream(WINDOW)
    seen(session, picture(1), 1)
    before = session._sight.features.features
    session.set_instruction("Back off.")
    assert session._sight.features.features is before
    seen(session, picture(1), 2)
    assert (
        before.shape != session._sight.features.features.shape
        or np.abs(before - session._sight.features.features).max() > 1e-4
    )
    assert send(session, samples, (HOP,))[-1] is not None


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (Frame("rear", 0, b""), "has no camera 'rear'; send frames of \\['scene'\\]"),
        (Frame("scene", 0, b"no jpeg"), "camera scene: frame is no image"),
        (Frame("scene", 0, picture(1, (56, 84))), "frame is 56 x 84 pixels, the spec says 84 x 56"),
    ],
)
def test_a_frame_that_does_not_fit_the_spec_is_refused_at_once(seeing_engine, frame, reason):
    with pytest.raises(InputError, match=reason):
        seeing_engine.session().send_frame(frame)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "EPS"])
def test_a_frame_is_a_jpeg_or_a_png_and_no_other_decoder_is_tried(seeing_engine, kind):
    def encoded(kind):
        out = io.BytesIO()
        Image.new("RGB", (84, 56)).save(out, kind)
        return Frame("scene", 0, out.getvalue())

    session = seeing_engine.session()
    session.send_frame(encoded("PNG"))
    with pytest.raises(InputError, match="camera scene: frame is no image"):
        session.send_frame(encoded(kind))


def test_a_truncated_frame_is_flagged_and_the_older_features_age_on(seeing_engine):
    session, samples = seeing_engine.session(), stream(WINDOW)
    seen(session, picture(1), stamp(WINDOW - 1) - 100_000_000)
    session.send_frame(Frame("scene", stamp(WINDOW - 1), picture(2)[:-200]))
    wait_for(lambda: session.frame_error is not None)
    reply = send(session, samples, (HOP,))[-1]
    assert reply.ready and reply.flags == ("bad_frame",)
    assert reply.vl_age_ms == pytest.approx(100, abs=1e-3)
    seen(session, picture(1), stamp(WINDOW - 1))
    assert session.frame_error is None


def test_a_hop_never_waits_for_a_frame(seeing):
    """Hops are answered while a runner is kept from coming to an end."""
    bundle, samples = open_bundle(seeing / "bundle"), stream(WINDOW)
    held, release = threading.Event(), threading.Event()
    run = local_runner(bundle, 1)

    def blocking(feeds):
        if held_back:
            held.set()
            release.wait(60)
        return run(feeds)

    held_back = False
    with PolicyEngine.open(bundle, vl_runner=blocking) as engine:
        session = engine.session()
        seen(session, picture(1), 1)
        held_back = True
        session.send_frame(Frame("scene", 2, picture(2)))
        assert held.wait(60)
        assert len(send(session, samples, (HOP,))) == WINDOW // HOP
        assert session._sight.features.exposed_ns == 1
        release.set()
        wait_for(lambda: session._sight.features.exposed_ns == 2)


def test_an_engine_has_encoded_a_frame_before_it_says_that_it_is_ready(seeing, monkeypatch):
    runs = []

    def counting(*arguments):
        run = local_runner(*arguments)
        return lambda feeds: runs.append(feeds["pixel_values"].shape) or run(feeds)

    monkeypatch.setattr("ganglion.serving.policy.engine.local_runner", counting)
    with PolicyEngine.open(open_bundle(seeing / "bundle")) as engine:
        assert engine.ready
        assert len(runs) == 1
        session = engine.session()
        seen(session, picture(1), 1)
        assert runs[1:] == runs[:1]  # of the size that robots send
    assert not engine.ready


def test_a_runner_of_ones_own_gets_the_feeds_of_the_graph_and_its_features_are_used(seeing, seeing_engine):
    bundle, samples, given = open_bundle(seeing / "bundle"), stream(WINDOW), []
    run = local_runner(bundle, 1)

    def elsewhere(feeds):
        given.append({name: (value.dtype.name, value.ndim) for name, value in feeds.items()})
        return run(feeds)[..., ::-1].copy()

    def chunk(engine):
        session = engine.session()
        seen(session, picture(1), stamp(WINDOW - 1))
        return session._sight.features.features, send(session, samples, (HOP,))[-1].chunk

    with PolicyEngine.open(bundle, vl_runner=elsewhere, vl_workers=2) as engine:
        features, decided = chunk(engine)
    here, usual = chunk(seeing_engine)
    np.testing.assert_array_equal(features, here[..., ::-1])
    assert np.abs(decided - usual).max() > 1e-4
    of = {"pixel_values": ("float32", 3), "image_grid_thw": ("int64", 3)}
    assert given == [{**of, "input_ids": ("int64", 2), "position_ids": ("int64", 3)}]


@pytest.mark.parametrize(
    "wrong",
    [lambda f: f[:, 1:], lambda f: f[..., 1:], lambda f: f[0], lambda f: f.astype(np.float16), lambda f: f * np.nan],
    ids=["token missing", "too narrow", "no batch", "float16", "nan"],
)
def test_features_that_do_not_fit_the_policy_never_reach_it(seeing, wrong):
    bundle = open_bundle(seeing / "bundle")
    run = local_runner(bundle, 1)
    with PolicyEngine.open(bundle, vl_runner=lambda feeds: wrong(run(feeds))) as engine:
        session = engine.session()
        session.send_frame(Frame("scene", 1, picture(1)))
        session.settle()
        reply = send(session, stream(WINDOW), (HOP,))[-1]
        assert (reply.ready, reply.flags) == (False, ("bad_frame", "no_frame"))
        assert "VL encoder: gave " in str(session.frame_error)


def test_a_runner_that_is_away_is_a_bad_frame_until_it_is_back(seeing):
    bundle = open_bundle(seeing / "bundle")
    run, away = local_runner(bundle, 1), True

    def elsewhere(feeds):
        if away:
            raise ConnectionError("connection refused")
        return run(feeds)

    with PolicyEngine.open(bundle, vl_runner=elsewhere) as engine:
        session = engine.session()
        session.send_frame(Frame("scene", 1, picture(1)))
        session.settle()
        assert "connection refused" in str(session.frame_error)
        away = False
        seen(session, picture(1), 2)
        assert session.frame_error is None


def test_an_engine_without_a_worker_is_refused(seeing):
    with pytest.raises(InputError, match="VL refresh: has 0 workers; give at least 1"):
        PolicyEngine.open(open_bundle(seeing / "bundle"), vl_workers=0)


def test_a_bundle_names_what_the_camera_path_needs(seeing):
    manifest = json.loads((seeing / "bundle" / "manifest.json").read_text())
    assert manifest["policy"]["instruction"] == "Touch."
    assert manifest["policy"]["config"]["vl_age_ms"] == [0.0, 150.0]
    assert set(manifest["policy"]["image_processor"]) == {
        *("patch_size", "temporal_patch_size", "merge_size", "min_pixels", "max_pixels", "image_mean", "image_std"),
    }


def test_importing_the_engine_takes_these_packages_and_no_others():
    import subprocess
    import sys

    code = (
        "import sys; before = set(sys.modules); import ganglion.serving.policy.engine;"
        "print(*sorted({n.split('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert set(found) <= {"ganglion", "numpy", "onnxruntime", "PIL", "tokenizers", "jinja2", "markupsafe"}


def test_serving_a_policy_imports_neither_torch_nor_transformers(blind):
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from ganglion.core.bundle import open_bundle;"
        "from ganglion.serving.policy.engine import PolicyEngine; PolicyEngine.open(open_bundle(Path(sys.argv[1])));"
        "heavy = {'torch', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(blind / "bundle")], check=True)


def test_once_settled_the_next_reply_follows_from_the_newest_frame_and_a_loop_repeats_to_the_bit(seeing_engine):
    samples, runs = stream(2 * WINDOW), []
    for _ in range(2):
        session, chunks = seeing_engine.session(), []
        session.prime(Hop(0, stamp(WINDOW - 1), samples[:WINDOW]))
        for number in range(8):
            first = WINDOW + number * HOP
            for early in (2, 1):
                session.send_frame(Frame("scene", stamp(first) - early, picture(2 * number + early)))
            session.settle()
            reply = session.send_hop(Hop(first, stamp(first + HOP - 1), samples[first : first + HOP]))
            assert reply.ready and reply.vl_age_ms == pytest.approx((HOP - 1) * PERIOD_NS / 1e6 + 1e-6)
            chunks.append(reply.chunk.tobytes())
        session.close()
        runs.append(chunks)
    assert runs[0] == runs[1] and len(set(runs[0])) == 8


def test_settling_waits_for_nothing_where_there_is_nothing_and_not_in_a_closed_session(engine, seeing_engine):
    engine.session().settle()
    session = seeing_engine.session()
    session.settle()
    session.close()
    with pytest.raises(GanglionError, match="is closed"):
        session.settle()
