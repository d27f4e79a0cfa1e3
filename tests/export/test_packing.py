"""Products in 8 and 4 bits: what they compute, and what is left as it is."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from ganglion.export import packing
from ganglion.export.onnx_file import write_onnx
from ganglion.export.packing import packed_bytes

pytestmark = pytest.mark.slow
WIDTH = 80  # no multiple of a block
PRECISIONS = ("float32", "float16", "int8", "int4")


class Attending(nn.Module):
    """Two products with weights, one of them used twice, and one of two activations."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.scale = nn.Parameter(torch.rand(WIDTH))

    def forward(self, x):
        mixed = torch.softmax(x @ x.transpose(1, 2), -1) @ x
        return self.second(self.first(mixed)) * self.scale + self.second(self.first(x))


def written(path, precision, module=None):
    torch.manual_seed(0)
    module = module or Attending()
    args, names = (torch.zeros(2, 3, WIDTH),), {"inputs": ("x",), "outputs": ("y",)}
    write_onnx(module, args, path, dynamic=({0: "batch", 1: "rows"},), precision=precision, **names)
    return module


def answer(path, x):
    (y,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return y


@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-6), ("float16", 2e-3), ("int8", 0.02), ("int4", 0.15)])
def test_it_computes_the_same_within_its_precision(tmp_path, precision, limit):
    module = written(tmp_path / "m.onnx", precision)
    x = np.random.default_rng(0).normal(size=(4, 5, WIDTH)).astype(np.float32)
    want = module(torch.from_numpy(x)).detach().numpy()
    error = np.abs(answer(tmp_path / "m.onnx", x) - want).max() / np.abs(want).max()
    assert error < limit
    assert precision == "float32" or error > 1e-5, "nothing was rounded"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_of_activations_keep_float32_and_a_weight_is_stored_once(tmp_path, precision):
    written(tmp_path / "m.onnx", precision)
    graph = onnx.load(tmp_path / "m.onnx").graph
    kinds = [node.op_type for node in graph.node]
    products = {"int8": "MatMulIntegerToFloat", "int4": "MatMulNBits"}.get(precision, "MatMul")
    assert kinds.count("MatMul") == (6 if products == "MatMul" else 2)
    assert products == "MatMul" or kinds.count(products) == 4
    stored = sum(len(tensor.raw_data) for tensor in graph.initializer)
    weights = sum(packed_bytes(shape, precision) for shape in ((2 * WIDTH, WIDTH), (WIDTH, 2 * WIDTH)))
    assert weights <= stored <= weights + 4000
    assert not any(node.op_type == "Transpose" and node.input[0].endswith("weight") for node in graph.node)


def test_a_column_of_zeros_stays_one(tmp_path):
    module = Attending()
    with torch.no_grad():
        module.second.weight[3] = 0
    for precision in PRECISIONS:
        written(tmp_path / f"{precision}.onnx", precision, module)
        x = np.random.default_rng(0).normal(size=(1, 2, WIDTH)).astype(np.float32)
        assert (answer(tmp_path / f"{precision}.onnx", x)[..., 3] == 0).all()


def test_the_module_is_left_as_it_was(tmp_path):
    module = written(tmp_path / "m.onnx", "int4")
    assert type(module.first.weight.data) is torch.Tensor
    assert torch.isfinite(module(torch.rand(1, 2, WIDTH))).all()


def test_the_same_weights_give_the_same_bytes_and_name_no_place(tmp_path):
    for precision in PRECISIONS:
        files = [tmp_path / f"{precision}{k}.onnx" for k in range(2)]
        for file in files:
            written(file, precision)
        one, other = (file.read_bytes() for file in files)
        assert one == other
        assert b".py" not in one and str(tmp_path).encode() not in one


