"""What the model learns from: only answers, the same in a batch as alone, with the checkpoint's own prompt."""

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

torch = pytest.importorskip("torch")

from ganglion.core.errors import InputError  # noqa: E402
from ganglion.core.tasks import EXO_ASSIST, Example, Turn  # noqa: E402
from ganglion.model.checkpoint import resolve_base  # noqa: E402
from ganglion.model.dialogue.batching import collate, packed_batch, training_batch  # noqa: E402
from ganglion.model.dialogue.encoding import UNLABELED, Encoded, encode, end_of_turn  # noqa: E402
from ganglion.model.dialogue.images import ImageEncoder  # noqa: E402
from ganglion.model.processor import TextProcessor, load_processor  # noqa: E402
from ganglion.model.vlm import load_vlm  # noqa: E402
from ganglion.training.data.exo.rows import exo_image, exo_row  # noqa: E402
from ganglion.training.data.rows import EncodedRows, PackedRows  # noqa: E402

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
    """Six rows of one image, the last one smaller; then one of two images, one of text only, and a dialogue."""
    folder: Path = tmp_path_factory.mktemp("rows")
    rows = []
    for index in range(6):
        exo_image(1, index, 112 if index < 5 else 70).save(folder / f"{index}.png")
        rows.append(EXO_ASSIST.read_row({"image_path": f"{index}.png", **exo_row(1, index * 5)}, folder))
    first, last = rows[0], rows[5]
    several = Example((*first.images, *last.images), "Compare them.", "level, then steps", {})
    text = Example((), "Raise the arm by 10 cm.", "arm.raise(0.1)", {})
    dialogue = Example(
        last.images,
        last.prompt,
        last.answer,
        {},
        (Turn(first.images, first.prompt, first.answer), Turn((), "Ow!", "5")),
    )
    return [*rows, several, text, dialogue]


@pytest.fixture(scope="module")
def encoded(processor: Any, examples: list[Example]) -> list[Encoded]:
    return encode_all(processor, examples)


def encode_all(processor: Any, examples: list[Example]) -> list[Encoded]:
    reader = ImageEncoder(processor)
    return [encode(processor, example, reader, with_answer=True) for example in examples]


def batch_of(processor: Any, rows: list[Encoded], side: str = "right") -> dict[str, Any]:
    return collate(rows, processor.tokenizer.pad_token_id, side=side)


