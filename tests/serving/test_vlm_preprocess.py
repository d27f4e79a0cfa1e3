"""Served images against the library's own image processor (PIL backend)."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from ganglion.core.errors import InputError
from ganglion.core.images import open_image
from ganglion.serving.vlm.preprocess import ImagePreprocessor

CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
FAMILIES = {
    "qwen2_vl": {"patch_size": 14, **CLIP},
    "qwen2_5_vl": {"patch_size": 14, **CLIP},
    "qwen3_vl": {"patch_size": 16, **HALF},
}
SIZES = [(112, 112), (320, 240), (37, 91), (640, 31), (400, 401)]  # width, height


def settings(family, min_pixels=56 * 56, max_pixels=196 * 196):
    return {
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        **FAMILIES[family],
    }


def picture(width=64, height=48, seed=0, mode="RGB"):
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(image, form):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_and_grid_equal_the_librarys_for_unequal_images_together(family):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    images = [picture(*size, seed=index) for index, size in enumerate(SIZES)]
    reference = Qwen2VLImageProcessorPil(**settings(family))(images=images, return_tensors="np")
    pixel_values, grid = ImagePreprocessor.from_manifest(settings(family))(images)
    assert np.array_equal(grid, reference["image_grid_thw"])
    assert pixel_values.dtype == np.float32
    assert np.abs(pixel_values - reference["pixel_values"]).max() <= 1e-6


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_color_modes_become_the_same_rgb_as_in_the_library(mode):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = picture(mode=mode)
    reference = Qwen2VLImageProcessorPil(**settings("qwen2_vl"))(images=[image], return_tensors="np")
    pixel_values, _ = ImagePreprocessor.from_manifest(settings("qwen2_vl"))([image])
    assert np.abs(pixel_values - reference["pixel_values"]).max() <= 1e-6


def test_bytes_file_image_and_array_of_one_picture_give_the_same_pixels(tmp_path):
    image = picture()
    file = tmp_path / "picture.png"
    file.write_bytes(encoded(image, "PNG"))
    preprocess = ImagePreprocessor.from_manifest(settings("qwen2_vl"))
    forms = [image, np.asarray(image), file, file.read_bytes()]
    first, *others = [preprocess([form])[0] for form in forms]
    assert all(np.array_equal(first, other) for other in others)


def test_a_photograph_stored_on_its_side_is_served_upright():
    exif, stored, image = Image.Exif(), io.BytesIO(), picture()
    exif[ExifTags.Base.Orientation] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(stored, "PNG", exif=exif)
    assert np.array_equal(np.asarray(open_image(stored.getvalue())), np.asarray(image))


def test_tokens_per_image_are_a_quarter_of_its_patches():
    preprocess = ImagePreprocessor.from_manifest(settings("qwen2_vl"))
    _, grid = preprocess([picture(112, 112), picture(224, 56)])
    assert grid.tolist() == [[1, 8, 8], [1, 4, 16]]
    assert preprocess.image_tokens(grid) == [16, 16]


def test_size_stays_within_the_pixel_limits_whatever_the_shape():
    preprocess = ImagePreprocessor.from_manifest(settings("qwen2_vl"))
    for height in (1, 5, 30, 200, 3000):
        for width in (1, 17, 150, 1900):
            if max(height, width) <= 200 * min(height, width):
                high, wide = preprocess.target_size(height, width)
                assert high % 28 == 0 and wide % 28 == 0
                assert high * wide >= 56 * 56


@pytest.mark.parametrize(
    "broken",
    [b"", b"not an image", encoded(picture(), "JPEG")[:-200], encoded(picture(), "PNG")[:100]],
    ids=["empty", "text", "truncated jpeg", "truncated png"],
)
def test_a_corrupt_image_is_one_clear_line(broken):
    with pytest.raises(InputError, match="image 1: can't be decoded") as refused:
        ImagePreprocessor.from_manifest(settings("qwen2_vl"))([picture(), broken])
    assert "\n" not in str(refused.value)


def test_an_image_too_narrow_for_any_patch_is_refused():
    with pytest.raises(InputError, match="too narrow"):
        ImagePreprocessor.from_manifest(settings("qwen2_vl"))([picture(1000, 2)])
