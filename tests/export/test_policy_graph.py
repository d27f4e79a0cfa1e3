"""The policy's graphs in ONNX Runtime say what torch says: streams as whole windows, and every kind of action head."""

import numpy as np
import pytest
import torch

from ganglion.export.onnx_runner import open_onnx
from ganglion.export.policy_graph import write_action_head, write_sensor_stream
from ganglion.model.policy.action_expert import ActionExpert
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import Context, context_fields
from ganglion.model.policy.sensor_encoder import SensorEncoder, SensorState

HOP, FRAMES, GROUPS, READ, VL, STATE = 13, 50, (2, 4), 6, 10, 3
CHANNELS = sum(GROUPS)


def config(**changes):
    values = dict(
        channel_groups=GROUPS, hop_samples=HOP, window_frames=FRAMES, horizon=8, action_dim=7, width=24, layers=3,
        heads=4, attention_frames=11, read_frames=READ, expert_layers=2, flow_steps=3,
    )  # fmt: skip
    return PolicyConfig(**{**values, **changes})


def drawn(module):
    """A module whose every parameter matters, also those that start at zero or one."""
    for value in module.parameters():
        if value.ndim < 2:
            torch.nn.init.normal_(value, value.mean().item(), 0.3)
    return module.eval()


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """An encoder whose layers lean on the oldest frame they see, and its graph."""
    torch.manual_seed(2)
    encoder, path = drawn(SensorEncoder(config())), tmp_path_factory.mktemp("stream") / "sensor_stream.onnx"
    torch.nn.init.constant_(encoder.distance_bias[..., -1], 4.0)
    write_sensor_stream(encoder, path)
    return encoder, open_onnx(path)


def signal(batch, hops):
    """Samples that were recorded in part, and what was there of them: (B, hops * HOP, C) and (B, hops, G)."""
    random = np.random.default_rng(hops)
    samples = random.standard_normal((batch, hops * HOP, CHANNELS), np.float32)
    present = (random.random((batch, hops, len(GROUPS))) < 0.7).astype(np.float32)
    return samples, present


def streamed(graph, samples, present, counts):
    """Frames (B, N, D) of the graph given so many hops at a time, its state carried from zeros."""
    shapes = {i.name: i.shape for i in graph.get_inputs() if i.name not in ("samples", "present")}
    kinds = {name: np.int64 if name == "seen" else np.float32 for name in shapes}
    state = {name: np.zeros((len(samples), *shape[1:]), kinds[name]) for name, shape in shapes.items()}
    frames, at = [], 0
    for count in counts:
        piece = {"samples": samples[:, at * HOP : (at + count) * HOP], "present": present[:, at : at + count]}
        new, *after = graph.run(None, {**piece, **state})
        state, at = dict(zip(state, after, strict=True)), at + count
        frames.append(new)
    return np.concatenate(frames, axis=1), state


RAGGED = [1, 7, 2, 1, 1, 13, 3, 22, 4, 1, 17, 28]


@pytest.mark.parametrize("counts", [[1] * 100, [5] * 20, [10] * 10, RAGGED], ids=["13", "65", "130", "ragged"])
def test_a_stream_in_the_graph_reads_as_whole_windows_in_torch(stream, counts):
    encoder, graph = stream
    samples, present = signal(1, 100)
    frames, _ = streamed(graph, samples, present, counts)
    for end in (50, 51, 77, 100):
        window = slice((end - FRAMES) * HOP, end * HOP)
        with torch.no_grad():
            whole = encoder(torch.from_numpy(samples[:, window]), torch.from_numpy(present[:, end - FRAMES : end]))
        np.testing.assert_allclose(frames[:, end - READ : end], whole[:, -READ:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_and_any_number_of_hops_leave_the_state_that_torch_leaves(stream, batch):
    encoder, graph = stream
    samples, present = signal(batch, 70)
    counts = [1, 4, 5, 60]
    frames, state = streamed(graph, samples, present, counts)
    with torch.no_grad():
        expected, after = encoder.stream(
            torch.from_numpy(samples), torch.from_numpy(present), encoder.fresh_state(batch)
        )
    np.testing.assert_allclose(frames, expected, atol=1e-5, rtol=0)
    for name, value in zip(SensorState._fields, after, strict=True):
        np.testing.assert_allclose(state[f"{name}_state" if name != "seen" else name], value, atol=1e-5, rtol=0)


def test_what_an_absent_group_holds_makes_no_difference_in_the_graph(stream):
    samples, present = signal(1, 20)
    absent = np.repeat(np.repeat(present, GROUPS, axis=2), HOP, axis=1) == 0
    changed = np.where(absent, np.float32("nan"), samples)
    assert absent.any() and not absent.all()
    found = [streamed(stream[1], values, present, [1] * 20)[0] for values in (samples, changed)]
    np.testing.assert_array_equal(*found)
    everything = streamed(stream[1], samples, np.ones_like(present), [1] * 20)[0]
    assert np.abs(everything - found[0]).max() > 1e-2


def context(shape, batch, tokens):
    """A random context of all that a policy reads; in some rows pictures, states or hops of a group are missing."""
    row = torch.arange(batch)
    full = Context(
        frames=torch.randn(batch, shape.read_frames, shape.width),
        present=(torch.rand(batch, shape.read_frames, len(shape.channel_groups)) < 0.7).float(),
        vl_features=torch.randn(batch, tokens, VL),
        vl_mask=(torch.arange(tokens) < (tokens - 2 * row)[:, None]).float(),
        vl_age_s=torch.rand(batch) / 5,
        state=torch.randn(batch, STATE),
        state_known=(row % 2 == 0).float(),
    )
    return Context(**{name: getattr(full, name) for name in context_fields(shape)})


def head_says(graph, given, noise):
    feeds = {name: value.numpy() for name, value in given._asdict().items() if value is not None}
    feeds |= {} if noise is None else {"noise": noise.numpy()}
    assert feeds.keys() == {i.name for i in graph.get_inputs()}
    return graph.run(None, feeds)[0]


def case(fusion, head, vl=True, state=True):
    usual = (fusion, head) == ("concat", "flow")
    return pytest.param(fusion, head, vl, state, marks=() if usual else pytest.mark.slow)


# Every fusion with both kinds of head, and every input with and without, in as few exports as that takes.
CASES = [
    case("concat", "flow"),
    case("concat", "regression", vl=False, state=False),
    case("cross_attention", "flow", state=False),
    case("cross_attention", "regression"),
    case("gated", "flow", vl=False),
    case("gated", "regression"),
    case("none", "flow", state=False),
    case("none", "regression"),
]


@pytest.mark.parametrize(("fusion", "head", "vl", "state"), CASES)
def test_an_action_head_decides_as_torch_does(tmp_path, fusion, head, vl, state):
    torch.manual_seed(3)
    groups = () if fusion == "none" else GROUPS
    shape = config(
        channel_groups=groups, fusion=fusion, head=head, vl_width=VL if vl else 0, state_dim=STATE if state else 0
    )
    expert = drawn(ActionExpert(shape))
    write_action_head(expert, tmp_path / "action_head.onnx")
    graph = open_onnx(tmp_path / "action_head.onnx")
    for batch, tokens in ((1, 9), (5, 4), (3, 1)):
        given = context(shape, batch, tokens)
        noise = torch.randn(batch, shape.horizon, shape.action_dim) if head == "flow" else None
        with torch.no_grad():
            expected = expert(given, noise).numpy()
        np.testing.assert_allclose(head_says(graph, given, noise), expected, atol=1e-5, rtol=0)
