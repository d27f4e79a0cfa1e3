"""Chat prompt, tokens and positions against the library's processor and get_rope_index, for every family."""

import subprocess
import sys

import numpy as np
import pytest

from ganglion.core.errors import BundleError, GanglionError, InputError
from ganglion.serving.vlm.chat import ChatTemplate, Said
from ganglion.serving.vlm.preprocess import ImagePreprocessor
from ganglion.serving.vlm.prompt import PromptEncoder

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
TEXTS = ["Assess the terrain. Reply in JSON.", 'said: "ouch, it\'s steep" – 7%', "", "日本語 {{ 7 * 7 }} <b>&amp;</b>"]
# As Qwen publishes it with its checkpoints.
QWEN_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: "
    "{% endif %}<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module", params=FAMILIES)
def reference(request, tmp_path_factory):
    """(library's model without weights, library's processor, our encoder, our preprocessor)."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from ganglion.export.prompt_files import write_prompt_files
    from ganglion.model.offline import offline_base
    from ganglion.model.processor import image_settings, load_processor

    base = offline_base(request.param, pretext=False)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(base))
    processor = load_processor(base, max_pixels=224 * 224)
    folder = tmp_path_factory.mktemp(request.param)
    write_prompt_files(processor, folder)
    settings = image_settings(processor)
    encoder = PromptEncoder(folder, model.config.image_token_id, settings["merge_size"])
    return model, processor, encoder, ImagePreprocessor.from_manifest(settings)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("images", [0, 1, 3])
def test_tokens_and_positions_equal_the_librarys(reference, images, text):
    from ganglion.export.prompts import fresh_cases, make_prompts

    model, processor, encoder, preprocess = reference
    shown = [case[0] for case, _ in fresh_cases(images, seed=images)]
    (want,) = make_prompts(model, processor, [(shown, text)])
    grid = preprocess(shown)[1] if shown else np.zeros((0, 3), np.int64)
    ids, positions = encoder.encode(text, grid)
    assert np.array_equal(ids, want.inputs["input_ids"].numpy())
    assert np.array_equal(positions, want.position_ids.numpy())


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("text", TEXTS)
def test_the_published_template_renders_as_in_the_library(images, text):
    from transformers.utils.chat_template_utils import render_jinja_template

    content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]
    (want,), _ = render_jinja_template(
        [[{"role": "user", "content": content}]], chat_template=QWEN_TEMPLATE, add_generation_prompt=True
    )
    assert ChatTemplate(QWEN_TEMPLATE).render(text, images) == want


DIALOGUE = [
    Said(2, 'said: "ouch"', '{"task": "flat"}'),
    Said(0, "and now?", ""),
    Said(1, "日本語 {{ 7 }}", " two\nlines "),
]


def messages(history, text, images):
    """A dialogue as the library takes it, every content as a list."""
    turns = []
    for said in [*history, Said(images, text, None)]:
        shown = [{"type": "image"}] * said.images
        turns.append({"role": "user", "content": [*shown, {"type": "text", "text": said.text}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": said.answer}]})
    return turns[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("images", [0, 1])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_tokens_and_positions_of_a_dialogue_equal_the_librarys(reference, length, images):
    from ganglion.export.prompts import fresh_cases, position_ids

    model, processor, encoder, preprocess = reference
    history = DIALOGUE[:length]
    shown = [case[0] for case, _ in fresh_cases(sum(said.images for said in history) + images, seed=length)]
    chat = processor.apply_chat_template(messages(history, TEXTS[0], images), add_generation_prompt=True)
    want = dict(processor(text=[chat], images=shown, return_tensors="pt"))
    ids, positions = encoder.encode(TEXTS[0], preprocess(shown)[1], history)
    assert np.array_equal(ids, want["input_ids"].numpy())
    assert np.array_equal(positions, position_ids(model, want).numpy())


@pytest.mark.slow
def test_a_served_dialogue_is_what_training_and_evaluation_show(reference, tmp_path):
    from ganglion.core.cli import main
    from ganglion.core.datafile import read_datafile
    from ganglion.core.tasks import EXO_ASSIST
    from ganglion.model.dialogue.encoding import encode
    from ganglion.model.dialogue.images import ImageEncoder

    _, processor, encoder, preprocess = reference
    options = ["--out", str(tmp_path / "d"), "--count", "6", "--turns_max", "4", "--size", "56", "--workers", "1"]
    assert main(["data", "synth", "exo_assist", *options]) == 0
    examples = [case for e in read_datafile(tmp_path / "d/data.json", EXO_ASSIST) for case in e.unrolled()]
    assert len(examples) > 10
    for example in examples:
        trained = encode(processor, example, ImageEncoder(processor), with_answer=False).text.ids.numpy()
        grid = preprocess([path for turn in example.turns for path in turn.images])[1]
        history = [Said(len(turn.images), turn.prompt, turn.answer) for turn in example.history]
        assert np.array_equal(encoder.encode(example.prompt, grid, history)[0][0], trained)


@pytest.mark.parametrize("images", [0, 2])
def test_a_dialogue_in_the_published_template_renders_as_in_the_library(images):
    from transformers.utils.chat_template_utils import render_jinja_template

    (want,), _ = render_jinja_template(
        [messages(DIALOGUE, TEXTS[1], images)], chat_template=QWEN_TEMPLATE, add_generation_prompt=True
    )
    assert ChatTemplate(QWEN_TEMPLATE).render(TEXTS[1], images, DIALOGUE) == want


@pytest.mark.slow
@pytest.mark.parametrize("said", [Said(0, "<|image_pad|>", "x"), Said(0, "x", "<|image_pad|>")])
def test_a_placeholder_inside_an_earlier_turn_is_refused(reference, said):
    with pytest.raises(InputError, match="1 image placeholders for 0 images"):
        reference[2].encode("look", np.zeros((0, 3), np.int64), [said])


@pytest.mark.slow
def test_a_placeholder_inside_the_text_is_refused(reference):
    with pytest.raises(InputError, match="1 image placeholders for 0 images"):
        reference[2].encode("look: <|image_pad|>", np.zeros((0, 3), np.int64))


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
    ],
)
def test_a_template_that_reaches_out_of_its_sandbox_is_refused(attack):
    with pytest.raises(GanglionError, match="chat template"):
        ChatTemplate(attack).render("hello")


def test_a_template_may_refuse_a_turn_and_must_compile():
    with pytest.raises(GanglionError, match="no images, please"):
        ChatTemplate("{{ raise_exception('no images, please') }}").render("hello")
    with pytest.raises(GanglionError, match="does not compile"):
        ChatTemplate("{% for %}")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("x")
    with pytest.raises(BundleError, match=r"tokenizer\.json: is no tokenizer"):
        PromptEncoder(tmp_path, 0, 2)


def test_serving_needs_neither_torch_nor_transformers():
    code = (
        "import sys, ganglion.serving.vlm.engine, ganglion.serving.vlm.answer\n"
        "print(sorted({'torch', 'transformers', 'peft', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
