"""One ONNX file for a module, or a graph with its weights beside it where protobuf's limit is near."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from ganglion.export import onnx_file
from ganglion.export.onnx_file import OPSET, write_onnx

pytestmark = pytest.mark.slow


def write(path):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    write_onnx(layer, (torch.zeros(2, 64),), path, inputs=("x",), outputs=("y",), dynamic=({0: "rows"},))
    return layer


@pytest.mark.parametrize(("limit", "files"), [(None, ["m.onnx"]), (0, ["m.onnx", "m.onnx.data"])])
def test_large_weights_lie_beside_the_graph_and_small_ones_in_it(tmp_path, monkeypatch, limit, files):
    if limit is not None:
        monkeypatch.setattr(onnx_file, "_ONE_FILE_BYTES", limit)
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
