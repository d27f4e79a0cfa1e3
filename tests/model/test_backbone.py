"""The backbone: rows of a batch as they are alone, one layer and nothing above it, the prompt that serving builds."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import describe_backbone, read_facts
from ganglion.model.backbone.views import ViewProcessor
from ganglion.model.checkpoint import resolve_base
from ganglion.model.vlm import load_vlm

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
GOALS = ("Hold.", "Move to the bright mark, slowly, and touch the surface.", "Go.", "Back off!", "Hold.")


def base(family):
    return f"offline:{family}?untrained"


def picture(seed, size=(112, 112)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def jpeg(image):
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


ROWS = (
    [picture(1), picture(2, (60, 140))],
    [picture(3, (200, 90))],
    [],
    [picture(4), picture(5), picture(6, (84, 56))],
    [picture(7)],
)


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    """One that uses three of four text layers: more than Qwen3-VL's deepstack has levels."""
    return Backbone(describe_backbone(base(request.param), 3, precision="float32"), "cpu")


@torch.no_grad()
def test_a_row_of_a_batch_gets_the_features_it_would_get_alone(backbone):
    features, mask = backbone.features(ROWS, GOALS)
    assert features.dtype == torch.float32 and mask.dtype == torch.bool
    assert features.shape == (*mask.shape, backbone.facts.vl_width)
    for row, (images, goal) in enumerate(zip(ROWS, GOALS, strict=True)):
        count = int(mask[row].sum())
        assert mask[row, :count].all() and not features[row, count:].any()
        if not images:
            assert count == 0
            continue
        alone, whole = backbone.features([images], [goal])
        assert whole.all() and alone.shape[1] == count
        torch.testing.assert_close(features[row, :count], alone[0], atol=1e-5, rtol=0)


def test_rows_without_any_image_have_no_token(backbone):
    features, mask = backbone.features([[], []], ["Hold.", "Go."])
    assert len(features) == 2 and not mask.any() and not features.any()


@torch.no_grad()
def test_what_is_dropped_changes_nothing(backbone):
    views = backbone.encode(ROWS, GOALS)
    whole = load_vlm(resolve_base(backbone.facts.base), dtype=torch.float32, device="cpu")
    kept = {}
    whole.model.language_model.layers[3].register_forward_pre_hook(lambda _, given: kept.update(features=given[0]))
    whole(**views.inputs)
    there = views.inputs["attention_mask"].bool()
    assert torch.equal(backbone(views)[0][views.seen][:, : there.shape[1]][there], kept["features"][there])
    used, before = (sum(value.numel() for value in model.parameters()) for model in (backbone.model, whole))
    assert before - used > sum(value.numel() for value in whole.model.language_model.layers[3].parameters())


@pytest.mark.parametrize("layer", [0, 1, 2, 4])
@torch.no_grad()
def test_every_layer_is_transformers_own_hidden_state(layer):
    backbone = Backbone(describe_backbone(base("qwen2_vl"), layer, precision="float32"), "cpu")
    views = backbone.encode([ROWS[0]], GOALS[:1])
    whole = load_vlm(resolve_base(backbone.facts.base), dtype=torch.float32, device="cpu")
    last = {}
    whole.model.language_model.norm.register_forward_pre_hook(lambda _, given: last.update(features=given[0]))
    states = whole.model(**views.inputs, output_hidden_states=True).hidden_states
    assert torch.equal(backbone(views)[0], states[layer] if layer < 4 else last["features"])


def test_half_the_depth_is_the_layer_unless_one_is_named():
    facts = describe_backbone(base("qwen2_vl"))
    assert (facts.vl_layer, facts.vl_width, facts.model_type) == (2, 128, "qwen2_vl")
    assert read_facts({**facts.to_dict(), "seed": 3}, "run.json") == facts


def test_encoded_and_decoded_images_are_the_same_to_it(backbone):
    pictures = [jpeg(image) for image in ROWS[0]]
    decoded = [Image.open(io.BytesIO(data)) for data in pictures]
    first, second = (backbone.encode([images], ["Go."]).inputs["pixel_values"] for images in (pictures, decoded))
    assert torch.equal(first, second)


