"""A Triton repository says of each graph what the graph says of itself, holds the bundle's own files, and is sealed."""

import os
import struct
from math import prod

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from ganglion.core.bundle import open_bundle, seal_bundle
from ganglion.core.errors import BundleError, InputError
from ganglion.core.manifest import FORMAT_VERSION, Manifest
from ganglion.export.pbtxt import to_pbtxt
from ganglion.export.targets import DEVICES as KNOWN
from ganglion.export.triton_device import DEVICES
from ganglion.export.triton_repository import write_repository

pytest.importorskip("tritonclient.grpc", reason="Triton's own reader of configurations is not installed")
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup, ModelOptimizationPolicy

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
PIXELS = {"pixel_values": (FLOAT, "patches", 1176), "image_grid_thw": (INT, "images", 3)}
CACHE = ("batch", 2, "cached_tokens", 32)
# Inputs and outputs as exported graphs have them.
GRAPHS = {
    "vlm/vision": (PIXELS, {"image_features": (FLOAT, "(patches//4)", 128)}),
    "vlm/embed": (
        {"input_ids": (INT, "batch", "tokens"), "image_features": (FLOAT, "image_tokens", 128)},
        {"inputs_embeds": (FLOAT, "batch", "tokens", 128)},
    ),
    "vlm/decoder": (
        {
            "inputs_embeds": (FLOAT, "batch", "tokens", 128),
            "attention_mask": (INT, "batch", "all_tokens"),
            "position_ids": (INT, 3, "batch", "tokens"),
            "logits_at": (INT, "rows"),
            "past.0.key": (FLOAT, *CACHE),
            "past.0.value": (FLOAT, *CACHE),
        },
        {
            "logits": (FLOAT, "batch", "rows", 1024),
            "present.0.key": (FLOAT, "batch", 2, "tokens + cached_tokens", 32),
            "present.0.value": (FLOAT, "batch", 2, "tokens + cached_tokens", 32),
        },
    ),
    "policy/vl_encoder": (
        {
            "pixel_values": (FLOAT, "batch", "patches", 1176),
            "image_grid_thw": (INT, "batch", "images", 3),
            "input_ids": (INT, "batch", "tokens"),
            "position_ids": (INT, "batch", 3, "tokens"),
        },
        {"vl_features": (FLOAT, "batch", "tokens", 128)},
    ),
    "policy/sensor_stream": (
        {
            "samples": (FLOAT, "batch", "13*frames", 6),
            "present": (FLOAT, "batch", "frames", 2),
            "conv_state": (FLOAT, "batch", 24),
            "kv_state": (FLOAT, "batch", 24, 10, 6),
            "seen": (INT, "batch"),
        },
        {
            "frames": (FLOAT, "batch", "frames", 24),
            "conv_state_out": (FLOAT, "batch", 24),
            "kv_state_out": (FLOAT, "batch", 24, 10, 6),
            "seen_out": (INT, "batch"),
        },
    ),
    "policy/action_head": (
        {
            "frames": (FLOAT, "batch", 6, 24),
            "present": (FLOAT, "batch", 6, 2),
            "vl_features": (FLOAT, "batch", "tokens", 128),
            "vl_mask": (FLOAT, "batch", "tokens"),
            "vl_age_s": (FLOAT, "batch"),
        },
        {"actions": (FLOAT, "batch", 8, 7)},
    ),
}
TICK = {"sensor_stream", "action_head"}
BATCHED = {"vl_encoder", *TICK}


