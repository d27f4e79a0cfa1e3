"""The served VLM, with random weights: equal to the library's generate, and valid JSON whatever the weights say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError, GanglionError, InputError
from ganglion.core.tasks import EXO_ASSIST, GUI_STEP, Example, ExoDialogue, Turn, read_answer, write_answer
from ganglion.core.tasks.exo_assist import FEEDBACK, TERRAINS, expected_answer
from ganglion.serving.vlm.answer import answer_examples
from ganglion.serving.vlm.engine import VlmEngine

pytestmark = pytest.mark.slow
SCHEMAS = {
    "exo_assist": EXO_ASSIST.schema,
    "gui_step": GUI_STEP.schema,
    "unbounded string": {
        "type": "object",
        "properties": {"say": {"type": "string"}, "sure": {"type": "boolean"}},
        "required": ["say", "sure"],
        "additionalProperties": False,
    },
    "numbers": {
        "type": "object",
        "properties": {"x": {"type": "number", "minimum": -1e6, "maximum": 1e6}, "n": {"type": "integer"}},
        "required": ["x", "n"],
        "additionalProperties": False,
    },
    "list": {"type": "array", "items": {"type": "string", "maxLength": 8}},
    "one value": {"const": {"only": ["this", 1]}},
}


def pictures(count, seed=0):
    random = np.random.default_rng(seed)
    sizes = random.integers(60, 200, (count, 2))
    return [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@pytest.fixture(scope="module")
def engine(vlm_bundle):
    return VlmEngine.open(vlm_bundle)


@pytest.mark.parametrize("images", [0, 1, 3])
def test_free_text_equals_the_librarys_greedy_generate(engine, vlm_base, images):
    from ganglion.export.prompts import make_prompts

    model, processor = vlm_base
    shown = pictures(images, seed=images)
    (prompt,) = make_prompts(model, processor, [(shown, "What lies ahead?")])
    model.model.rope_deltas = None
    length = prompt.inputs["input_ids"].shape[1]
    tokens = model.generate(**prompt.inputs, max_new_tokens=32, do_sample=False)[0, length:].tolist()
    answer = engine.generate(shown, "What lies ahead?", max_new_tokens=32)
    ends = engine.part.eos_token_ids
    assert list(answer.tokens) == [token for token in tokens if token not in ends]
    assert answer.complete == any(token in ends for token in tokens)
    assert answer.text == processor.tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_random_weights_write_nothing_but_valid_json_in_its_one_form(engine, schema):
    for seed in range(6):
        answer = engine.generate(pictures(1, seed), f"case {seed}", schema=schema, max_new_tokens=60)
        assert answer.complete
        assert read_answer(answer.text, schema) is not None or json.loads(answer.text) == schema.get("const")
        if schema is not SCHEMAS["numbers"]:  # a number has more than one form
            assert answer.text == write_answer(json.loads(answer.text))


def test_every_answer_that_the_rules_give_is_within_the_grammar(engine):
    grammars = engine._grammars
    for terrain in TERRAINS:
        for kind in FEEDBACK:
            text = write_answer(expected_answer(terrain, kind, 7))
            constraint = grammars.start(EXO_ASSIST.schema)
            constraint.take(engine._prompts.tokenizer.encode(text).ids)
            assert constraint.complete


def test_forced_tokens_are_those_that_training_targets_hold(engine):
    """Forced text cut elsewhere than in training would show the model tokens it never saw."""
    tokenizer, forced = engine._prompts.tokenizer, 0
    for terrain in TERRAINS:
        for kind in FEEDBACK:
            target = tokenizer.encode(write_answer(expected_answer(terrain, kind, 7))).ids
            constraint, at = engine._grammars.start(EXO_ASSIST.schema), 0
            while at < len(target):
                tokens = constraint.forced()
                assert tokens == target[at : at + len(tokens)]
                forced, at = forced + len(tokens), at + len(tokens)
                constraint.take(target[at : at + 1])
                at += 1
    assert forced > 500


def test_other_whitespace_than_that_of_the_answers_is_outside_it(engine):
    text = json.dumps(expected_answer("flat", "none", 7), separators=(",", ":"))
    with pytest.raises(GanglionError, match="grammar stopped"):
        engine._grammars.start(EXO_ASSIST.schema).take(engine._prompts.tokenizer.encode(text).ids)


def test_forced_text_costs_no_pass_of_the_decoder(engine):
    fixed = engine.generate([], "go", schema=SCHEMAS["one value"], max_new_tokens=60)
    assert fixed.text == '{"only": ["this", 1]}'
    assert fixed.calls == 1
    answer = engine.generate(pictures(1), "go", schema=EXO_ASSIST.schema, max_new_tokens=60)
    assert answer.calls < len(answer.tokens) - 20


def test_a_stream_gives_the_same_text_in_pieces(engine):
    pieces = list(engine.stream(pictures(1), "go", max_new_tokens=24))
    assert len(pieces) > 4
    assert "".join(pieces) == engine.generate(pictures(1), "go", max_new_tokens=24).text
    json_pieces = engine.stream(pictures(1), "go", max_new_tokens=24, schema=EXO_ASSIST.schema)
    assert read_answer("".join(json_pieces), EXO_ASSIST.schema) is not None


def test_examples_are_answered_in_order(engine, tmp_path):
    examples = []
    for index, image in enumerate(pictures(3)):
        image.save(tmp_path / f"{index}.png")
        examples.append(Example((tmp_path / f"{index}.png",), f"case {index}", "", {}))
    answers = answer_examples(engine, EXO_ASSIST, examples, progress=False)
    alone = [
        engine.generate(e.images, e.prompt, schema=EXO_ASSIST.schema, max_new_tokens=EXO_ASSIST.max_new_tokens).text
        for e in reversed(examples)
    ]
    assert answers == alone[::-1]


@pytest.mark.parametrize("images", [0, 1])
def test_an_answer_within_a_dialogue_equals_the_librarys(engine, vlm_base, images):
    model, processor = vlm_base
    first, second, last = pictures(1, seed=1), pictures(1, seed=2), pictures(images, seed=3)
    history = [Turn(first, "What is this?", "flat"), Turn((), "And?", "still"), Turn(second, "Now?", "steps")]
    messages = []
    for shown, prompt, answer in [*((t.images, t.prompt, t.answer) for t in history), (last, "What lies ahead?", "")]:
        content = [*({"type": "image"} for _ in shown), {"type": "text", "text": prompt}]
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    chat = processor.apply_chat_template(messages[:-1], add_generation_prompt=True)
    inputs = processor(text=[chat], images=[*first, *second, *last], return_tensors="pt")
    model.model.rope_deltas = None
    length = inputs["input_ids"].shape[1]
    tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0, length:].tolist()
    answer = engine.generate(last, "What lies ahead?", max_new_tokens=24, history=history)
    assert list(answer.tokens) == [token for token in tokens if token not in engine.part.eos_token_ids]
    alone = engine.generate(last, "What lies ahead?", max_new_tokens=24)
    assert answer.tokens != alone.tokens
    assert "".join(engine.stream(last, "What lies ahead?", max_new_tokens=24, history=history)) == answer.text


def test_examples_are_answered_with_their_history(engine, tmp_path):
    image = tmp_path / "0.png"
    pictures(1)[0].save(image)
    example = Example((), "And now?", "", {}, (Turn((image,), "case 0", '{"task": "flat"}'),))
    length = EXO_ASSIST.max_new_tokens
    want = engine.generate(
        [], "And now?", schema=EXO_ASSIST.schema, max_new_tokens=length, history=example.history
    ).text
    assert answer_examples(engine, EXO_ASSIST, [example], progress=False) == [want]


def test_a_running_dialogue_is_served_with_pictures_in_memory(engine):
    """The weights are random, so the level goes anywhere that the schema lets it: never out of the limits."""
    dialogue = ExoDialogue(10, exchanges_kept=2)
    for said, shown in (("ow", pictures(1, 5)), ("more", []), ("less", pictures(1, 6)), ("", [])):
        question = dialogue.ask(said, shown)
        text = engine.generate(
            question.images,
            question.prompt,
            schema=EXO_ASSIST.schema,
            max_new_tokens=60,
            history=question.history,
        ).text
        outcome = dialogue.take(text)
        assert outcome.answer is not None and 0 <= outcome.level <= 20
    assert len(dialogue.history) == 2


def test_timings_cover_the_whole_answer(engine):
    timings = engine.generate(pictures(1), "go", max_new_tokens=4).timings_ms
    assert set(timings) == {"preprocess", "wait", "vision", "prompt", "decode", "total"}
    assert timings["total"] == pytest.approx(sum(v for k, v in timings.items() if k != "total"))


def test_a_prompt_too_long_for_the_model_is_refused(engine):
    with pytest.raises(InputError, match=r"takes \d+ tokens, the model reads at most 512"):
        engine.generate([], "word " * 600, max_new_tokens=4)


def test_an_answer_ends_where_the_context_does(engine):
    prompt = "word"
    while (length := engine._prompts.encode(prompt, np.zeros((0, 3), np.int64))[0].shape[1]) < 500:
        prompt += " word"
    answer = engine.generate([], prompt, max_new_tokens=400, schema=SCHEMAS["unbounded string"])
    assert not answer.complete
    assert length + len(answer.tokens) <= 513


@pytest.mark.parametrize(
    "schema", [{"type": "object", "properties": {"x": {"type": "nonsense"}}}, {"type": "string", "pattern": "(?=x)"}]
)
def test_a_schema_without_a_grammar_is_one_clear_line(engine, schema):
    with pytest.raises(InputError, match="no grammar for this JSON schema") as refused:
        engine.generate([], "go", schema=schema, max_new_tokens=4)
    assert "\n" not in str(refused.value)


def test_a_corrupt_image_is_refused(engine):
    with pytest.raises(InputError, match="can't be decoded"):
        engine.generate([b"\xff\xd8nothing"], "go", max_new_tokens=4)


def test_no_tokens_at_all_is_refused(engine):
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        engine.generate([], "go", max_new_tokens=0)


def test_a_provider_that_is_not_there_is_refused_instead_of_replaced(vlm_bundle):
    with pytest.raises(GanglionError, match="runs on CPUExecutionProvider, not on CUDAExecutionProvider"):
        VlmEngine.open(vlm_bundle, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))


def test_a_bundle_without_a_vlm_is_refused(vlm_bundle):
    empty = Bundle(vlm_bundle.root, replace(vlm_bundle.manifest, vlm=None), None, None)
    with pytest.raises(BundleError, match="holds no VLM"):
        VlmEngine.open(empty)


def test_an_answer_in_one_thread_does_not_disturb_another(engine):
    from concurrent.futures import ThreadPoolExecutor

    prompts = [f"case {index}" for index in range(6)]

    def ask(prompt):
        return engine.generate(pictures(1), prompt, schema=EXO_ASSIST.schema, max_new_tokens=40).text

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, prompts)) == [ask(prompt) for prompt in prompts]


def test_at_its_limit_an_answer_is_closed_at_once_and_is_valid_still(engine):
    free = engine.generate([], "go", schema=SCHEMAS["unbounded string"], max_new_tokens=60)
    cut = engine.generate([], "go", schema=SCHEMAS["unbounded string"], max_new_tokens=1)
    assert read_answer(cut.text, SCHEMAS["unbounded string"]) is not None
    assert len(cut.tokens) < 20 < len(free.tokens)
