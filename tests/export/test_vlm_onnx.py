"""The exported graphs against the torch model, for every family, on images and sizes they were not traced with."""

import copy
import functools

import numpy as np
import pytest
import torch

from ganglion.core.errors import InputError
from ganglion.export.onnx_runner import OnnxVlm
from ganglion.export.onnx_vlm import LANGUAGE_MODELS, VlmGraphs
from ganglion.export.parity import ask_onnx, ask_torch, compare, take_traces
from ganglion.export.prompts import Prompt, fresh_cases, make_prompts, position_ids, vl_feeds
from ganglion.export.text_graph import HiddenStatesGraph
from ganglion.model.backbone.backbone import cut, hidden_states

pytestmark = pytest.mark.slow
NEVER = 1 << 30  # as the token that ends an answer: both go on for all 32
CASES = {"one image": 1, "three unequal images": 3, "text only": 0}


def prompt_with(exported, images):
    shown = [case_images[0] for case_images, _ in fresh_cases(images, seed=images)]
    (prompt,) = make_prompts(exported.model, exported.processor, [(shown, "What lies ahead?")])
    if images:
        assert len({tuple(grid) for grid in prompt.inputs["image_grid_thw"].tolist()}) == images
    return prompt


def batch_with(exported, images, rows):
    """Prompts with images of their own, the later ones longer, padded on the left."""
    cases = fresh_cases(max(images * rows, 1), seed=images)
    shown = [[case[0][0] for case in cases[row * images : (row + 1) * images]] for row in range(rows)]
    chats = [
        exported.processor.apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [{"type": "image"}] * images + [{"type": "text", "text": "And now? " * (row + 1)}],
                }
            ],
            add_generation_prompt=True,
            tokenize=False,
        )
        for row in range(rows)
    ]
    exported.processor.tokenizer.padding_side = "left"
    flat = [image for row in shown for image in row] or None
    batch = dict(exported.processor(text=chats, images=flat, padding=True, return_tensors="pt"))
    if images:
        assert len({tuple(grid) for grid in batch["image_grid_thw"].tolist()}) >= images
    return batch


def against_torch(exported, prompts, steps):
    traces = take_traces(ask_torch(exported.model), prompts, steps)
    return compare(ask_onnx(OnnxVlm(exported.folder)), prompts, traces, stage="onnx", against="merged")


def numpy_inputs(inputs):
    return {name: value.numpy() for name, value in inputs.items()}


@pytest.mark.parametrize("rows", [1, 3], ids=["alone", "three prompts"])
@pytest.mark.parametrize("images", CASES.values(), ids=CASES)
def test_logits_and_64_greedy_tokens_equal_the_torch_model(exported, images, rows):
    model, inputs = exported.model, batch_with(exported, images, rows)
    mask, length = inputs["attention_mask"].bool(), inputs["input_ids"].shape[1]
    assert rows == 1 or not mask.all(), "nothing was padded"
    onnx = OnnxVlm(exported.folder, functools.partial(position_ids, model))
    (logits,) = onnx.logits(numpy_inputs(inputs), position_ids(model, inputs).numpy(), 0)
    options = {"max_new_tokens": 64, "eos_token_id": [NEVER], "pad_token_id": 0}
    with torch.no_grad():
        model.model.rope_deltas = None
        want = model(**inputs).logits
        model.model.rope_deltas = None
        greedy = model.generate(**inputs, **options, do_sample=False)[:, length:]
    assert (torch.from_numpy(logits) - want)[mask].abs().max() <= 1e-4
    assert torch.equal(onnx.generate(**inputs, **options)[:, length:], greedy)


def test_the_parity_row_says_so(exported):
    prompts = make_prompts(exported.model, exported.processor, fresh_cases(2, seed=9))
    row, _ = against_torch(exported, prompts, 64)
    assert row.max_abs <= 1e-4
    assert row.metrics["greedy_equal"] is True and row.metrics["argmax_agreement"] == 1.0


