"""Merging: equal to what was trained, which the obvious ways are not."""

import json
import shutil

import pytest
import torch
from adapter_for_test import load_merged_of

from ganglion.core.errors import InputError
from ganglion.export.merge import load_trained, open_adapter
from ganglion.export.parity import ask_torch, compare, take_traces
from ganglion.model.vlm import load_vlm

pytestmark = pytest.mark.slow


def apart(model, prompts, traces):
    """The row of a model against what was trained."""
    return compare(ask_torch(model), prompts, traces, stage="merged", against="trained")[0]


def test_the_merged_model_equals_the_one_that_was_trained(trained):
    folder, traces, prompts = trained
    merged = load_merged_of(folder)
    row = apart(merged, prompts, traces)
    assert row.max_abs <= 1e-4
    assert row.metrics["argmax_agreement"] == 1.0
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    assert not any("lora" in name for name, _ in merged.named_parameters())


def test_a_merged_model_still_equals_it_after_it_has_run(trained):
    """What the AVX512 repacking of bitsandbytes breaks without its guard."""
    folder, traces, prompts = trained
    model = load_trained(open_adapter(folder)).get_base_model()
    apart(model, prompts, traces)
    assert apart(model, prompts, traces).max_abs <= 1e-4


def test_the_adapter_on_the_original_weights_would_not_be_equal(trained):
    from peft import PeftModel

    folder, traces, prompts = trained
    original = load_vlm(open_adapter(folder).base, dtype=torch.float32, device="cpu")
    naive = PeftModel.from_pretrained(original, folder).merge_and_unload().eval()
    assert apart(naive, prompts, traces).max_abs > 1e-2


def test_the_merge_starts_from_weights_rounded_as_in_training(trained, tmp_path):
    """Training in bfloat16 rounds the dequantized weights too; merging into unrounded ones drifts."""
    folder, _, prompts = trained
    half = shutil.copytree(folder, tmp_path / "adapter")
    run = json.loads((half / "run.json").read_text())
    (half / "run.json").write_text(json.dumps(run | {"dtype": "bfloat16"}))
    traces = take_traces(ask_torch(load_trained(open_adapter(half)).get_base_model()), prompts, 0)
    rounded = apart(load_merged_of(half), prompts, traces)
    unrounded = apart(load_merged_of(folder), prompts, traces)
    assert rounded.max_abs < unrounded.max_abs / 3


def test_an_adapter_of_another_base_is_refused_in_one_line(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "adapter")
    with pytest.raises(InputError, match="trained on another base") as refused:
        open_adapter(folder, "offline:qwen2_5_vl?untrained")
    assert "\n" not in str(refused.value)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"base_hash": "0" * 64}))
    with pytest.raises(InputError, match="trained on another base"):
        open_adapter(folder)


@pytest.mark.parametrize("name", ["run.json", "adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_without_its_files_is_refused(trained, tmp_path, name):
    folder = shutil.copytree(trained[0], tmp_path / "adapter")
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"holds no {name}"):
        open_adapter(folder)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "can't be read"), ("[]", "can't be read"), ('{"base": "x"}', "has no key 'base_hash'")]
)
def test_a_run_json_of_another_form_is_refused(trained, tmp_path, text, message):
    folder = shutil.copytree(trained[0], tmp_path / "adapter")
    (folder / "run.json").write_text(text)
    with pytest.raises(InputError, match=message):
        open_adapter(folder)
