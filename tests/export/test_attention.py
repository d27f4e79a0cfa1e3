"""Attention with shared keys and values: what it computes, and that the graphs don't repeat the cache for it."""

import onnx
import pytest
import torch
from torch.nn import functional as F

from ganglion.export.attention import grouped, grouped_attention

B, HEADS, NEW, ALL, WIDTH = 2, 6, 3, 7, 8


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_it_equals_torchs_own_with_a_mask_of_each_row(groups):
    torch.manual_seed(0)
    query, key, value = (torch.randn(B, n, t, WIDTH) for n, t in ((HEADS, NEW), (groups, ALL), (groups, ALL)))
    allowed = torch.ones(B, 1, NEW, ALL, dtype=torch.bool).tril(ALL - NEW)
    allowed[1, :, :, :2] = False
    mask = torch.where(allowed, 0.0, torch.finfo(torch.float32).min)
    found, weights = grouped_attention(torch.nn.Module(), query, key, value, mask, 0.3)
    want = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=0.3, enable_gqa=True)
    assert weights is None
    assert torch.allclose(found, want.transpose(1, 2), atol=1e-6)


def test_it_is_the_librarys_only_within():
    class Config:
        _attn_implementation = "sdpa"

    config = Config()
    with pytest.raises(ZeroDivisionError), grouped(config):
        assert config._attn_implementation != "sdpa"
        1 / 0  # noqa: B018
    assert config._attn_implementation == "sdpa"


@pytest.mark.slow
def test_the_decoder_multiplies_with_its_cache_as_it_is(exported):
    """Repeated for each head, the cache would be copied at every token."""
    graph = onnx.load(exported.folder / "decoder.onnx").graph
    readers = {name: [node for node in graph.node if name in node.input] for node in graph.node for name in node.output}
    caches = [output.name for output in graph.output if output.name.startswith("present.")]
    assert len(caches) == 4
    for name in caches:
        (node,) = readers[name]
        while node.op_type in ("Unsqueeze", "Transpose"):
            (node,) = readers[node.output[0]]
        assert node.op_type == "MatMul"
