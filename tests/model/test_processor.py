"""The image-only processor: works without torchvision, and sees what its checkpoint says."""

import json

import numpy as np
import pytest
import transformers
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.model.offline import IMAGE_FAMILIES, offline_base
from ganglion.model.processor import load_processor

PATCH = {"qwen2_vl": 14, "qwen2_5_vl": 14, "qwen3_vl": 16, "qwen3_vl_256": 16}


def noise(height: int, width: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_placeholders_match_the_image(family):
    processor = load_processor(offline_base(family, pretext=False))
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Look."}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=[noise(112, 112)], text=[text], return_tensors="pt")
    t, h, w = inputs["image_grid_thw"][0].tolist()
    assert inputs["pixel_values"].shape == (t * h * w, 3 * 2 * PATCH[family] ** 2)
    assert (inputs["input_ids"] == processor.image_token_id).sum() == t * h * w // 4 == 16


def test_patches_hold_the_normalized_pixels():
    processor = load_processor(offline_base("qwen2_vl", pretext=False))
    image = noise(112, 112)
    patches = processor.image_processor([image], return_tensors="pt")["pixel_values"].numpy()
    mean, std = np.array(processor.image_processor.image_mean), np.array(processor.image_processor.image_std)
    expected = ((np.asarray(image) / 255 - mean) / std).transpose(2, 0, 1)
    first = patches[0].reshape(3, 2, 14, 14)
    np.testing.assert_allclose(first[:, 0], expected[:, :14, :14], atol=1e-5)
    np.testing.assert_allclose(first[:, 1], first[:, 0])


def test_the_template_is_qwens():
    processor = load_processor(offline_base("qwen2_vl", pretext=False))
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Look."}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Look.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_text_survives_the_tokenizer():
    tokenizer = load_processor(offline_base("qwen2_vl", pretext=False)).tokenizer
    text = 'Ünïcode 漢字 🤖 {"a_b": -12.5}\n\ttab'
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer("<|im_end|>")["input_ids"] == [tokenizer.eos_token_id]


def test_max_pixels_limits_an_image():
    path = offline_base("qwen2_vl", pretext=False)
    limited = load_processor(path, max_pixels=60 * 60)
    grid = limited.image_processor([noise(300, 300)], return_tensors="pt")["image_grid_thw"]
    assert grid[0].tolist() == [1, 4, 4]
    with pytest.raises(InputError, match="at least 784"):
        load_processor(path, max_pixels=100)


def test_a_hub_style_checkpoint_with_separate_processor_files_loads(tmp_path):
    """What hub checkpoints have: preprocessor_config.json that names the class of long ago, and no processor_config."""
    import shutil

    path = shutil.copytree(offline_base("qwen2_vl", pretext=False), tmp_path / "hub")
    whole = json.loads((path / "processor_config.json").read_text())
    settings = whole["image_processor"] | {"image_processor_type": "Qwen2VLImageProcessor"}
    (path / "preprocessor_config.json").write_text(json.dumps(settings | {"processor_class": "Qwen2VLProcessor"}))
    (path / "processor_config.json").unlink()
    hub, own = load_processor(path), load_processor(offline_base("qwen2_vl", pretext=False))
    image = noise(112, 112)
    pixels = [p.image_processor([image], return_tensors="pt")["pixel_values"] for p in (hub, own)]
    assert (pixels[0] - pixels[1]).abs().max() < 1e-6


def test_a_saved_processor_names_the_class_that_others_know(tmp_path):
    load_processor(offline_base("qwen3_vl", pretext=False)).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert hasattr(transformers, saved["processor_class"])


def test_another_kind_of_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(InputError, match="llava") as caught:
        load_processor(tmp_path)
    assert "\n" not in str(caught.value)