@pytest.mark.parametrize("precision", ["float16", "int8", "int4"])
def test_a_row_is_the_same_alone_and_beside_one_that_is_far_larger(tmp_path, precision):
    module = written(tmp_path / "m.onnx", precision, nn.Linear(WIDTH, WIDTH))
    x = np.random.default_rng(0).normal(size=(2, 3, WIDTH)).astype(np.float32)
    alone = answer(tmp_path / "m.onnx", x[:1])
    x[1] *= 1000
    assert np.array_equal(answer(tmp_path / "m.onnx", x)[:1], alone)
    want = module(torch.from_numpy(x[:1])).detach().numpy()
    assert np.abs(alone - want).max() / np.abs(want).max() < 0.15


def test_products_of_the_same_activations_share_their_8_bits(tmp_path):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up, self.down = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

        def forward(self, x):
            return self.down(torch.sigmoid(self.gate(x)) * self.up(x))

    written(tmp_path / "m.onnx", "int8", Gated())
    kinds = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 3
    assert kinds.count("QuantizeLinear") == 2


@pytest.mark.parametrize("precision", ["float16", "int8", "int4"])
def test_a_layer_of_rows_without_a_batch_is_packed_too(tmp_path, precision):
    """The exporter writes its product and its bias as one node."""
    torch.manual_seed(0)
    layer, path = nn.Linear(WIDTH, 2 * WIDTH), tmp_path / "m.onnx"
    names = {"inputs": ("x",), "outputs": ("y",)}
    write_onnx(layer, (torch.zeros(3, WIDTH),), path, dynamic=({0: "rows"},), precision=precision, **names)
    stored = sum(len(tensor.raw_data) for tensor in onnx.load(path).graph.initializer)
    assert stored < layer.weight.numel() * 2.1
    x = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32)
    want = layer(torch.from_numpy(x)).detach().numpy()
    assert np.abs(answer(path, x) - want).max() / np.abs(want).max() < 0.15


def test_a_row_of_zeros_gives_the_bias(tmp_path):
    layer = written(tmp_path / "m.onnx", "int8", nn.Linear(WIDTH, WIDTH))
    found = answer(tmp_path / "m.onnx", np.zeros((1, 1, WIDTH), np.float32))
    assert np.array_equal(found[0, 0], layer.bias.detach().numpy())


def test_what_overflows_16_bits_does_not_overflow(tmp_path):
    layer = written(tmp_path / "m.onnx", "float16", nn.Linear(WIDTH, WIDTH))
    x = np.random.default_rng(0).normal(size=(1, 3, WIDTH)).astype(np.float32) * 1e6
    want = layer(torch.from_numpy(x)).detach().numpy()
    assert np.abs(want).max() > np.finfo(np.float16).max
    np.testing.assert_allclose(answer(tmp_path / "m.onnx", x), want, atol=2e-3 * np.abs(want).max(), rtol=0)


def test_products_too_small_to_gain_by_it_keep_float32(tmp_path):
    for precision in PRECISIONS:
        module = written(tmp_path / "m.onnx", precision, nn.Linear(WIDTH, 7))
        x = np.random.default_rng(0).normal(size=(1, 3, WIDTH)).astype(np.float32)
        want = module(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(answer(tmp_path / "m.onnx", x), want, atol=1e-6, rtol=0)


def test_parts_of_a_graph_have_a_precision_each(tmp_path):
    path, module = tmp_path / "m.onnx", Attending()
    names = {"inputs": ("x",), "outputs": ("y",), "precision": {"first.": "int8", "second.": "float16"}}
    write_onnx(module, (torch.zeros(2, 3, WIDTH),), path, dynamic=({0: "batch", 1: "rows"},), **names)
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert stored["first.weight.int8"] == onnx.TensorProto.INT8
    assert stored["second.weight.float16"] == onnx.TensorProto.FLOAT16


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_weight_is_packed_the_same_in_pieces_and_as_a_whole(tmp_path, monkeypatch, precision):
    module = written(tmp_path / "whole.onnx", precision)
    monkeypatch.setattr(packing, "_COPIED", 7 * WIDTH)
    written(tmp_path / "pieces.onnx", precision, module)
    assert (tmp_path / "whole.onnx").read_bytes() == (tmp_path / "pieces.onnx").read_bytes()
