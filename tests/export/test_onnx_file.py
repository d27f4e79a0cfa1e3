"""One ONNX file for a module, or a graph with its weights beside it where protobuf's limit is near."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from ganglion.export import onnx_file
from ganglion.export.onnx_file import OPSET, TracedModule, write_onnx

pytestmark = pytest.mark.slow


def write(path):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    write_onnx(layer, (torch.zeros(2, 64),), path, inputs=("x",), outputs=("y",), dynamic=({0: "rows"},))
    return layer


@pytest.mark.parametrize(("limit", "files"), [(None, ["m.onnx"]), (0, ["m.onnx", "m.onnx.data"])])
def test_large_weights_lie_beside_the_graph_and_small_ones_in_it(tmp_path, monkeypatch, limit, files):
    if limit is not None:
        monkeypatch.setattr(onnx_file, "ONE_FILE_BYTES", limit)
    layer = write(tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    (y,) = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert np.allclose(y, layer(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_names_axes_and_opset_are_in_the_file(tmp_path):
    write(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("x", "y")


def test_a_trace_is_written_as_often_as_asked_with_what_is_read_then(tmp_path):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    traced = TracedModule(layer, (torch.zeros(2, 64),), inputs=("x",), outputs=("y",), dynamic=({0: "rows"},))
    traced.write(tmp_path / "a.onnx")
    traced.write(tmp_path / "b.onnx", precision="int8")
    traced.write(tmp_path / "c.onnx", read=lambda parameter: 2 * parameter.detach())
    traced.write(tmp_path / "d.onnx")
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    a, b, c, d = (
        ort.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for name in "abcd"
    )
    assert 1e-6 < np.abs(a - b).max() < 0.1
    assert np.allclose(c, 2 * a, atol=1e-5)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "d.onnx").read_bytes() and np.array_equal(a, d)


def test_a_root_mean_square_norm_is_one_operator_to_the_runtime(tmp_path):
    class Normed(torch.nn.Module):
        def forward(self, x):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight

    module = Normed()
    module.weight = torch.nn.Parameter(torch.rand(8))
    example = torch.zeros(2, 8)
    write_onnx(module, (example,), tmp_path / "m.onnx", inputs=("x",), outputs=("y",), dynamic=({0: "rows"},))
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = ort.InferenceSession(tmp_path / "m.onnx", options, providers=["CPUExecutionProvider"])
    (node,) = onnx.load(tmp_path / "optimized.onnx").graph.node
    assert node.op_type == "SimplifiedLayerNormalization"
    x = torch.randn(5, 8)
    assert np.allclose(session.run(None, {"x": x.numpy()})[0], module(x).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("change", ["a bias less", "another slope", "another buffer"])
def test_traces_that_tests_keep_are_of_modules_that_are_alike(tmp_path, change):
    def write(name, **changes):
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Linear(8, 8, bias=changes.get("bias", True)), torch.nn.LeakyReLU(changes.get("slope", 0.1))
        )
        module.register_buffer("scale", torch.full((8,), changes.get("scale", 1.0)))
        module.forward = lambda x: module[1](module[0](x)) * module.scale
        names = {"inputs": ("x",), "outputs": ("y",), "dynamic": ({0: "rows"},)}
        write_onnx(module, (torch.zeros(2, 8),), tmp_path / name, **names)
        return (tmp_path / name).read_bytes()

    one = write("one.onnx")
    other = {"a bias less": {"bias": False}, "another slope": {"slope": 0.5}, "another buffer": {"scale": 2.0}}[change]
    assert write("same.onnx") == one != write("other.onnx", **other)