def test_the_parity_row_would_notice_other_weights(exported):
    prompts = make_prompts(exported.model, exported.processor, fresh_cases(1, seed=9))
    weight = next(exported.model.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
        row, _ = against_torch(exported, prompts, 1)
        weight.copy_(kept)
    assert row.max_abs > 1e-3


def test_a_left_padded_batch_gives_each_row_its_own_logits(exported):
    model, processor = exported.model, exported.processor
    (shown, _), (others, _) = fresh_cases(2, seed=3)
    long, short = make_prompts(model, processor, [(shown, "What lies ahead, and what is to be done?"), (others, "?")])
    rows = [numpy_inputs(prompt.inputs) for prompt in (long, short)]
    longest = max(row["input_ids"].shape[1] for row in rows)

    def padded(array, fill=0):
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(longest - array.shape[-1], 0)], constant_values=fill)

    batch = {
        "input_ids": np.concatenate([padded(row["input_ids"]) for row in rows]),
        "attention_mask": np.concatenate([padded(np.ones_like(row["input_ids"])) for row in rows]),
        "pixel_values": np.concatenate([row["pixel_values"] for row in rows]),
        "image_grid_thw": np.concatenate([row["image_grid_thw"] for row in rows]),
    }
    positions = np.concatenate([padded(prompt.position_ids.numpy()) for prompt in (long, short)], 1)
    found = list(OnnxVlm(exported.folder).logits(batch, positions, 3))
    for index, prompt in enumerate((long, short)):
        alone = OnnxVlm(exported.folder).logits(rows[index], prompt.position_ids.numpy(), 3)
        length = prompt.inputs["input_ids"].shape[1]
        for step, want in enumerate(alone):
            got = found[step][index, -length:] if step == 0 else found[step][index]
            assert np.abs(got - want[0]).max() <= 1e-4


def test_an_image_token_that_the_model_wrote_itself_is_embedded_as_a_token(exported):
    token = exported.model.config.image_token_id
    embed = OnnxVlm(exported.folder)._embed
    width = embed.get_inputs()[1].shape[1]
    feeds = {"input_ids": np.array([[token]]), "image_features": np.zeros((0, width), np.float32)}
    (found,) = embed.run(None, feeds)
    want = exported.model.get_input_embeddings().weight[token].detach().numpy()
    assert np.array_equal(found[0, 0, : len(want)], want)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_hidden_states_graph_equals_the_features_a_policy_was_trained_on(exported, layer):
    prompt = prompt_with(exported, 3)
    model, inputs = cut(copy.deepcopy(exported.model), layer), prompt.inputs
    graph = HiddenStatesGraph(model)
    with torch.no_grad():
        want = hidden_states(model, inputs)
        found = graph(*(torch.from_numpy(part) for part in vl_feeds([prompt]).values()))
    assert torch.allclose(found, want, atol=2e-5)


def language_model(kind):
    """A causal language model of two layers with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind, vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.fixture(scope="module", params=LANGUAGE_MODELS)
def language(request, tmp_path_factory):
    model, folder = language_model(request.param), tmp_path_factory.mktemp(request.param)
    VlmGraphs(model).write(folder)
    return model, OnnxVlm(folder, functools.partial(position_ids, model)), folder


def test_a_language_model_equals_its_graphs_alone_and_in_a_padded_batch(language):
    model, onnx, folder = language
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.onnx", "embed.onnx"]
    long, short = (torch.randint(64, (1, count), generator=torch.Generator().manual_seed(count)) for count in (9, 5))
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.int64), short], 1)
    mask = torch.tensor([[1] * 9, [0] * 4 + [1] * 5])
    options = {"max_new_tokens": 12, "eos_token_id": [NEVER], "pad_token_id": 0}
    batch = onnx.generate(input_ids=torch.cat([long, padded]), attention_mask=mask, **options)
    for row, ids in zip(batch, (long, short), strict=True):
        want = model.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=NEVER, pad_token_id=0)
        assert row[9:].tolist() == want[0, ids.shape[1] :].tolist()
    prompt = Prompt({"input_ids": long}, position_ids(model, {"input_ids": long}))
    traces = take_traces(ask_torch(model), [prompt])
    row, _ = compare(ask_onnx(onnx), [prompt], traces, stage="onnx", against="merged")
    assert row.max_abs <= 1e-4 and row.metrics["greedy_equal"] is True


def test_an_answer_that_has_ended_is_padded_while_others_go_on(language):
    _, onnx, _ = language
    ids, options = torch.arange(12).reshape(2, 6), {"max_new_tokens": 8, "pad_token_id": 63}
    free = onnx.generate(input_ids=ids, eos_token_id=[NEVER], **options)[:, 6:].tolist()
    first, end = next((at, token) for at, token in enumerate(free[0]) if token not in free[1])
    ended = onnx.generate(input_ids=ids, eos_token_id=[end], **options)[:, 6:].tolist()
    assert ended == [free[0][: first + 1] + [63] * (7 - first), free[1]]


def test_another_kind_of_model_is_refused_by_name():
    from transformers import AutoModelForCausalLM, GPT2Config

    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2)
    with pytest.raises(InputError, match="'gpt2'"):
        VlmGraphs(AutoModelForCausalLM.from_config(config))
