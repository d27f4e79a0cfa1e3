"""Loading a VLM: 4-bit weights stay what they are, whatever runs on them."""

import bitsandbytes as bnb
import pytest
import torch
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.model.offline import IMAGE_FAMILIES, offline_base
from ganglion.model.processor import load_processor
from ganglion.model.vlm import guard_nf4, load_vlm, preferred_dtype


def inputs_for(path):
    processor = load_processor(path)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Look."}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return processor(images=[Image.new("RGB", (112, 112), "olive")], text=[text], return_tensors="pt")


def dequantized(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.dequantize().state_dict().items()}


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_weights_dequantize_to_the_same_after_an_eval_forward(family):
    path = offline_base(family, pretext=False)
    fresh = dequantized(load_vlm(path, quantization="nf4"))
    used = load_vlm(path, quantization="nf4")
    with torch.no_grad():
        used.eval()(**inputs_for(path))
    after = dequantized(used)
    assert fresh.keys() == after.keys()
    assert all(torch.equal(fresh[name], after[name]) for name in fresh)


def test_4_bit_logits_are_those_of_the_dequantized_weights():
    path = offline_base("qwen2_vl", pretext=False)
    inputs = inputs_for(path)
    with torch.no_grad():
        quantized = load_vlm(path, quantization="nf4")(**inputs).logits
        plain = load_vlm(path, quantization="nf4").dequantize()(**inputs).logits
        original = load_vlm(path)(**inputs).logits
    assert (quantized - plain).abs().max() < 1e-4
    assert (quantized - original).abs().max() > 1e-3


def test_every_linear_but_the_head_is_nf4_with_double_quantization():
    model = load_vlm(offline_base("qwen2_vl", pretext=False), quantization="nf4")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and name != "lm_head"}
    assert layers
    for layer in layers.values():
        assert isinstance(layer, bnb.nn.Linear4bit)
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested
        assert not layer.support_avx512bf16_for_cpu
    assert not isinstance(model.lm_head, bnb.nn.Linear4bit)


@pytest.mark.parametrize("width", [64, 100, 3420])
def test_a_guarded_layer_is_exact_at_any_width(width):
    """3420 is the vision feed-forward of Qwen2.5-VL; the repacking that the guard forbids fails there."""
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(width, 32, compute_dtype=torch.float32, quant_type="nf4")
    layer.load_state_dict({"weight": torch.randn(32, width), "bias": torch.randn(32)})
    layer = layer.to("cpu").eval()
    assert guard_nf4(torch.nn.Sequential(layer)) == 1
    weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    x = torch.randn(3, width)
    with torch.no_grad():
        assert (layer(x) - (x @ weight.T + layer.bias)).abs().max() < 1e-3
    again = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    assert torch.equal(weight, again)


def test_an_adapter_trains_after_an_eval_forward_on_4_bit_weights():
    from peft import LoraConfig, get_peft_model

    path = offline_base("qwen2_vl", pretext=False)
    inputs = inputs_for(path)
    model = get_peft_model(load_vlm(path, quantization="nf4"), LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        model.eval()(**inputs)
    loss = model.train()(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "lora_B" in name)


def test_small_models_compute_in_float32_on_a_cpu_and_wide_ones_in_bfloat16():
    model = load_vlm(offline_base("qwen2_vl", pretext=False), device="cpu")
    assert model.dtype == torch.float32
    config = model.config
    config.get_text_config().hidden_size = 1536
    assert preferred_dtype(config, torch.device("cpu")) == torch.bfloat16


def test_a_dtype_asked_for_is_taken():
    assert load_vlm(offline_base("qwen2_vl", pretext=False), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    path = offline_base("qwen2_vl", pretext=False)
    with pytest.raises(InputError, match="unknown quantization 'int3'"):
        load_vlm(path, quantization="int3")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InputError) as caught:
        load_vlm(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        load_vlm("no-such/checkpoint-anywhere")
    assert "\n" not in str(caught.value)
