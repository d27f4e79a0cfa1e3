"""VL features: the text layers' hidden states, at the layer asked for."""

import pytest
import torch
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.model.offline import IMAGE_FAMILIES, offline_base
from ganglion.model.processor import load_processor
from ganglion.model.vl_features import text_depth, vl_features
from ganglion.model.vlm import load_vlm


def inputs_for(path, color="olive"):
    processor = load_processor(path)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hold still."}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return processor(images=[Image.new("RGB", (112, 112), color)], text=[text], return_tensors="pt")


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_the_last_layer_and_the_norm_make_the_models_logits(family):
    path = offline_base(family, pretext=False)
    model, inputs = load_vlm(path), inputs_for(path)
    with torch.no_grad():
        features = vl_features(model, inputs, text_depth(model))
        logits = model.lm_head(model.model.language_model.norm(features))
        assert features.shape == (*inputs["input_ids"].shape, model.config.get_text_config().hidden_size)
        assert torch.equal(logits, model(**inputs).logits)


def test_layers_between_are_transformers_own_hidden_states():
    path = offline_base("qwen2_vl", pretext=False)
    model, inputs = load_vlm(path), inputs_for(path)
    with torch.no_grad():
        states = model.model(**inputs, output_hidden_states=True).hidden_states
        for layer in range(text_depth(model)):
            assert torch.equal(vl_features(model, inputs, layer), states[layer])


def test_nothing_above_the_layer_is_computed():
    path = offline_base("qwen2_vl", pretext=False)
    model, inputs = load_vlm(path), inputs_for(path)
    model.model.language_model.layers[2].register_forward_pre_hook(lambda *_: pytest.fail("layer 3 was computed"))
    assert vl_features(model, inputs, 1) is not None


def test_the_model_is_as_before_afterwards():
    path = offline_base("qwen2_vl", pretext=False)
    model, inputs = load_vlm(path), inputs_for(path)
    with torch.no_grad():
        before = model(**inputs).logits
        vl_features(model, inputs, 2)
        assert torch.equal(model(**inputs).logits, before)


def test_the_image_is_in_them():
    path = offline_base("qwen2_vl", pretext=False)
    model = load_vlm(path)
    with torch.no_grad():
        one, other = (vl_features(model, inputs_for(path, color), 2) for color in ("olive", "navy"))
    assert (one - other)[:, -1].abs().max() > 1e-4


def test_an_adapter_changes_them_and_gets_gradients():
    from peft import LoraConfig, get_peft_model

    path = offline_base("qwen2_vl", pretext=False)
    inputs = inputs_for(path)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    plain = vl_features(load_vlm(path), inputs, 2)
    tuned = vl_features(get_peft_model(load_vlm(path), config), inputs, 2)
    assert (plain - tuned).abs().max() > 1e-3
    tuned.sum().backward()


@pytest.mark.parametrize("layer", [-1, 5])
def test_a_layer_that_is_not_there_is_named(layer):
    path = offline_base("qwen2_vl", pretext=False)
    with pytest.raises(InputError, match="use 0 to 4"):
        vl_features(load_vlm(path), inputs_for(path), layer)