def test_the_text_is_the_chat_template_around_every_turn(
    processor: Any, encoded: list[Encoded], examples: list[Example]
) -> None:
    for row, example in zip(encoded, examples, strict=True):
        messages = []
        for turn in example.turns:
            content = [*({"type": "image"} for _ in turn.images), {"type": "text", "text": turn.prompt}]
            messages += [{"role": "user", "content": content}, {"role": "assistant", "content": turn.answer}]
        written = processor.apply_chat_template(messages, tokenize=False).removesuffix("\n")
        ours = processor.tokenizer.decode(row.text.ids)
        assert ours.replace("<|image_pad|>", "") == written.replace("<|image_pad|>", "")
        tokens = sum(int(image.image_grid_thw.prod()) // 4 for image in row.images)
        assert ours.count("<|image_pad|>") == tokens == int(row.text.token_types.sum())


def test_every_answer_and_its_end_is_learned_and_nothing_else(
    processor: Any, encoded: list[Encoded], examples: list[Example]
) -> None:
    end = end_of_turn(processor.tokenizer)
    for row, example in zip(encoded, examples, strict=True):
        said = [processor.tokenizer.decode(row.text.ids[start:stop]) for start, stop in row.text.answers]
        assert said == [turn.answer + end for turn in example.turns]
        labeled = row.text.labels != UNLABELED
        assert int(labeled.sum()) == sum(stop - start for start, stop in row.text.answers)
        assert torch.equal(row.text.labels[labeled], row.text.ids[labeled].long())


def test_evaluation_sees_the_same_prompt(processor: Any, encoded: list[Encoded], examples: list[Example]) -> None:
    for row, example in zip(encoded, examples, strict=True):
        alone = encode(processor, example, ImageEncoder(processor), with_answer=False)
        assert torch.equal(alone.text.ids, row.text.ids[: row.text.answers[-1][0]])
        assert len(alone.images) == len(row.images)


def test_what_is_encoded_is_what_the_checkpoints_own_processor_makes(processor: Any, examples: list[Example]) -> None:
    example = examples[6]
    ours = encode(processor, example, ImageEncoder(processor), with_answer=False)
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": example.prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(path) for path in example.images]
    theirs = processor(text=[text], images=images, return_tensors="pt")
    assert torch.equal(ours.text.ids.long(), theirs["input_ids"][0])
    assert torch.equal(ours.text.token_types, theirs["mm_token_type_ids"][0])
    assert torch.equal(torch.stack([image.image_grid_thw for image in ours.images]), theirs["image_grid_thw"])
    pixels = torch.cat([image.pixel_values for image in ours.images]).float()
    assert torch.allclose(pixels, theirs["pixel_values"], atol=2e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_only_answer_tokens_carry_labels(processor: Any, encoded: list[Encoded], side: str) -> None:
    batch = batch_of(processor, encoded, side)
    for i, row in enumerate(encoded):
        labeled = batch["labels"][i] != UNLABELED
        assert torch.equal(batch["labels"][i][labeled], row.text.labels[row.text.labels != UNLABELED])
        assert torch.equal(batch["input_ids"][i][labeled], batch["labels"][i][labeled])
        assert int(batch["attention_mask"][i].sum()) == len(row.text)


def test_loss_is_the_cross_entropy_of_the_answers_and_nothing_else(
    model: Any, processor: Any, encoded: list[Encoded]
) -> None:
    batch = batch_of(processor, encoded)
    with torch.no_grad():
        captured = model(**batch)
    logits = captured.logits.double()
    total, count = 0.0, 0
    for i, row in enumerate(encoded):
        for start, stop in row.text.answers:
            for place in range(start, stop):
                total -= float(torch.log_softmax(logits[i, place - 1], -1)[int(row.text.ids[place])])
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
    expected = torch.zeros_like(reached)
    for i, row in enumerate(encoded):
        for start, stop in row.text.answers:
            expected[i, start - 1 : stop - 1] = True
    assert torch.equal(reached, expected)


def test_another_prompt_changes_only_what_is_predicted_not_what_is_learned(
    processor: Any, encoded: list[Encoded], examples: list[Example]
) -> None:
    for row, example in zip(encoded, examples, strict=True):
        other = Example(example.images, f"Other words. {example.prompt}", example.answer, {}, example.history)
        perturbed = encode(processor, other, ImageEncoder(processor), with_answer=True)
        assert len(perturbed.text) > len(row.text)
        kept = [x.text.labels[x.text.labels != UNLABELED] for x in (row, perturbed)]
        assert torch.equal(*kept)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_loss_equals_one_by_one(family: str, side: str, examples: list[Example]) -> None:
    """Unequal images, several images, text only and a dialogue in one batch."""
    path = resolve_base(f"offline:{family}?untrained")
    processor, model = load_processor(path), load_vlm(path, dtype=torch.float32)
    rows = encode_all(processor, examples)
    with torch.no_grad():
        together = float(model(**batch_of(processor, rows, side)).loss)
        alone = [float(model(**batch_of(processor, [row])).loss) for row in rows]
    weights = [sum(stop - start for start, stop in row.text.answers) for row in rows]
    expected = math.fsum(w * loss for w, loss in zip(weights, alone, strict=True)) / sum(weights)
    assert together == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_batch_has_the_same_loss_and_gradients_from_fewer_logits(family: str, examples: list[Example]) -> None:
    path = resolve_base(f"offline:{family}?untrained")
    processor, model = load_processor(path), load_vlm(path, dtype=torch.float32)
    rows = encode_all(processor, examples[:8])  # the dialogue's first answer comes early
    results = []
    for batch in (batch_of(processor, rows), training_batch(rows, processor.tokenizer.pad_token_id)):
        model.zero_grad()
        out = model(**batch)
        out.loss.backward()
        results.append((float(out.loss.detach()), model.get_input_embeddings().weight.grad.clone(), out.logits.shape))
    (loss, grad, shape), (kept_loss, kept_grad, kept_shape) = results
    assert kept_shape[1] == max(len(row.text) - row.text.answers[0][0] for row in rows) + 1 < shape[1]
    assert kept_loss == pytest.approx(loss, abs=1e-5)
    assert torch.allclose(kept_grad, grad, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_the_loss_they_have_one_by_one(family: str) -> None:
    path = resolve_base(f"offline:{family}?untrained")
    processor, model = load_processor(path), load_vlm(path, dtype=torch.float32)
    texts = [Example((), f"Move {k} times.", "go() " * (k + 1), {}) for k in range(7)]
    rows = EncodedRows(processor, texts, 4096)
    packed = PackedRows(rows, 100, seed=3)
    assert 1 < len(packed) < len(rows) and max(packed.lengths) <= 100
    assert sorted(k for pack in packed.packs for k in pack) == list(range(7))
    pad = processor.tokenizer.pad_token_id
    batch = packed_batch([packed[k] for k in range(len(packed))], pad, positions=4)
    assert batch.pop("rows") == 7
    with torch.no_grad():
        together = float(model(**batch).loss)
        alone = [float(model(**batch_of(processor, [rows[k]])).loss) for k in range(7)]
    weights = [len(row.text.ids) - row.text.answers[0][0] for row in (rows[k] for k in range(7))]
    assert together == pytest.approx(
        math.fsum(w * x for w, x in zip(weights, alone, strict=True)) / sum(weights), abs=1e-5
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


@pytest.mark.parametrize("size", [(30, 200), (112, 112), (57, 91)])
def test_an_images_tokens_are_known_from_its_size(processor: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "one.png")
    reader = ImageEncoder(processor)
    assert reader.tokens(tmp_path / "one.png") == int(reader(tmp_path / "one.png").image_grid_thw.prod()) // 4


def test_a_photograph_stored_on_its_side_is_learned_from_upright(
    processor: Any, examples: list[Example], tmp_path: Path
) -> None:
    with Image.open(examples[0].images[0]) as opened:
        seen = opened.convert("RGB").resize((40, 140))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    seen.save(tmp_path / "seen.png")
    seen.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "stored.png", exif=exif)
    reader = ImageEncoder(processor)
    turned, plain = reader(tmp_path / "stored.png"), reader(tmp_path / "seen.png")
    assert torch.equal(turned.pixel_values, plain.pixel_values)
    assert reader.tokens(tmp_path / "stored.png") == reader.tokens(tmp_path / "seen.png")


def test_a_placeholder_in_a_row_is_refused(processor: Any, examples: list[Example]) -> None:
    for spoiled in (Example((), "look: <|image_pad|>", "yes", {}), Example((), "look", "<|image_pad|>", {})):
        with pytest.raises(InputError, match="image_pad"):
            encode(processor, spoiled, ImageEncoder(processor), with_answer=True)


def test_a_model_without_eyes_refuses_images(processor: Any, examples: list[Example]) -> None:
    with pytest.raises(InputError, match="sees no images"):
        encode(TextProcessor(processor.tokenizer), examples[0], None, with_answer=True)


def test_rows_too_long_are_all_named_before_training(processor: Any, examples: list[Example]) -> None:
    with pytest.raises(InputError) as refused:
        EncodedRows(processor, examples, 50)
    lines = str(refused.value).splitlines()
    assert len(lines) == sum(length > 50 for length in EncodedRows(processor, examples, 4096).lengths) > 5
    assert "row 1 has" in lines[1] and "at most 50 fit" in lines[1] and "--max_length" in lines[1]


def test_truncation_cuts_the_end_of_answers_and_is_counted(processor: Any, examples: list[Example]) -> None:
    whole = EncodedRows(processor, examples[:6], 4096)
    limit = max(whole.lengths) - 3
    cut = EncodedRows(processor, examples[:6], limit, truncate=True)
    lost = [length - limit for length in whole.lengths if length > limit]
    assert (cut.truncated.rows, cut.truncated.tokens) == (len(lost), sum(lost)) and lost
    for k, length in enumerate(whole.lengths):
        kept = whole[k].text.labels[:limit]
        assert len(cut[k].text) == min(length, limit) and torch.equal(cut[k].text.labels, kept)


def test_truncation_never_cuts_a_prompt_or_an_image(processor: Any, examples: list[Example]) -> None:
    with pytest.raises(InputError, match="only answers may be cut"):
        EncodedRows(processor, examples[:1], 30, truncate=True)
