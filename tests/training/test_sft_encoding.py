"""What the model learns from: only the answer, the same in a batch as alone, with the checkpoint's own prompt."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from ganglion.core.errors import InputError  # noqa: E402
from ganglion.core.tasks import EXO_ASSIST, Example  # noqa: E402
from ganglion.model.checkpoint import resolve_base  # noqa: E402
from ganglion.model.processor import load_processor  # noqa: E402
from ganglion.model.vlm import load_vlm  # noqa: E402
from ganglion.training.data.encoding import (  # noqa: E402
    END_OF_TURN,
    UNLABELED,
    Encoded,
    EncodedExamples,
    ImageEncoder,
    collate,
    encode,
    training_batch,
)
from ganglion.training.data.exo_rows import exo_image, exo_row  # noqa: E402

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="module")
def base() -> str:
    return resolve_base("offline:qwen2_vl?untrained")


@pytest.fixture(scope="module")
def processor(base: str) -> Any:
    return load_processor(base)


@pytest.fixture(scope="module")
def model(base: str) -> Any:
    return load_vlm(base, dtype=torch.float32)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Six rows of unequal length; the last image is smaller, so that it has fewer tokens."""
    folder: Path = tmp_path_factory.mktemp("rows")
    rows = []
    for index in range(6):
        exo_image(1, index, 112 if index < 5 else 70).save(folder / f"{index}.png")
        rows.append(EXO_ASSIST.read_row({"image_path": f"{index}.png", **exo_row(1, index * 5)}, folder))
    return rows


@pytest.fixture(scope="module")
def encoded(processor: Any, examples: list[Example]) -> list[Encoded]:
    return [encode(processor, example, ImageEncoder(processor), with_answer=True) for example in examples]


def batch_of(processor: Any, rows: list[Encoded], side: str = "right") -> dict[str, Any]:
    return collate(rows, processor.tokenizer.pad_token_id, side=side)


def test_rows_are_of_unequal_length(encoded: list[Encoded]) -> None:
    assert len({len(row.prompt_ids) for row in encoded}) > 1
    assert len({len(row.answer_ids) for row in encoded}) > 1
    assert len({len(row.images[0].pixel_values) for row in encoded}) > 1


def test_the_text_is_the_chat_template_around_prompt_and_answer(
    processor: Any, encoded: list[Encoded], examples: list[Example]
) -> None:
    for row, example in zip(encoded, examples, strict=True):
        prompt = processor.tokenizer.decode(row.prompt_ids)
        images = int(row.images[0].image_grid_thw.prod()) // 4
        assert prompt.count("<|image_pad|>") == images == int(row.token_types.sum())
        assert prompt.endswith(f"<|vision_end|>{example.prompt}<|im_end|>\n<|im_start|>assistant\n")
        assert processor.tokenizer.decode(row.answer_ids) == example.answer + END_OF_TURN


def test_evaluation_sees_the_same_prompt(processor: Any, encoded: list[Encoded], examples: list[Example]) -> None:
    alone = encode(processor, examples[0], ImageEncoder(processor), with_answer=False)
    assert torch.equal(alone.prompt_ids, encoded[0].prompt_ids)
    assert torch.equal(alone.images[0].pixel_values, encoded[0].images[0].pixel_values)
    assert len(alone.answer_ids) == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_only_answer_tokens_carry_labels(processor: Any, encoded: list[Encoded], side: str) -> None:
    batch = batch_of(processor, encoded, side)
    for i, row in enumerate(encoded):
        labeled = batch["labels"][i] != UNLABELED
        assert torch.equal(batch["labels"][i][labeled], row.answer_ids)
        assert torch.equal(batch["input_ids"][i][labeled], row.answer_ids)
        assert int(batch["attention_mask"][i].sum()) == len(row.prompt_ids) + len(row.answer_ids)


def test_loss_is_the_cross_entropy_of_the_answer_and_nothing_else(
    model: Any, processor: Any, encoded: list[Encoded]
) -> None:
    batch = batch_of(processor, encoded)
    with torch.no_grad():
        captured = model(**batch)
    logits = captured.logits.double()
    total, count = 0.0, 0
    for i, row in enumerate(encoded):
        start = len(row.prompt_ids)
        for k, token in enumerate(row.answer_ids.tolist()):
            total -= float(torch.log_softmax(logits[i, start + k - 1], -1)[token])
            count += 1
    assert float(captured.loss) == pytest.approx(total / count, abs=1e-5)


