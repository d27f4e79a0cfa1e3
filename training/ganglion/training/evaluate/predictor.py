"""A StepPredictor of an adapter folder: what `ganglion evaluate` asks, one step at a time, from Python.

session = GuiSession(adapter_predictor(Path("runs/gui_step")), "turn on Wi-Fi")
session.step(screenshot)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.step_predictor import StepPredictor
from ganglion.core.tasks import GUI_STEP, Example
from ganglion.training.evaluate.adapter import load_tuned, read_run


def adapter_predictor(adapter: Path, max_new_tokens: int = GUI_STEP.max_new_tokens) -> StepPredictor:
    """Load the adapter on its base; answers are greedy, with no constraint on the text.

    Args:
        adapter: folder that 'ganglion train sft' wrote.
        max_new_tokens: where an answer is cut off.

    Raises:
        InputError: it is no adapter of gui_step, or its base can't be used.
    """
    run = read_run(adapter)
    if run["task"] != GUI_STEP.name:
        raise InputError(f"answers {run['task']}", where=adapter, remedy=f"give an adapter of {GUI_STEP.name}")
    model, processor = load_tuned(adapter, run)
    from ganglion.model.dialogue.answers import write_answers
    from ganglion.training.evaluate.room import room_for

    images = processor.image_processor
    # The screenshot is not known where a prompt is cut, so the room that the largest one takes is left for it.
    pixels_per_token = (images.patch_size * images.merge_size) ** 2
    room = room_for(model, processor, max_new_tokens + images.size["longest_edge"] // pixels_per_token)

    def ask(image: Any, prompt: str) -> str:
        with _file(image) as path:
            example = Example((path,), prompt, "", {})
            (text,) = write_answers(
                model, processor, [example], batch_size=1, max_new_tokens=max_new_tokens, label="step"
            )
        return text

    return StepPredictor(ask, lambda prompt: room(Example((), "", "", {}), prompt))


@contextmanager
def _file(image: Any) -> Iterator[Path]:
    """The screenshot as a file, which is where models read from here."""
    if isinstance(image, str | Path):
        yield Path(image)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "screen.png"
        if isinstance(image, bytes | bytearray):
            path.write_bytes(image)
        else:
            (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
        yield path
