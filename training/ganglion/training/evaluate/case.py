"""One case, not a file: what an exo_assist adapter answers to an image, a feedback and the assistance so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import EXO_ASSIST, Example, ExoDialogue
from ganglion.core.tasks.exo_rules import ASSISTANCE_LIMITS
from ganglion.training.evaluate.config import Case, EvaluateConfig
from ganglion.training.evaluate.members import Member, with_vote
from ganglion.training.evaluate.models import ask_each


def answer_case(config: EvaluateConfig, members: Sequence[Member], case: Case) -> dict[str, Any]:
    """The answer of each model, the untuned base's beside it.

    Returns:
        {"prompt": ..., name of the model: {"answer", "level", "note", "text"}}: what was read from its text, None where
        that is no valid answer; the assistance from then on, in percent; what was wrong; the text as it came.

    Raises:
        InputError: the adapter answers another task, or a value of the case is bad.
    """
    _check(members[0].run["task"], case)

    def dialogue() -> tuple[ExoDialogue, Example]:
        started = ExoDialogue(case.previous)
        question = started.ask(case.feedback, [case.image])
        return started, Example(question.images, question.prompt, "", {})

    _, example = dialogue()
    found: dict[str, Any] = {"prompt": example.prompt}
    for name, (text,) in with_vote(EXO_ASSIST, members, [example], _texts(config, members, example)).items():
        outcome = dialogue()[0].take(text)
        found[name] = {"answer": outcome.answer, "level": outcome.level, "note": outcome.note, "text": text}
    return found


def _texts(config: EvaluateConfig, members: Sequence[Member], example: Example) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}

    def ask(name: str, model: Any, processor: Any) -> None:
        from ganglion.training.evaluate.answers import write_answers

        length = config.max_new_tokens or EXO_ASSIST.max_new_tokens
        texts[name] = write_answers(model, processor, [example], batch_size=1, max_new_tokens=length, label=name)

    ask_each(members, config.with_base, ask)
    return texts


def _check(task: str, case: Case) -> None:
    if task != EXO_ASSIST.name:
        raise InputError(f"--image, --feedback and --previous ask {EXO_ASSIST.name}, not {task}", remedy="use --data")
    low, high = ASSISTANCE_LIMITS
    if not low <= case.previous <= high:
        raise InputError(f"--previous is {case.previous:g}", remedy=f"give {low} to {high} (percent)")
    _check_image(case.image)


def _check_image(path: Path) -> None:
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="correct --image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"can't be decoded ({reason:.160})", where=path, remedy="give another --image") from None