def test_what_is_predicted_inside_prompt_and_padding_changes_nothing(
    model: Any, processor: Any, encoded: list[Encoded]
) -> None:
    """The loss has no gradient to any logit but those that predict answer tokens."""
    batch = batch_of(processor, encoded)
    labels = batch.pop("labels")
    logits = model(**batch).logits.detach().requires_grad_()
    model.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1]).backward()
    reached = logits.grad.abs().sum(-1) > 0
    for i, row in enumerate(encoded):
        start, end = len(row.prompt_ids) - 1, len(row.prompt_ids) + len(row.answer_ids) - 1
        assert reached[i, start:end].all()
        assert not reached[i, :start].any() and not reached[i, end:].any()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_loss_equals_one_by_one(family: str, side: str, examples: list[Example]) -> None:
    path = resolve_base(f"offline:{family}?untrained")
    processor, model = load_processor(path), load_vlm(path, dtype=torch.float32)
    rows = [encode(processor, example, ImageEncoder(processor), with_answer=True) for example in examples]
    with torch.no_grad():
        together = float(model(**batch_of(processor, rows, side)).loss)
        alone = [float(model(**batch_of(processor, [row])).loss) for row in rows]
    weights = [len(row.answer_ids) for row in rows]
    expected = math.fsum(w * loss for w, loss in zip(weights, alone, strict=True)) / sum(weights)
    assert together == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_batch_has_the_same_loss_and_gradients_from_fewer_logits(family: str, examples: list[Example]) -> None:
    path = resolve_base(f"offline:{family}?untrained")
    processor, model = load_processor(path), load_vlm(path, dtype=torch.float32)
    rows = [encode(processor, example, ImageEncoder(processor), with_answer=True) for example in examples]
    results = []
    for batch in (batch_of(processor, rows), training_batch(rows, processor.tokenizer.pad_token_id)):
        model.zero_grad()
        out = model(**batch)
        out.loss.backward()
        results.append((float(out.loss.detach()), model.get_input_embeddings().weight.grad.clone(), out.logits.shape))
    (loss, grad, shape), (kept_loss, kept_grad, kept_shape) = results
    assert kept_shape[1] == max(len(row.answer_ids) for row in rows) + 1 < shape[1]
    assert kept_loss == pytest.approx(loss, abs=1e-5)
    assert torch.allclose(kept_grad, grad, atol=1e-5)


def test_what_is_encoded_is_what_the_checkpoints_own_processor_makes(processor: Any, examples: list[Example]) -> None:
    example = dataclasses.replace(examples[0], images=(examples[0].images[0], examples[5].images[0]))
    ours = encode(processor, example, ImageEncoder(processor), with_answer=False)
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": example.prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(path) for path in example.images]
    theirs = processor(text=[text], images=images, return_tensors="pt")
    assert torch.equal(ours.prompt_ids, theirs["input_ids"][0])
    assert torch.equal(ours.token_types, theirs["mm_token_type_ids"][0])
    assert torch.equal(torch.stack([image.image_grid_thw for image in ours.images]), theirs["image_grid_thw"])
    assert torch.allclose(
        torch.cat([image.pixel_values for image in ours.images]).float(), theirs["pixel_values"], atol=2e-3
    )


def test_a_kept_image_is_the_same_as_a_fresh_one_and_is_read_once(processor: Any, examples: list[Example]) -> None:
    kept, fresh = ImageEncoder(processor, 2**30), ImageEncoder(processor)
    path = examples[0].images[0]
    assert torch.equal(kept(path).pixel_values, fresh(path).pixel_values)
    assert kept(path) is kept(path) and fresh(path) is not fresh(path)


def test_images_beyond_the_memory_are_not_kept(processor: Any, examples: list[Example]) -> None:
    size = ImageEncoder(processor)(examples[0].images[0]).pixel_values.nbytes
    reader = ImageEncoder(processor, size + size // 2)
    first, second = (example.images[0] for example in examples[:2])
    assert reader(first) is reader(first) and reader(second) is not reader(second)


def test_a_placeholder_in_a_prompt_is_refused(processor: Any, examples: list[Example]) -> None:
    spoiled = dataclasses.replace(examples[0], prompt="look: <|image_pad|>")
    with pytest.raises(InputError, match="image_pad"):
        encode(processor, spoiled, ImageEncoder(processor), with_answer=True)


def test_a_row_too_long_for_the_model_is_named(processor: Any, examples: list[Example]) -> None:
    with pytest.raises(InputError, match=r"row 1 has \d+ tokens, the model takes 50"):
        EncodedExamples(processor, examples, 0, 50)[1]
