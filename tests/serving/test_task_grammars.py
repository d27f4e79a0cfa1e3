"""Decoding within the schema of every registered task: whatever the weights say and wherever an answer is cut, it is
valid JSON of the schema, written as training writes it.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganglion.core.errors import GanglionError
from ganglion.core.tasks import get_task, read_answer, task_names, write_answer
from ganglion.serving.vlm.answering import CLOSING_TOKENS

TASKS = [task for task in map(get_task, task_names()) if task.schema is not None]
# Tokens that a model may favor or shun, by a letter of theirs: ends, escapes, digits and signs, bytes of other scripts.
KINDS = {
    "none": "",
    "ends": '"}],',
    "escapes": "\\",
    "numbers": "-0123456789.eE+",
    "letters": "abcdefghijklmnopqrstuvwxyz",
    "spaces": "ĠĊĉ",
    "other bytes": "".join(map(chr, range(0xA1, 0x150))),
}
LEAN = st.tuples(st.sampled_from(list(KINDS)), st.sampled_from([-100.0, 3.0, 100.0]))


@pytest.fixture(scope="module")
def tokenizer(byte_level):
    """Learned from the schemas, and from text of several scripts."""
    texts = ["Größe 12 °C, naïve — 东京 Москва 🙂🙃", 'a\\"b\\\\c\\n\\t', "-12, 7.5, null, true, false"]
    return byte_level([*texts, *(json.dumps(task.schema) for task in TASKS)] * 3, 700)


@pytest.fixture(scope="module")
def grammars(tokenizer, compiler):
    return compiler(tokenizer)


def leaning_logits(tokenizer, seed, leans):
    """Random logits, with what is said of kinds of tokens added."""
    rng, vocabulary = np.random.default_rng(seed), tokenizer.get_vocab()
    lean = np.zeros(tokenizer.get_vocab_size(), np.float32)
    for kind, more in leans:
        lean[[index for text, index in vocabulary.items() if set(text) & set(KINDS[kind])]] += more
    return lambda _: lean + rng.standard_normal(len(lean)).astype(np.float32)


def test_there_are_tasks_to_check():
    assert {"exo_assist", "gui_step", "chess_board"} <= {task.name for task in TASKS}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@settings(max_examples=150)
@given(data=st.data())
def test_random_logits_write_valid_json_in_its_one_form_at_any_limit(tokenizer, grammars, decoded, task, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    leans = data.draw(st.lists(LEAN, max_size=2, unique_by=lambda lean: lean[0]))
    most = data.draw(st.integers(0, task.max_new_tokens))
    tokens, chosen = decoded(grammars, task.schema, leaning_logits(tokenizer, seed, leans), most)
    text = tokenizer.decode(tokens)
    answer = read_answer(text, task.schema)
    assert answer is not None, text
    assert text == write_answer(answer)
    assert tuple(answer) == tuple(task.schema["properties"]), "keys are in the schema's order"
    assert chosen < len(tokens) <= most + CLOSING_TOKENS, "the engine gives it this room"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_forced_tokens_are_those_of_the_text_as_it_is_tokenized(tokenizer, grammars, decoded, task):
    """Forced text cut elsewhere than in training would show the model tokens it never saw."""
    shunned = [("other bytes", -100.0), ("escapes", -100.0)]
    for seed in range(5):
        tokens, _ = decoded(grammars, task.schema, leaning_logits(tokenizer, seed, shunned), 60)
        target, at = tokenizer.encode(tokenizer.decode(tokens)).ids, 0
        constraint = grammars.start(task.schema)
        while at < len(target):
            forced = constraint.forced()
            assert forced == target[at : at + len(forced)]
            at += len(forced)
            constraint.take(target[at : at + 1])
            at += 1
        constraint.forced()
        assert constraint.complete


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_choice_is_the_best_of_all_tokens_that_the_grammar_takes(tokenizer, grammars, task):
    """Each token is tried one by one; the model's favorite is among them at some steps and is not at others."""
    favorites = others = 0
    for seed in range(3):
        logits_of = leaning_logits(tokenizer, seed, [("letters", 1.0)])
        constraint = grammars.start(task.schema)
        while not constraint.complete:
            constraint.forced()
            if constraint.complete:
                break
            ranked = np.argsort(-(logits := logits_of(0)))
            best = next(int(token) for token in ranked if constraint._matcher.validate_tokens([int(token)]))
            assert constraint.choose(logits, closing=False) == best
            favorites, others = favorites + (best == ranked[0]), others + (best != ranked[0])
            constraint.take([best])
    assert others > 20
    assert favorites > 20 or task.name == "chess_board", "where any text may be written, favorites are"


@pytest.fixture(scope="module")
def within(tokenizer, grammars):
    """within(schema, text): whether the text is a whole answer of the grammar."""

    def taken(schema, text):
        constraint = grammars.start(schema)
        try:
            constraint.take(tokenizer.encode(text).ids)
            constraint.forced()
        except GanglionError:
            return False
        return constraint.complete

    return taken


def object_of(rule):
    return {"type": "object", "properties": {"n": rule}, "required": ["n"], "additionalProperties": False}


INTEGERS = {
    "over zero": {"type": "integer", "minimum": -20, "maximum": 20},
    "unbounded": {"type": "integer"},
    "down to minus one": {"type": "integer", "minimum": -1},
    "from zero": {"type": "integer", "minimum": 0, "maximum": 20},
    "below zero": {"type": "integer", "maximum": -1},
    "between others": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 8},
    "one of some": {"type": "integer", "enum": [-2, 0, 2]},
    "or none": {"anyOf": [{"type": "integer", "maximum": 4}, {"type": "null"}]},
    "in a list": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 1},
}


@pytest.mark.parametrize("rule", INTEGERS.values(), ids=INTEGERS)
def test_every_integer_of_a_range_can_be_written_in_one_form_and_zero_in_no_other(within, rule):
    schema = object_of(rule)
    for number in range(-25, 26):
        text = write_answer({"n": [number] if rule.get("type") == "array" else number})
        assert within(schema, text) == (read_answer(text, schema) is not None), text
        assert not within(schema, text.replace(str(number), f"-{number}" if number == 0 else f"0{number}"))


@pytest.mark.parametrize(
    "rule", [{"type": "string"}, {"type": "string", "maxLength": 20}], ids=["unbounded", "bounded"]
)
def test_a_text_can_be_written_in_one_form(within, rule):
    for said in ("", "a/b", 'say "a"', "a\\b", "line\nline\ttab", "é 东 🙂", "\r\b\f", "\u2028"):
        assert within(object_of(rule), write_answer({"n": said})), said
    for other in (r"\/", r"\u000f", r"\u000F", r"\u000a", r"\u0041", r"\u00e9", r"\ud83d", r"\x41", "\t"):
        assert not within(object_of(rule), f'{{"n": "{other}"}}'), other