def write_graph(path, inputs, outputs, weight=0.0):
    """Such a graph, with a weight and nothing that computes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = [
        [helper.make_tensor_value_info(name, kind, axes) for name, (kind, *axes) in side.items()]
        for side in (inputs, outputs)
    ]
    weights = [helper.make_tensor("weight", FLOAT, [1], [weight])]
    onnx.save(helper.make_model(helper.make_graph([], "graph", *sides, weights)), path)


def write_bundle(root, names=tuple(GRAPHS), weight=0.0):
    for name in names:
        write_graph(root / f"{name}.onnx", *GRAPHS[name], weight)
    return root


def read(path):
    return text_format.Parse(path.read_text(), ModelConfig())


def configs(root):
    return {path.parent.name: read(path) for path in root.glob("triton/*/config.pbtxt")}


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def shapes(tensors):
    return {tensor.name: list(tensor.dims) for tensor in tensors}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    root = write_bundle(tmp_path_factory.mktemp("bundle"))
    write_repository(root, "cpu")
    return root


@pytest.mark.parametrize("device", DEVICES)
def test_on_every_device_every_configuration_is_one_that_triton_reads(tmp_path, device):
    write_repository(write_bundle(tmp_path), device)
    texts = [*tmp_path.glob("triton/*/config.pbtxt"), *tmp_path.glob("triton/*/configs/*.pbtxt")]
    assert len(texts) >= len(GRAPHS) + 1
    for path in texts:
        config = read(path)
        assert config.name == path.relative_to(tmp_path / "triton").parts[0]
        assert config.backend == "onnxruntime" and config.platform == "onnxruntime_onnx"
        assert list(config.version_policy.specific.versions) == [1]
        (group,) = config.instance_group
        assert group.kind == (ModelInstanceGroup.KIND_CPU if device == "cpu" else ModelInstanceGroup.KIND_GPU)
        assert group.count >= 1
        assert int(config.parameters["intra_op_thread_count"].string_value) >= 1
        assert config.parameters["inter_op_thread_count"].string_value == "1"


def test_any_text_is_read_back_as_it_was():
    text = 'a "quoted" \\ word,\nand a line'
    written = to_pbtxt({"name": text, "max_batch_size": 3}, ["a comment"])
    assert text_format.Parse(written, ModelConfig()) == ModelConfig(name=text, max_batch_size=3)


def test_there_is_a_configuration_for_every_device_that_export_knows():
    assert tuple(DEVICES) == KNOWN


def test_names_types_and_axes_are_the_graphs_own(bundle):
    types = {FLOAT: "TYPE_FP32", INT: "TYPE_INT64"}
    found = configs(bundle)
    assert set(found) == {name.split("/")[1] for name in GRAPHS}
    for name, sides in GRAPHS.items():
        config = found[name.split("/")[1]]
        for side, tensors in zip(sides, (config.input, config.output), strict=True):
            assert [tensor.name for tensor in tensors] == list(side)
            for tensor, (kind, *axes) in zip(tensors, side.values(), strict=True):
                assert DataType.Name(tensor.data_type) == types[kind]
                dims = [-1 if isinstance(axis, str) else axis for axis in axes][config.max_batch_size > 0 :]
                assert list(tensor.dims) == (dims or [1])
                assert tensor.HasField("reshape") is (not dims)
                assert list(tensor.reshape.shape) == []


def test_only_graphs_whose_every_tensor_counts_rows_first_are_batched(bundle):
    for name, config in configs(bundle).items():
        assert (config.max_batch_size > 1) is (name in BATCHED), name
        assert config.HasField("dynamic_batching") is (name in BATCHED), name
        assert config.dynamic_batching.max_queue_delay_microseconds == 0
        urgent = config.optimization.priority == ModelOptimizationPolicy.PRIORITY_MAX
        assert urgent is (name in TICK), name


def test_warm_up_names_every_input_in_shapes_that_the_model_takes(bundle):
    for name, config in configs(bundle).items():
        assert config.model_warmup, name
        for sample in config.model_warmup:
            assert sample.inputs.keys() == shapes(config.input).keys()
            for tensor in config.input:
                given = sample.inputs[tensor.name]
                assert given.data_type == tensor.data_type
                assert len(given.dims) == len(tensor.dims)
                pairs = zip(given.dims, tensor.dims, strict=True)
                assert all(size == axis or (axis == -1 and size >= 0) for size, axis in pairs), (name, tensor.name)
        sizes = {sample.batch_size for sample in config.model_warmup}
        assert sizes == ({1, config.max_batch_size} if name in BATCHED else {1})


def test_warm_up_shows_a_picture_whose_grid_is_that_of_its_patches(bundle):
    for name in ("vision", "vl_encoder"):
        sample = configs(bundle)[name].model_warmup[0]
        grid = sample.inputs["image_grid_thw"]
        data = (bundle / "triton" / name / "warmup" / grid.input_data_file).read_bytes()
        assert list(grid.dims) == [1, 3]
        assert prod(struct.unpack("<3q", data)) == sample.inputs["pixel_values"].dims[0]


def test_warm_up_of_a_stream_is_of_whole_hops_and_of_a_prompt_and_a_step_with_what_they_follow(bundle):
    found = configs(bundle)
    for sample in found["sensor_stream"].model_warmup:
        assert sample.inputs["samples"].dims[0] == 13 * sample.inputs["present"].dims[0]
    new = []
    for sample in found["decoder"].model_warmup:
        tokens, cached = sample.inputs["inputs_embeds"].dims[1], sample.inputs["past.0.key"].dims[2]
        assert sample.inputs["attention_mask"].dims[1] == tokens + cached
        new.append((tokens > 1, cached > 0))
    assert new == [(True, False), (False, True)]


@pytest.mark.parametrize("device", DEVICES)
def test_tensorrt_is_what_its_own_device_takes_and_other_gpus_may_be_told_to(tmp_path, device):
    write_repository(write_bundle(tmp_path), device)
    for name in ("vision", "vl_encoder", "sensor_stream", "action_head"):
        folder = tmp_path / "triton" / name
        accelerators = read(folder / "config.pbtxt").optimization.execution_accelerators.gpu_execution_accelerator
        assert [a.name for a in accelerators] == (["tensorrt"] if device == "cuda-tensorrt" else [])
        other = folder / "configs/tensorrt.pbtxt"
        assert other.exists() is (device not in ("cpu", "cuda-tensorrt"))
        if other.exists():
            accelerators = read(other).optimization.execution_accelerators.gpu_execution_accelerator
        for accelerator in accelerators:
            assert accelerator.parameters["precision_mode"] == "FP16"
            assert int(accelerator.parameters["max_workspace_size_bytes"]) >= 2**30
            assert accelerator.parameters["trt_engine_cache_enable"] == "1"
    for name in ("embed", "decoder"):
        assert not (tmp_path / "triton" / name / "configs").exists()


def test_engines_of_other_weights_are_not_found_under_the_same_name(tmp_path):
    prefixes = []
    for weight in (1.0, 2.0, 1.0):
        root = write_bundle(tmp_path / str(len(prefixes)), weight=weight)
        write_repository(root, "cuda-tensorrt")
        (accelerator,) = configs(root)["action_head"].optimization.execution_accelerators.gpu_execution_accelerator
        prefixes.append(accelerator.parameters["trt_engine_cache_prefix"])
    assert prefixes[0] == prefixes[2] != prefixes[1]


def test_a_second_configuration_leaves_the_state_of_a_stream_to_the_server(bundle):
    usual, config = configs(bundle)["sensor_stream"], read(bundle / "triton/sensor_stream/configs/stateful.pbtxt")
    assert shapes(config.input) == {"samples": [1, -1, 6], "present": [1, -1, 2]}
    assert shapes(config.output) == {"frames": [-1, -1, 24]}
    states = {state.input_name: state for state in config.sequence_batching.state}
    assert {name: list(state.dims) for name, state in states.items()} == {
        "conv_state": [1, 24],
        "kv_state": [1, 24, 10, 6],
        "seen": [1],
    }
    for name, state in states.items():
        (fresh,) = state.initial_state
        assert state.output_name == f"{name}_out" and fresh.zero_data
        assert (fresh.data_type, fresh.dims) == (state.data_type, state.dims)
    assert config.sequence_batching.WhichOneof("strategy_choice") == "oldest"
    assert config.max_batch_size == 0 and not config.model_warmup and not config.HasField("dynamic_batching")
    assert not usual.HasField("sequence_batching")


@pytest.mark.parametrize(
    "names",
    [
        ("vlm/embed", "vlm/decoder"),
        ("policy/sensor_stream", "policy/action_head"),
        ("policy/vl_encoder", "policy/action_head"),
    ],
    ids=["language model", "policy without cameras", "policy without sensor"],
)
def test_there_is_a_model_for_each_graph_that_there_is(tmp_path, names):
    write_repository(write_bundle(tmp_path, names), "cuda")
    assert {path.name for path in (tmp_path / "triton").iterdir()} == {name.split("/")[1] for name in names}


def test_a_graph_of_an_unknown_name_is_served_without_warm_up(tmp_path):
    write_graph(tmp_path / "policy/critic.onnx", {"x": (FLOAT, "batch", 3)}, {"y": (FLOAT, "batch")})
    write_repository(tmp_path, "cpu")
    config = configs(tmp_path)["critic"]
    assert shapes(config.input) == {"x": [3]} and config.max_batch_size > 1 and not config.model_warmup


def test_the_same_graphs_give_the_same_bytes(bundle, tmp_path):
    write_repository(write_bundle(tmp_path), "cpu")
    assert content(tmp_path / "triton") == content(bundle / "triton")


def test_model_files_are_the_bundles_own(bundle):
    for name in GRAPHS:
        served = bundle / "triton" / name.split("/")[1] / "1/model.onnx"
        assert served.samefile(bundle / f"{name}.onnx") and not served.is_symlink()


def test_without_hard_links_they_are_copies(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError("Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    write_repository(write_bundle(tmp_path), "cpu")
    for name in GRAPHS:
        served, own = tmp_path / "triton" / name.split("/")[1] / "1/model.onnx", tmp_path / f"{name}.onnx"
        assert not served.samefile(own) and served.read_bytes() == own.read_bytes()


def test_weights_beside_a_graph_come_along_and_are_found(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    weight = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    (tmp_path / "vlm").mkdir()
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", 64])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "vlm/decoder.onnx"
    onnx.save(model, path, save_as_external_data=True, location="decoder.onnx.data", size_threshold=0)
    write_repository(tmp_path, "cpu")
    served = tmp_path / "triton/decoder/1"
    assert (served / "decoder.onnx.data").samefile(tmp_path / "vlm/decoder.onnx.data")
    for file in (served / "model.onnx", path):
        (y,) = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        np.testing.assert_allclose(y, x @ weight, atol=1e-4)


def test_a_bundle_is_sealed_with_it_and_a_changed_configuration_is_noticed(tmp_path):
    write_repository(write_bundle(tmp_path), "cpu")
    seal_bundle(tmp_path, Manifest(FORMAT_VERSION, "test", {}, {}))
    files = open_bundle(tmp_path).manifest.files
    assert files["triton/decoder/1/model.onnx"] == files["vlm/decoder.onnx"]
    with (tmp_path / "triton/decoder/config.pbtxt").open("a") as file:
        file.write("max_batch_size: 4\n")
    with pytest.raises(BundleError, match=r"decoder/config.pbtxt: has changed"):
        open_bundle(tmp_path)


def test_what_can_not_be_described_is_refused(tmp_path):
    with pytest.raises(InputError, match="--device is 'tpu'"):
        write_repository(tmp_path, "tpu")
    with pytest.raises(InputError, match="holds no ONNX graph"):
        write_repository(tmp_path, "cpu")
    write_graph(tmp_path / "policy/action_head.onnx", {"x": (FLOAT, "batch", "tokens + 1")}, {"y": (FLOAT, "batch")})
    with pytest.raises(InputError, match=r"an axis of 'x' is 'tokens \+ 1'"):
        write_repository(tmp_path, "cpu")
    (tmp_path / "policy/action_head.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"action_head.onnx: is no ONNX file"):
        write_repository(tmp_path, "cuda")


@pytest.mark.slow
def test_of_an_exported_policy_it_says_what_onnx_runtime_says(tmp_path):
    torch = pytest.importorskip("torch")
    from ganglion.export.policy_graph import write_action_head, write_sensor_stream
    from ganglion.model.policy.action_expert import ActionExpert
    from ganglion.model.policy.config import PolicyConfig
    from ganglion.model.policy.sensor_encoder import SensorEncoder

    torch.manual_seed(0)
    shape = PolicyConfig(
        channel_groups=(2, 4), hop_samples=13, window_frames=50, horizon=8, action_dim=7, width=24, layers=2, heads=4,
        attention_frames=11, read_frames=6, expert_layers=1, vl_width=10, state_dim=3,
    )  # fmt: skip
    write_sensor_stream(SensorEncoder(shape).eval(), tmp_path / "policy/sensor_stream.onnx")
    write_action_head(ActionExpert(shape).eval(), tmp_path / "policy/action_head.onnx")
    write_repository(tmp_path, "cpu")
    for name, config in configs(tmp_path).items():
        session = ort.InferenceSession(tmp_path / f"policy/{name}.onnx", providers=["CPUExecutionProvider"])
        for tensors, known in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
            expected = {t.name: [-1 if isinstance(n, str) else n for n in t.shape[1:]] or [1] for t in known}
            assert shapes(tensors) == expected
        assert config.max_batch_size == 8
        for sample in config.model_warmup:
            feeds = {
                tensor.name: np.zeros(
                    (2, *sample.inputs[tensor.name].dims[: len(tensor.shape) - 1]),
                    np.int64 if "int64" in tensor.type else np.float32,
                )
                for tensor in session.get_inputs()
            }
            assert all(np.isfinite(value).all() for value in session.run(None, feeds))