@torch.no_grad()
def test_images_their_order_and_the_instruction_matter(backbone):
    def features(images, goal="Hold it."):
        return backbone.features([images], [goal])[0][0, -1]

    first = features([picture(1), picture(2)])
    for other in (features([picture(2), picture(1)]), features([picture(1)] * 2), features(ROWS[0][:1] * 2, "Go on.")):
        assert (first - other).abs().max() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cameras", [1, 2, 3])
def test_it_reads_the_tokens_and_pixels_that_serving_reads(family, cameras, tmp_path):
    from ganglion.export.prompt_files import write_prompt_files
    from ganglion.serving.vlm.preprocess import ImagePreprocessor
    from ganglion.serving.vlm.prompt import PromptEncoder

    encode = ViewProcessor(resolve_base(base(family)), max_pixels=100 * 100)
    write_prompt_files(encode.processor, tmp_path)
    preprocess = ImagePreprocessor.from_manifest(encode.image_settings)
    token = encode.processor.tokenizer.convert_tokens_to_ids(encode.processor.image_token)
    prompts = PromptEncoder(tmp_path, token, preprocess.merge_size)
    shown = [jpeg(picture(seed, size)) for seed, size in enumerate([(112, 84), (60, 140), (320, 240)][:cameras])]
    ours = encode([shown], ["Move it 2 mm – then stop."]).inputs
    pixels, grid = preprocess(shown)
    tokens, _ = prompts.encode("Move it 2 mm – then stop.", grid)
    assert np.array_equal(ours["input_ids"].numpy(), tokens)
    assert np.array_equal(ours["image_grid_thw"].numpy(), grid)
    assert np.array_equal(ours["pixel_values"].numpy(), pixels)


def test_facts_tell_apart_what_changes_features():
    first = describe_backbone(base("qwen2_vl"), precision="float32")
    assert describe_backbone(base("qwen2_vl"), precision="float32") == first
    for other in (
        describe_backbone(base("qwen2_vl"), 1, precision="float32"),
        describe_backbone(base("qwen2_vl"), precision="bfloat16"),
        describe_backbone(base("qwen2_vl"), max_pixels=56 * 56, precision="float32"),
        describe_backbone(base("qwen2_5_vl"), precision="float32"),
    ):
        assert dataclasses.replace(other, base=first.base) != first


def test_another_chat_template_or_tokenizer_is_another_prompt():
    encode = ViewProcessor(resolve_base(base("qwen2_vl")))
    before = encode.prompt_digest()
    assert encode.prompt_digest() == before
    encode.processor.chat_template = "Hear me: " + encode.processor.chat_template
    assert encode.prompt_digest() != before


def test_it_computes_in_the_precision_of_its_facts():
    backbone = Backbone(describe_backbone(base("qwen2_vl"), 1, precision="bfloat16"), "cpu")
    assert {value.dtype for value in backbone.model.parameters()} == {torch.bfloat16}
    assert backbone.features([ROWS[0]], ["Go."])[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 5}, "text layer 5 does not exist; use 0 to 4"),
        ({"layer": -1}, "use 0 to 4"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"max_pixels": 3}, "max_pixels is 3"),
        ({"base": "offline:qwen2?untrained"}, "takes no images"),
        ({"base": "no/such folder"}, "no such checkpoint folder"),
    ],
)
def test_a_backbone_that_cannot_be_is_named(options, message):
    with pytest.raises(InputError, match=message):
        describe_backbone(**{"base": base("qwen2_vl"), **options})


def test_facts_with_a_gap_are_refused():
    facts = describe_backbone(base("qwen2_vl")).to_dict()
    del facts["vl_layer"]
    with pytest.raises(InputError, match=r"run\.json: has no key 'vl_layer'"):
        read_facts(facts, "run.json")


@pytest.mark.parametrize(
    ("images", "goal", "message"),
    [
        ([b"no image"], "Go.", "row 0, image 0: can't be decoded"),
        ([jpeg(picture(1)), jpeg(picture(1))[:-300]], "Go.", "row 0, image 1: can't be decoded"),
        ([picture(1)], "Go <|image_pad|> there.", "holds an image placeholder"),
        ([picture(1, (500, 2))], "Go.", "crop them"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(images, goal, message):
    with pytest.raises(InputError, match=message) as refused:
        ViewProcessor(resolve_base(base("qwen2_vl")))([images], [goal])
    assert "\n" not in str(refused.value)
