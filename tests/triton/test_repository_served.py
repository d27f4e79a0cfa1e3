"""A bundle's repository in a real Triton server: every model loads and is warm, and answers as ONNX Runtime does."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest
from triton_for_test import Server

pytestmark = pytest.mark.triton

MODELS = {
    "vision": "vlm", "embed": "vlm", "decoder": "vlm",
    "vl_encoder": "policy", "sensor_stream": "policy", "action_head": "policy",
}  # fmt: skip


def session(bundle, model):
    return ort.InferenceSession(bundle / MODELS[model] / f"{model}.onnx", providers=["CPUExecutionProvider"])


def pixels(random, *grids):
    grid = np.array(grids)
    return {
        "pixel_values": random.standard_normal((int(grid.prod(-1).sum()), 1176), np.float32),
        "image_grid_thw": grid,
    }


def decoder_feeds(random, tokens, cached):
    past = {f"past.{layer}.{part}": (2, 2, cached, 32) for layer in range(2) for part in ("key", "value")}
    return {
        "inputs_embeds": random.standard_normal((2, tokens, 128), np.float32),
        "attention_mask": np.ones((2, cached + tokens), np.int64),
        "position_ids": np.tile(np.arange(cached, cached + tokens), (3, 2, 1)),
        "logits_at": np.array([tokens - 1]),
        **{name: random.standard_normal(shape, np.float32) for name, shape in past.items()},
    }


def hop(random, rows=1, frames=1):
    return {
        "samples": random.standard_normal((rows, 13 * frames, 6), np.float32),
        "present": (random.random((rows, frames, 2)) < 0.7).astype(np.float32),
        "conv_state": random.standard_normal((rows, 24), np.float32),
        "kv_state": random.standard_normal((rows, 16, 10, 6), np.float32),
        "seen": random.integers(0, 40, (rows, 1)),
    }


def tick(random, rows=1, tokens=20):
    return {
        "frames": random.standard_normal((rows, 6, 24), np.float32),
        "present": (random.random((rows, 6, 2)) < 0.7).astype(np.float32),
        "vl_features": random.standard_normal((rows, tokens, 128), np.float32),
        "vl_mask": np.ones((rows, tokens), np.float32),
        "vl_age_s": random.random((rows, 1), np.float32),
        "state": random.standard_normal((rows, 3), np.float32),
        "state_known": np.ones((rows, 1), np.float32),
    }


FEEDS = {
    "two pictures": ("vision", lambda r: pixels(r, (1, 4, 8), (1, 8, 8))),
    "a prompt with a picture": (
        "embed",
        lambda r: {
            "input_ids": r.integers(0, 1000, (2, 30)),
            "image_features": r.standard_normal((8, 128), np.float32),
        },
    ),
    "a token without a picture": (
        "embed",
        lambda r: {"input_ids": r.integers(0, 1000, (1, 1)), "image_features": np.zeros((0, 128), np.float32)},
    ),
    "a prompt": ("decoder", lambda r: decoder_feeds(r, tokens=7, cached=0)),
    "a step": ("decoder", lambda r: decoder_feeds(r, tokens=1, cached=9)),
    "picture and instruction": (
        "vl_encoder",
        lambda r: {
            **{name: value[None] for name, value in pixels(r, (1, 8, 8)).items()},
            "input_ids": r.integers(0, 1000, (1, 25)),
            "position_ids": np.tile(np.arange(25), (1, 3, 1)),
        },
    ),
    "a hop": ("sensor_stream", hop),
    "hops of three robots": ("sensor_stream", lambda r: hop(r, rows=3, frames=2)),
    "a tick": ("action_head", tick),
    "ticks of three robots": ("action_head", lambda r: tick(r, rows=3)),
}


def expected(graph, feeds):
    """What ONNX Runtime answers; one number a row is an axis less in a graph than in Triton."""
    ranks = {tensor.name: len(tensor.shape) for tensor in graph.get_inputs()}
    given = {name: value.reshape(value.shape[: ranks[name]]) for name, value in feeds.items()}
    names = [tensor.name for tensor in graph.get_outputs()]
    return dict(zip(names, graph.run(names, given), strict=True))


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        shape = value.shape if value.ndim > 1 else (*value.shape, 1)
        assert found[name].shape == shape, name
        np.testing.assert_allclose(found[name], value.reshape(shape), atol=1e-5, rtol=0, err_msg=name)


def runs_by_batch_size(server, model):
    (stats,) = server.get(f"/v2/models/{model}/stats")["model_stats"]
    return Counter({run["batch_size"]: run["compute_infer"]["count"] for run in stats["batch_stats"]})


def test_every_model_is_ready_and_was_run_on_every_warm_up_sample(server):
    index = {model["name"]: model["state"] for model in server.get("/v2/repository/index")}
    assert index == dict.fromkeys(MODELS, "READY")
    log = server.log.read_text()
    for model in MODELS:
        samples = server.get(f"/v2/models/{model}/config")["model_warmup"]
        assert samples
        for sample in samples:
            assert f"model '{model}' instance {model}_0_0 is running warmup sample '{sample['name']}'" in log


@pytest.mark.parametrize("model", MODELS)
def test_the_server_knows_the_tensors_that_onnx_runtime_finds_in_the_graph(server, bundle, model):
    config, graph = server.get(f"/v2/models/{model}/config"), session(bundle, model)
    batched = config["max_batch_size"] > 0
    for side, tensors in (("input", graph.get_inputs()), ("output", graph.get_outputs())):
        found = {tensor["name"]: [int(size) for size in tensor["dims"]] for tensor in config[side]}
        axes = {t.name: [size if isinstance(size, int) else -1 for size in t.shape][batched:] for t in tensors}
        assert found == {name: sizes or [1] for name, sizes in axes.items()}


@pytest.mark.parametrize(("model", "make"), FEEDS.values(), ids=FEEDS)
def test_it_answers_as_onnx_runtime_does(server, bundle, model, make):
    feeds = make(np.random.default_rng(7))
    assert_same(server.infer(model, feeds), expected(session(bundle, model), feeds))


@pytest.mark.parametrize(("model", "make"), [("sensor_stream", hop), ("action_head", tick)])
def test_robots_that_ask_at_once_share_batches_and_get_what_each_would_get_alone(server, bundle, model, make):
    random, graph = np.random.default_rng(8), session(bundle, model)
    robots = [make(random) for _ in range(12)]
    before = runs_by_batch_size(server, model)
    with ThreadPoolExecutor(len(robots)) as pool:
        answers = list(pool.map(lambda feeds: server.infer(model, feeds), robots))
    runs = runs_by_batch_size(server, model)
    runs.subtract(before)
    for feeds, found in zip(robots, answers, strict=True):
        assert_same(found, expected(graph, feeds))
    # Two instances take a robot each and are busy; the others wait together, for a batch of eight at most.
    assert sum(size * count for size, count in runs.items()) == len(robots)
    assert max(size for size, count in runs.items() if count) >= 3


def test_robots_with_unequal_numbers_of_hops_are_all_answered(server, bundle):
    random, graph = np.random.default_rng(9), session(bundle, "sensor_stream")
    robots = [hop(random, frames=frames) for frames in (1, 4, 1, 4, 50, 1)]
    with ThreadPoolExecutor(len(robots)) as pool:
        for feeds, found in zip(robots, pool.map(lambda x: server.infer("sensor_stream", x), robots), strict=True):
            assert_same(found, expected(graph, feeds))


def test_a_wrong_shape_is_refused_by_name(server):
    feeds = hop(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"samples.*shape|shape.*samples"):
        server.infer("sensor_stream", {**feeds, "samples": feeds["samples"][..., :5]})


def test_told_to_hold_the_state_it_asks_for_a_sequence_and_ends_cleanly_on_sigterm(bundle, tmp_path):
    server = Server(bundle / "triton", tmp_path, "--model-config-name=stateful", "--model-control-mode=explicit",
                    "--load-model=sensor_stream")  # fmt: skip
    try:
        server.wait_until_ready()
        config = server.get("/v2/models/sensor_stream/config")
        states = config["sequence_batching"]["state"]
        feeds = {name: value for name, value in hop(np.random.default_rng(0)).items() if name in ("samples", "present")}
        with pytest.raises(ValueError, match="correlation ID"):
            server.infer("sensor_stream", feeds)
        held = server.shared_memory()
    finally:
        status = server.stop()
    assert [state["input_name"] for state in states] == ["conv_state", "kv_state", "seen"]
    assert held and status == 0
    assert server.shared_memory() == []
