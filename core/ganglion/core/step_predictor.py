"""The next step on a screen, by any model, with both memories kept.

    predictor = StepPredictor(ask)  # ask: (image, prompt) -> the model's text
    session = GuiSession(predictor, "turn on Wi-Fi")
    step = session.step(screenshot)
    step.answer["action"], step.point_pixels  # "click", (512, 384)
    session.save(path)  # and GuiSession.load(path, predictor) goes on from there

No torch, no model: an ONNX bundle, a server and a function in a test are all an `ask`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.gui_memory import GuiMemory, LongTermMemory, ShortTermMemory
from ganglion.core.images import upright_size
from ganglion.core.paths import write_json
from ganglion.core.tasks.answers import read_answer
from ganglion.core.tasks.gui_grounding import pixel_at
from ganglion.core.tasks.gui_prompt import Fits, prompt
from ganglion.core.tasks.gui_schema import SCHEMA

Ask = Callable[[Any, str], str]
"""(image, prompt) -> what the model wrote"""


@dataclass(frozen=True)
class Prediction:
    """One step.

    answer             what the model said, None where that is no valid answer
    point_pixels       the pixel it points at, at the screenshot's own resolution; None where it points nowhere
    short_term_memory  the memories after this step
    long_term_memory
    prompt             what was asked
    text               what the model wrote
    """

    answer: dict[str, Any] | None
    point_pixels: tuple[int, int] | None
    short_term_memory: ShortTermMemory
    long_term_memory: LongTermMemory
    prompt: str
    text: str


class StepPredictor:
    """Asks a model for one step at a time; it holds no state of a task.

    Args:
        ask: the model.
        fits: prompt -> whether the model takes it beside a screenshot and an answer; memory is cut until it does.
    """

    def __init__(self, ask: Ask, fits: Fits | None = None) -> None:
        self._ask, self._fits = ask, fits

    def predict_step(
        self,
        image: Any,
        user_goal: str,
        short_term_memory: ShortTermMemory,
        long_term_memory: LongTermMemory,
    ) -> Prediction:
        """The next step, and both memories after it.

        Args:
            image: the screenshot: a file, its bytes, a PIL image, or an array (height, width, 3) uint8.
            user_goal: what the user wants, in words.
            short_term_memory: what was done so far.
            long_term_memory: what was remembered so far.

        Raises:
            InputError: the goal alone does not fit, or the image can't be read.
        """
        size = _size(image)
        asked = prompt(user_goal, GuiMemory(short_term_memory, long_term_memory), self._fits)
        text = self._ask(image, asked)
        answer = read_answer(text, SCHEMA)
        point = answer["point"] if answer else None
        return Prediction(
            answer,
            pixel_at(point, size) if point else None,
            short_term_memory.after(answer),
            long_term_memory.after(answer),
            asked,
            text,
        )


class GuiSession:
    """One task on a screen, from its goal to its end; it can be saved after any step and gone on with later."""

    def __init__(self, predictor: StepPredictor, goal: str, memory: GuiMemory | None = None) -> None:
        if not goal.strip():
            raise InputError("the goal is empty", remedy="say what is wanted")
        self._predictor, self._goal, self._memory = predictor, goal, memory or GuiMemory()

    @property
    def goal(self) -> str:
        """What the user wants."""
        return self._goal

    @property
    def memory(self) -> GuiMemory:
        """Both memories, as the next prompt shows them."""
        return self._memory

    @property
    def steps(self) -> int:
        """How many steps were predicted so far."""
        return self._memory.short_term.count

    def step(self, image: Any) -> Prediction:
        """Predict the next step from a screenshot, and remember it.

        Raises:
            InputError: as `StepPredictor.predict_step`; the memories are then as before.
        """
        done = self._predictor.predict_step(image, self._goal, self._memory.short_term, self._memory.long_term)
        self._memory = GuiMemory(done.short_term_memory, done.long_term_memory)
        return done

    def save(self, path: Path) -> None:
        """Write goal, number of steps and memories as JSON, atomically."""
        write_json(path, {"goal": self._goal, "steps": self.steps, **self._memory.to_json()})

    @classmethod
    def load(cls, path: Path, predictor: StepPredictor) -> GuiSession:
        """The session that `save` wrote.

        Raises:
            InputError: the file is missing or is not one that `save` wrote.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError("no such file", where=path, remedy="give one that a session saved") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"can't be read ({error})", where=path, remedy="give one that a session saved") from None
        if not isinstance(data, dict) or not isinstance(data.get("goal"), str):
            raise InputError("names no goal", where=path, remedy="give a file that a session saved")
        try:
            session = cls(predictor, data["goal"], GuiMemory.from_json(data))
        except InputError as error:
            raise InputError(error.what, where=path, remedy=error.remedy) from None
        if data.get("steps") != session.steps:
            raise InputError(
                f"says {data.get('steps')!r} steps, its memory {session.steps}", where=path, remedy="restore the file"
            )
        return session


def _size(image: Any) -> tuple[int, int]:
    """Width and height as people see it, in pixels."""
    if isinstance(image, Image.Image):
        return upright_size(image)
    if hasattr(image, "shape"):
        height, width = image.shape[:2]
        return int(width), int(height)
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes | bytearray) else image) as opened:
            return upright_size(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the screenshot can't be read ({reason:.160})", remedy="give an image") from None
