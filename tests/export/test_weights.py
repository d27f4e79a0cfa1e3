"""Weights read one by one: bit by bit those of the libraries' own merge, with nothing else in memory."""

import json
import shutil

import pytest
import torch
from adapter_for_test import load_merged_of
from safetensors.torch import load_file, save_file

from ganglion.core.errors import InputError
from ganglion.export.weights import ADAPTER_WEIGHTS, CheckpointWeights, MergedWeights, make_skeleton, quantized_names
from ganglion.model.checkpoint import resolve_base
from ganglion.model.vlm import load_vlm

pytestmark = pytest.mark.slow
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2")


def merged_by_peft(base, adapter, quantization, dtype):
    """The libraries' way, for which the whole model is in memory."""
    from peft import PeftModel

    model = load_vlm(base, quantization=quantization, dtype=dtype, device="cpu")
    if quantization:
        model = model.dequantize()
    return PeftModel.from_pretrained(model.float(), adapter).merge_and_unload(safe_merge=True)


@pytest.fixture(scope="module", params=FAMILIES)
def adapted(request, tmp_path_factory):
    """A base, and the folder of an adapter on all its linear layers."""
    from peft import LoraConfig, get_peft_model

    base = resolve_base(f"offline:{request.param}?untrained")
    torch.manual_seed(0)
    model = get_peft_model(load_vlm(base, device="cpu"), LoraConfig(r=4, lora_alpha=6, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return base, folder


@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [("nf4", torch.float32), ("nf4", torch.bfloat16), ("int8", torch.float32), (None, torch.bfloat16)],
    ids=str,
)
def test_every_weight_is_the_one_that_the_libraries_merge_to(adapted, quantization, dtype):
    base, adapter = adapted
    want = dict(merged_by_peft(base, adapter, quantization, dtype).named_parameters(remove_duplicate=False))
    skeleton = make_skeleton(base, quantization)
    quantized = quantized_names(skeleton)
    assert bool(quantized) is bool(quantization)
    found = MergedWeights(
        CheckpointWeights(resolve(base), skeleton), adapter, quantized=quantized, quantization=quantization, dtype=dtype
    )
    assert set(found) == set(want)
    assert all(torch.equal(found[name], want[name]) for name in want)


def test_merged_into_the_original_weights_it_is_another_model(adapted):
    base, adapter = adapted
    want = dict(merged_by_peft(base, adapter, None, torch.float32).named_parameters(remove_duplicate=False))
    found = MergedWeights(CheckpointWeights(resolve(base), make_skeleton(base)), adapter)
    assert all(torch.equal(found[name], want[name]) for name in want)


def test_a_model_filled_with_them_answers_and_keeps_its_ties(trained):
    model = load_merged_of(trained[0])
    assert not model.training and all(p.device.type == "cpu" for p in model.parameters())
    assert model.lm_head.weight is model.get_input_embeddings().weight


def resolve(base):
    from ganglion.model.checkpoint import checkpoint_folder

    return checkpoint_folder(base)


@pytest.fixture
def base_copy(tmp_path):
    return shutil.copytree(resolve_base("offline:qwen2_vl?untrained"), tmp_path / "base")


def changed(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def test_weights_that_are_no_numbers_are_named(base_copy):
    def spoil(tensors):
        tensors[sorted(tensors)[0]].view(-1)[3] = float("nan")

    changed(base_copy / "model.safetensors", spoil)
    weights = CheckpointWeights(base_copy, make_skeleton(base_copy))
    with pytest.raises(InputError, match="holds NaN or infinity in '") as refused:
        list(weights.values())
    assert "\n" not in str(refused.value) and "model.safetensors" in str(refused.value)


def test_missing_weights_are_named(base_copy):
    changed(base_copy / "model.safetensors", lambda tensors: tensors.pop(sorted(tensors)[-1]))
    with pytest.raises(InputError, match="lacks the weights"):
        CheckpointWeights(base_copy, make_skeleton(base_copy))


def test_a_truncated_file_is_named(base_copy):
    file = base_copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="can't be read"):
        CheckpointWeights(base_copy, make_skeleton(base_copy))


def test_a_checkpoint_in_several_files_is_read_as_one(base_copy):
    whole = load_file(base_copy / "model.safetensors")
    names = sorted(whole)
    (base_copy / "model.safetensors").unlink()
    for part in range(3):
        save_file({name: whole[name] for name in names[part::3]}, base_copy / f"model-{part}.safetensors")
    found = CheckpointWeights(base_copy, make_skeleton(base_copy))
    assert len(found) >= len(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.update({"base_model.model.lost.lora_A.weight": torch.zeros(4, 8)}),
            "adapts 'lost', which the base",
        ),
        (lambda t: t.update({"base_model.model.lm_head.bias": torch.zeros(4)}), "which is no LoRA matrix"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(trained, tmp_path, change, message):
    adapter = shutil.copytree(trained[0], tmp_path / "adapter")
    changed(adapter / ADAPTER_WEIGHTS, change)
    if "lost" in message:
        changed(
            adapter / ADAPTER_WEIGHTS, lambda t: t.update({"base_model.model.lost.lora_B.weight": torch.zeros(8, 4)})
        )
    with pytest.raises(InputError, match=message):
        load_merged_of(adapter)


@pytest.mark.parametrize(
    ("key", "value"), [("use_rslora", True), ("rank_pattern", {"q_proj": 2}), ("peft_type", "IA3")]
)
def test_an_adapter_of_another_kind_is_refused(trained, tmp_path, key, value):
    adapter = shutil.copytree(trained[0], tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(InputError, match="is no plain LoRA"):
        load_merged_of(adapter)
