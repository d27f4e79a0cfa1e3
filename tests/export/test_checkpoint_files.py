"""A merged model as a checkpoint: what the library loads from it is what was merged."""

import json

import pytest
import torch

from ganglion.export.checkpoint_files import INDEX, write_checkpoint
from ganglion.export.merge import merged_weights, open_adapter
from ganglion.export.weights import CheckpointWeights, filled, make_skeleton
from ganglion.model.checkpoint import checkpoint_folder
from ganglion.model.processor import load_processor
from ganglion.model.vlm import load_vlm

pytestmark = pytest.mark.slow


def write(adapter_folder, out, dtype=torch.float32, **options):
    adapter = open_adapter(adapter_folder)
    folder = checkpoint_folder(adapter.base)
    write_checkpoint(CheckpointWeights(folder, make_skeleton(folder)), merged_weights(adapter), out, dtype, **options)
    return filled(make_skeleton(folder), merged_weights(adapter))


def same(model, other, dtype=torch.float32):
    wanted = dict(other.named_parameters(remove_duplicate=False))
    found = dict(model.named_parameters(remove_duplicate=False))
    assert set(found) == set(wanted)
    return all(torch.equal(found[name], wanted[name].to(dtype)) for name in wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_library_loads_the_merged_weights(trained, tmp_path, dtype):
    merged = write(trained[0], tmp_path / "hf", dtype)
    assert json.loads((tmp_path / "hf/config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert same(load_vlm(tmp_path / "hf", dtype=dtype, device="cpu"), merged, dtype)
    assert load_processor(tmp_path / "hf").apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert not (tmp_path / "hf" / INDEX).exists()


def test_a_large_one_is_written_in_parts_that_hold_all_of_it(trained, tmp_path):
    merged = write(trained[0], tmp_path / "hf", shard_bytes=1_000_000)
    files = sorted(path.name for path in (tmp_path / "hf").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert set(json.loads((tmp_path / "hf" / INDEX).read_text())["weight_map"].values()) == set(files)
    assert same(load_vlm(tmp_path / "hf", dtype=torch.float32, device="cpu"), merged)
