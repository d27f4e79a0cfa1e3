"""A policy's graphs in 16 and 8 bits: as near as they should be, the same for every robot.

Scales of activations for each row, or fixed by calibration.
"""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from ganglion.core.errors import InputError
from ganglion.core.normalization import Normalization, Scale
from ganglion.core.specs import ChannelGroup, RobotSpec, SensorSpec, default_robot
from ganglion.export.calibrated_int8 import calibrate
from ganglion.export.policy_graph import write_action_head, write_sensor_stream
from ganglion.export.policy_stages import GraphPolicy
from ganglion.export.targets import Precision
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import Context
from ganglion.model.policy.kept_moments import MOMENTS, KeptMoments, read_moments, write_moments
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.policy.policy import VLAPolicy

pytestmark = pytest.mark.slow
HOP, WINDOW, CHANNELS, HEADS, LAYERS = 13, 40, 40, 4, 2
PRECISIONS = ("float32", "float16", "int8", "calibrated")
CONFIG = PolicyConfig(
    channel_groups=(2, CHANNELS - 2), hop_samples=HOP, window_frames=WINDOW, horizon=8, action_dim=7, width=32,
    layers=LAYERS, heads=HEADS, attention_frames=11, read_frames=6, expert_layers=2, vl_width=48, fusion="gated",
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PolicyNetwork(CONFIG).eval()


def signal(batch, hops, seed=0):
    """Samples, and what was there of them: rows differ in strength, and one lacks a group now and then."""
    random = np.random.default_rng(seed)
    samples = random.standard_normal((batch, hops * HOP, CHANNELS), np.float32)
    present = np.ones((batch, hops, 2), np.float32)
    present[1:, ::3, 0] = 0
    samples[2:] *= 1000
    return samples, present


def context(batch, seed=0):
    """What the head reads beside frames; the last row has no picture."""
    random = np.random.default_rng(seed)
    mask = np.ones((batch, 5), np.float32)
    mask[batch - 1 :] = batch == 1
    return {
        "frames": random.standard_normal((batch, 6, 32), np.float32),
        "present": np.ones((batch, 6, 2), np.float32),
        "vl_features": random.standard_normal((batch, 5, 48), np.float32),
        "vl_mask": mask,
        "vl_age_s": random.uniform(0, 0.2, batch).astype(np.float32),
    }


@pytest.fixture(scope="module")
def folders(network, tmp_path_factory):
    """The graphs in each precision."""
    found = {name: tmp_path_factory.mktemp(name) for name in PRECISIONS}
    for name, folder in found.items():
        precision = "float32" if name == "calibrated" else name
        write_sensor_stream(network.encoder, folder / "sensor_stream.onnx", precision)
        write_action_head(network.expert, folder / "action_head.onnx", precision)
    fixed(found["calibrated"])
    return found


def fixed(folder):
    graphs = GraphPolicy(folder, CONFIG)
    calibrate(folder / "sensor_stream.onnx", [graphs.feeds(*signal(1, WINDOW, seed)) for seed in range(1, 5)])
    calibrate(folder / "action_head.onnx", [context(1, seed) for seed in range(1, 9)])


@pytest.mark.parametrize(("precision", "limit"), list(zip(PRECISIONS, (1e-5, 5e-3, 0.1, 0.15), strict=True)))
def test_the_graphs_say_what_torch_says_within_their_precision(network, folders, precision, limit):
    graphs, (samples, present), given = GraphPolicy(folders[precision], CONFIG), signal(1, WINDOW), context(1)
    with torch.no_grad():
        frames = network.encoder(torch.from_numpy(samples), torch.from_numpy(present)).numpy()
        actions = network.expert(Context(**{name: torch.from_numpy(value) for name, value in given.items()})).numpy()
    for found, wanted in ((graphs.stream(samples, present, WINDOW), frames), (graphs.decide(given, None), actions)):
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert error < limit
        assert precision == "float32" or error > 1e-6, "nothing was rounded"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_answer_depends_on_who_shares_the_call(folders, precision):
    graphs, (samples, present), given = GraphPolicy(folders[precision], CONFIG), signal(3, 20), context(3)
    together = graphs.stream(samples, present, 1)
    decided = graphs.decide(given, None)
    for row in (slice(0, 1), slice(1, 2), slice(2, 3)):
        alone = graphs.stream(samples[row], present[row], 1)
        np.testing.assert_allclose(together[row], alone, atol=1e-5, rtol=0)
        mine = graphs.decide({name: value[row] for name, value in given.items()}, None)
        np.testing.assert_allclose(decided[row], mine, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_streams_of_any_step_read_as_whole_windows_within_the_precision(network, folders, precision):
    graphs, (samples, present) = GraphPolicy(folders[precision], CONFIG), signal(1, 2 * WINDOW)
    last = slice((WINDOW) * HOP, None)
    whole = graphs.stream(samples[:, last], present[:, WINDOW:], WINDOW)[:, -6:]
    with torch.no_grad():
        exact = network.encoder(torch.from_numpy(samples[:, last]), torch.from_numpy(present[:, WINDOW:]))[:, -6:]
    rounding = max(float(np.abs(whole - exact.numpy()).max()), 1e-5)
    for hops in (1, 5, WINDOW):
        np.testing.assert_allclose(graphs.stream(samples, present, hops)[:, -6:], whole, atol=rounding, rtol=0)


def test_a_weak_signal_is_read_as_well_beside_one_a_thousand_times_stronger(network, folders):
    """With one scale for the tensor, the weak robot's frames would be far off."""
    graphs, (samples, present) = GraphPolicy(folders["int8"], CONFIG), signal(3, WINDOW)
    with torch.no_grad():
        wanted = network.encoder(torch.from_numpy(samples[:1]), torch.from_numpy(present[:1])).numpy()
    found = graphs.stream(samples, present, WINDOW)[:1]
    assert np.abs(found - wanted).max() / np.abs(wanted).max() < 0.1


def products_of_activations(path):
    graph = onnx.load(path).graph
    weights = {value.name for value in graph.initializer}
    weights |= {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return sum(node.op_type == "MatMul" and not weights & set(node.input) for node in graph.node)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_of_activations_and_carried_state_keep_float32(folders, precision):
    for name in ("sensor_stream.onnx", "action_head.onnx"):
        path = folders[precision] / name
        assert products_of_activations(path) == products_of_activations(folders["float32"] / name) >= 2 * LAYERS
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for value in [*session.get_inputs(), *session.get_outputs()]:
            assert value.type == ("tensor(int64)" if value.name.startswith("seen") else "tensor(float)")


def test_what_runs_is_whole_number_products(folders, tmp_path):
    for precision in ("int8", "calibrated"):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{precision}.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(
            str(folders[precision] / "sensor_stream.onnx"), options, providers=["CPUExecutionProvider"]
        )
        kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
        whole = sum(kinds.count(kind) for kind in ("MatMulIntegerToFloat", "QGemm"))
        assert whole == 3 + 4 * LAYERS  # the samples, to this frame and the next, and four in each layer
        assert not {"Gemm", "DequantizeLinear"} & set(kinds), "computed in float32 after all"


def test_the_same_weights_and_moments_give_the_same_bytes(network, folders, tmp_path):
    write_sensor_stream(network.encoder, tmp_path / "sensor_stream.onnx")
    write_action_head(network.expert, tmp_path / "action_head.onnx")
    fixed(tmp_path)
    for name in ("sensor_stream.onnx", "action_head.onnx"):
        again = (tmp_path / name).read_bytes()
        assert again == (folders["calibrated"] / name).read_bytes()
        assert str(tmp_path).encode() not in again


def moments(count, config):
    torch.manual_seed(4)
    hops = config.window_frames
    return KeptMoments(
        actions=torch.randn(count, config.horizon, config.action_dim),
        real=torch.ones(count, config.horizon, dtype=torch.bool),
        samples=torch.randn(count, hops * config.hop_samples, config.channels).half(),
        present=torch.ones(count, hops, len(config.channel_groups), dtype=torch.bool),
    )


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """The folder of a policy that reads one sensor alone, and its config."""
    folder = tmp_path_factory.mktemp("policy")
    sensor = SensorSpec("tip", (ChannelGroup("scan", CHANNELS, "dB"),), 650.0, HOP, WINDOW * HOP)
    robot = RobotSpec("blind", (), (sensor,), default_robot().actions)
    torch.manual_seed(1)
    config = replace(CONFIG, channel_groups=(CHANNELS,), vl_width=0)
    scales = [Scale(np.zeros(n, np.float32), np.ones(n, np.float32)) for n in (CHANNELS, 7)]
    VLAPolicy(PolicyNetwork(config), robot, Normalization(scales[0], scales[1], None)).save_pretrained(folder)
    return folder, config


@pytest.mark.parametrize("calibrated", [False, True])
def test_the_gate_on_fewer_bits_is_the_error_against_what_was_demonstrated(policy, tmp_path, calibrated):
    from ganglion.export.onnx_policy import export_policy

    folder, config = policy
    write_moments(folder, moments(20, config))
    part, rows = export_policy(folder, tmp_path, Precision(head="int8"), calibrated=calibrated)
    (folder / MOMENTS).unlink()
    name = "onnx int8 calibrated" if calibrated else "onnx int8"
    assert [row.stage for row in rows] == ["onnx", "stream", name, "stream int8"]
    assert part.precision["head"] == "int8"
    onnx_row, _, int8, stream = rows
    assert onnx_row.limits == {"action_error_drop": -0.01, "max_abs": 1e-4} and not onnx_row.failures()
    assert int8.limits == {"action_error_drop": -0.02}
    assert 1e-4 < int8.max_abs < 0.5 and int8.metrics["action_error"] > 0.5
    assert int8.metrics["action_error_drop"] != 0
    assert not stream.failures()


def test_a_policy_without_moments_is_gated_by_how_far_its_actions_move(policy, tmp_path):
    from ganglion.export.onnx_policy import export_policy

    rows = export_policy(policy[0], tmp_path / "out", Precision(head="float16"))[1]
    assert rows[2].limits == {"max_action_shift": 0.01} and 0 < rows[2].metrics["max_action_shift"] < 0.01
    with pytest.raises(InputError, match=r"moments.safetensors: is missing"):
        export_policy(policy[0], tmp_path / "none", Precision(head="int8"), calibrated=True)
    assert not (tmp_path / "none").exists()


def test_moments_that_are_too_few_damaged_or_of_another_policy_are_refused(policy, tmp_path):
    from ganglion.export.onnx_policy import export_policy

    folder, config = policy
    write_moments(folder, moments(6, config))
    with pytest.raises(InputError, match="holds 3 moments to calibrate on, it takes 8"):
        export_policy(folder, tmp_path, Precision(head="int8"), calibrated=True)
    bad = moments(20, config)
    bad.samples[3, 2, 1] = float("nan")
    write_moments(folder, bad)
    with pytest.raises(InputError, match="samples has values that are not finite"):
        read_moments(folder, config)
    write_moments(folder, KeptMoments(**{**moments(20, config).tensors(), "present": torch.ones(20, 7, 1) > 0}))
    with pytest.raises(InputError, match=r"present is torch.bool \(20, 7, 1\), the policy wants"):
        read_moments(folder, config)
    write_moments(folder, KeptMoments(bad.actions, bad.real))
    with pytest.raises(InputError, match="the policy wants"):
        read_moments(folder, config)
    (folder / MOMENTS).unlink()
    assert read_moments(folder, config) is None
