"""A table takes 16 bits where they hold it exactly, and looks up the same rows."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from ganglion.export.onnx_file import write_onnx

pytestmark = pytest.mark.slow


class Looked(torch.nn.Module):
    """Rows of a table, with `twice` less other rows of it, with `tied` multiplied by it."""

    def __init__(self, weight, tied=False, twice=False):
        super().__init__()
        self.table, self.tied, self.twice = torch.nn.Embedding.from_pretrained(weight), tied, twice

    def forward(self, ids):
        rows = self.table(ids) - self.table(ids // 2) if self.twice else self.table(ids)
        return rows @ self.table.weight.T if self.tied else rows


def write(module, path):
    ids = torch.zeros(2, 3, dtype=torch.int64)
    write_onnx(module, (ids,), path, inputs=("ids",), outputs=("rows",), dynamic=({0: "batch", 1: "tokens"},))
    kinds = {onnx.TensorProto.DataType.Name(one.data_type) for one in onnx.load(path).graph.initializer if one.dims}
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    asked = np.random.default_rng(1).integers(0, 40_000, (4, 5))
    (found,) = session.run(None, {"ids": asked})
    return kinds, found, module(torch.from_numpy(asked)).detach().numpy()


def weight(dtype):
    return torch.randn(40_000, 8, generator=torch.Generator().manual_seed(0)).to(dtype).float()


@pytest.mark.parametrize(("dtype", "stored"), [(torch.bfloat16, "BFLOAT16"), (torch.float32, "FLOAT")])
def test_a_table_is_stored_in_what_holds_it(tmp_path, dtype, stored):
    kinds, found, wanted = write(Looked(weight(dtype)), tmp_path / "m.onnx")
    assert kinds == {stored} and np.array_equal(found, wanted)
    assert found.dtype == np.float32


def test_a_table_that_is_looked_up_twice(tmp_path):
    kinds, found, wanted = write(Looked(weight(torch.bfloat16), twice=True), tmp_path / "m.onnx")
    assert kinds == {"BFLOAT16"} and np.array_equal(found, wanted)


def test_a_small_table_stays_as_it_is(tmp_path):
    kinds, found, wanted = write(Looked(weight(torch.bfloat16)[:, :1]), tmp_path / "m.onnx")
    assert kinds == {"FLOAT"} and np.array_equal(found, wanted)


def test_one_value_that_does_not_fit_keeps_all_of_it(tmp_path):
    almost = weight(torch.bfloat16)
    almost[39_999, 7] = 1 + 2**-20
    kinds, found, wanted = write(Looked(almost), tmp_path / "m.onnx")
    assert kinds == {"FLOAT"} and np.array_equal(found, wanted)


def test_a_table_that_is_multiplied_too_stays_as_it_is(tmp_path):
    kinds, found, wanted = write(Looked(weight(torch.bfloat16), tied=True), tmp_path / "m.onnx")
    assert kinds == {"FLOAT"} and np.allclose(found, wanted, atol=1e-5)
