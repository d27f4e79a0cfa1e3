"""Predicting step by step with a scripted model: memories go from answers into prompts, and survive a file."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.gui_memory import LongTermMemory, ShortTermMemory
from ganglion.core.step_predictor import GuiSession, StepPredictor
from ganglion.core.tasks import Example
from ganglion.core.tasks.gui_step import carried

SCREEN = Image.new("RGB", (1024, 768))


def said(action: str, **more: Any) -> str:
    return json.dumps({"action": action, "target": "", "point": None, "text": "", "remember": "", **more})


SCRIPT = [
    said("click", target="Prices", point=[500, 1000], remember="price: 12"),
    said("type", text="12", target="Price"),
    "no answer",
    *(said("click", target=f"Page {number}", point=[1, 2], remember=f"page: {number}") for number in range(9)),
    said("done"),
]


def scripted(prompts: list[str], texts: list[str]) -> StepPredictor:
    answers: Iterator[str] = iter(texts)

    def ask(image: Any, prompt: str) -> str:
        prompts.append(prompt)
        return next(answers)

    return StepPredictor(ask)


def test_a_prediction_gives_pixels_of_the_screenshot_and_the_memories_after_it() -> None:
    predictor = scripted([], SCRIPT)
    first = predictor.predict_step(SCREEN, "set the price", ShortTermMemory(), LongTermMemory())
    assert first.answer == json.loads(SCRIPT[0])
    assert first.point_pixels == (512, 767)
    assert first.short_term_memory.steps == ('click "Prices"',)
    assert first.long_term_memory.facts == ("price: 12",)
    second = predictor.predict_step(SCREEN, "set the price", first.short_term_memory, first.long_term_memory)
    assert second.prompt.splitlines()[1:3] == ['Done: 1. click "Prices"', "Remembered: price: 12"]
    assert second.point_pixels is None
    third = predictor.predict_step(SCREEN, "set the price", second.short_term_memory, second.long_term_memory)
    assert (third.answer, third.point_pixels, third.text) == (None, None, "no answer")
    assert third.short_term_memory.steps[-1] == "(no valid step)"


@pytest.mark.parametrize("kind", ["file", "text", "bytes", "array", "turned"])
def test_a_screenshot_may_come_in_any_form(kind: str, tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (40, 20)).save(png, "png")
    (tmp_path / "a.png").write_bytes(png.getvalue())
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new("RGB", (20, 40)).save(tmp_path / "t.jpg", exif=exif)
    image = {
        "file": tmp_path / "a.png",
        "text": str(tmp_path / "a.png"),
        "bytes": png.getvalue(),
        "array": np.zeros((20, 40, 3), np.uint8),
        "turned": tmp_path / "t.jpg",
    }[kind]
    predictor = StepPredictor(lambda image, prompt: said("click", point=[500, 500]))
    found = predictor.predict_step(image, "g", ShortTermMemory(), LongTermMemory())
    assert found.point_pixels == (20, 10)


@pytest.mark.parametrize("image", [b"", b"no image", Path("absent.png")])
def test_what_is_no_screenshot_is_refused(image: Any) -> None:
    with pytest.raises(InputError, match="the screenshot can't be read"):
        StepPredictor(lambda image, prompt: "").predict_step(image, "g", ShortTermMemory(), LongTermMemory())


@pytest.mark.parametrize("stop", range(1, len(SCRIPT)))
def test_a_session_that_is_saved_and_loaded_goes_on_with_the_same_prompts(stop: int, tmp_path: Path) -> None:
    whole: list[str] = []
    session = GuiSession(scripted(whole, SCRIPT), "set the price")
    for _ in SCRIPT:
        session.step(SCREEN)
    parts: list[str] = []
    before = GuiSession(scripted(parts, SCRIPT[:stop]), "set the price")
    for _ in SCRIPT[:stop]:
        before.step(SCREEN)
    before.save(tmp_path / "session.json")
    later = GuiSession.load(tmp_path / "session.json", scripted(parts, SCRIPT[stop:]))
    assert (later.goal, later.steps, later.memory) == ("set the price", stop, before.memory)
    for _ in SCRIPT[stop:]:
        later.step(SCREEN)
    assert parts == whole
    assert (later.steps, later.memory) == (session.steps, session.memory)


def test_prompts_of_a_session_are_those_that_evaluation_asks() -> None:
    prompts: list[str] = []
    session = GuiSession(scripted(prompts, SCRIPT), "set the price")
    for _ in SCRIPT:
        session.step(SCREEN)
    example = Example((), "", "", {"goal": "set the price"})
    assert prompts == [carried(example, SCRIPT[:k]).prompt for k in range(len(SCRIPT))]


def test_memory_is_cut_in_the_prompt_only() -> None:
    prompts: list[str] = []

    def ask(image: Any, prompt: str) -> str:
        prompts.append(prompt)
        return SCRIPT[len(prompts) - 1]

    session = GuiSession(StepPredictor(ask, fits=lambda prompt: len(prompt) < 100), "set the price")
    for _ in SCRIPT:
        session.step(SCREEN)
    assert max(map(len, prompts)) < 100
    assert "Done: (12 earlier)\n" in prompts[-1]
    assert session.memory.short_term.count == len(SCRIPT)
    assert len(session.memory.short_term.steps) == 8
    assert session.memory.long_term.facts == ("price: 12", "page: 8")
    with pytest.raises(InputError, match="too long for this model"):
        GuiSession(StepPredictor(ask, fits=lambda prompt: len(prompt) < 100), "g" * 100).step(SCREEN)


def test_a_session_needs_a_goal() -> None:
    with pytest.raises(InputError, match="the goal is empty"):
        GuiSession(scripted([], []), " ")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        ("{", "can't be read"),
        ("[]", "names no goal"),
        ('{"goal": 3}', "names no goal"),
        ('{"goal": "", "steps": 0, "short_term_memory": [], "long_term_memory": []}', "the goal is empty"),
        ('{"goal": "g"}', "short-term memory is None"),
        ('{"goal": "g", "short_term_memory": []}', "long-term memory is None"),
        ('{"goal": "g", "steps": 2, "short_term_memory": ["1. a"], "long_term_memory": []}', "says 2 steps"),
    ],
)
def test_what_is_no_session_is_refused_by_file(content: str | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=f"session.json: .*{problem}"):
        GuiSession.load(path, scripted([], []))
