"""The offline bases must know nothing of the tasks: not a key, not a category, not a phrase."""

import ast
import json
import re
from collections import Counter

import pytest

from ganglion.core.robot_api import read_robot_api
from ganglion.core.tasks.exo_assist import FEEDBACK, SCHEMA, TERRAINS
from ganglion.core.tasks.robot_code import DEFAULT_API
from ganglion.model.offline import offline_base
from ganglion.model.offline.build import corpus, text_corpus
from ganglion.model.offline.canvas import REGIONS, SIDE
from ganglion.model.offline.commands import command
from ganglion.model.offline.drawings import MEASURES, draw
from ganglion.model.offline.lessons import lesson
from ganglion.model.offline.words import WORDS
from ganglion.model.processor import load_processor
from ganglion.training.data.robot.rows import sentences

# Words of the task's keys and categories. "up", a bare syllable that any tokenizer learns, is judged in the text only.
KEYS = set(SCHEMA["properties"])
CATEGORIES = {
    value for rule in SCHEMA["properties"].values() for value in rule.get("enum", ()) if isinstance(value, str)
}
WORDS_OF_THE_TASK = {word for name in KEYS | CATEGORIES for word in name.split("_")}
REASONS = [terrain.reason for terrain in TERRAINS.values()] + [feedback.reason for feedback in FEEDBACK.values()]


@pytest.fixture(scope="module")
def text() -> str:
    lessons = [lesson(draw(seed, k), k) for seed in (7, 8) for k in range(150)]
    return "\n".join([*corpus(), *(f"{one.prompt}\n{one.answer}" for one in lessons)]).lower()


def test_no_word_of_the_task_is_in_the_corpus_or_a_lesson(text):
    spoken = set(re.findall(r"[a-z]+", text))
    assert not spoken & WORDS_OF_THE_TASK
    assert not any(name in text for name in KEYS | CATEGORIES)


def test_no_phrase_or_reason_of_the_task_is_in_the_corpus_or_a_lesson(text):
    phrases = [phrase for feedback in FEEDBACK.values() for phrase in feedback.phrases if " " in phrase]
    assert not [phrase for phrase in [*phrases, *REASONS] if phrase.lower() in text]


def test_no_token_is_a_word_of_the_task():
    tokenizer = load_processor(offline_base("qwen2_vl", pretext=False)).tokenizer
    tokens = {tokenizer.decode([k]).strip(' "_').lower() for k in range(len(tokenizer))}
    assert not tokens & {word for word in WORDS_OF_THE_TASK | KEYS | CATEGORIES if len(word) > 2}


def test_words_come_without_the_tasks_own():
    function_words = {"to", "is", "no", "for", "in", "too", "not", "that", "this", "the", "it", "me", "my"}
    phrases = [phrase.lower() for feedback in FEEDBACK.values() for phrase in feedback.phrases]
    content = {word for text in [*REASONS, *phrases] for word in text.split()} - function_words
    assert not set(WORDS) & (WORDS_OF_THE_TASK | content)


def test_a_drawing_is_the_same_for_its_seed_and_another_for_another():
    assert draw(3, 5).image.tobytes() == draw(3, 5).image.tobytes()
    assert draw(3, 5).image.tobytes() != draw(4, 5).image.tobytes()
    assert draw(3, 5).image.size == (SIDE, SIDE)


def test_what_is_said_about_a_drawing_is_in_it():
    for k in range(60):
        drawing = draw(11, k)
        assert set(drawing.measures) <= set(MEASURES)
        assert drawing.regions.max() < len(REGIONS)
        if drawing.kind == "marks" and len(drawing.marks) == 1:
            rows, columns = (drawing.regions == REGIONS.index("mark")).nonzero()
            spots = drawing.regions.shape[0]
            assert abs((columns.mean() + 0.5) / spots - drawing.measures["mark_x"]) < 0.06
            assert abs((rows.mean() + 0.5) / spots - drawing.measures["mark_y"]) < 0.06


def test_exercises_are_answered_rightly():
    met = Counter()
    for k in range(300):
        one = lesson(draw(5, k % 12), k)
        answer = json.loads(one.answer)
        if match := re.search(r"Counter: (\d+)\. Add (-?\d+)", one.prompt):
            value, add = int(match[1]), int(match[2])
            assert answer["counter"] == sorted((0, value + add, 20))[1]
            assert answer["added"] == answer["counter"] - value
            met["sum"] += 1
        if match := re.search(r"Counter: (\d+)\. Compare with (\d+)", one.prompt):
            value, other = int(match[1]), int(match[2])
            assert answer["compared"] == {-1: "under", 0: "equal", 1: "over"}[(value > other) - (value < other)]
            met["comparison"] += 1
        if match := re.search(r'Note: "(.*?)"\. (First|Last) word', one.prompt):
            assert answer[match[2].lower()] == match[1].split()[0 if match[2] == "First" else -1]
            met["phrase"] += 1
    assert min(met["sum"], met["comparison"], met["phrase"]) > 25


@pytest.fixture(scope="module")
def commands():
    return [command(f"{seed} {k}") for seed in (7, 8) for k in range(1500)]


def test_no_function_of_the_robot_is_in_a_command(commands):
    called = set(re.findall(r"\w+(?=\()", "\n".join(one.answer for one in commands)))
    names = [function.name for function in read_robot_api(DEFAULT_API).functions.values() if "_" in function.name]
    assert names
    assert not called & set(names)


def test_no_sentence_to_the_robot_is_in_a_command(commands):
    text = "\n".join([*text_corpus(), *(one.prompt for one in commands)]).lower()
    pieces = {
        piece.strip(" ,.;:") for kind in ("train", "heldout") for one in sentences(kind) for piece in one.split("{")
    }
    pieces = {piece.split("}")[-1].strip(" ,.;:").lower() for piece in pieces}
    longer = {piece for piece in pieces if len(piece.split()) >= 3}
    assert len(longer) > 100
    assert not [piece for piece in longer if piece in text]


def test_a_command_spells_its_program_out(commands):
    kinds = Counter()
    for one in commands:
        said = one.prompt.removeprefix("Command: ").removesuffix("\nCode:")
        tree = ast.parse(one.answer)
        kinds |= Counter(type(statement).__name__ for statement in tree.body)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if call.func.id == "range":
                continue
            assert call.func.id.replace("_", " ") in said
            for argument in call.keywords:
                assert argument.arg in said
                if isinstance(argument.value.value, str):
                    assert argument.value.value in said
    assert set(kinds) == {"Expr", "For", "If"}


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2"])
def test_the_card_tells_what_it_is_and_what_it_shares(family):
    card = (offline_base(family, pretext=False) / "README.md").read_text()
    for said in ("stand-in", "What it shares with the tasks", "What it does not hold", "weights are random"):
        assert said in card
