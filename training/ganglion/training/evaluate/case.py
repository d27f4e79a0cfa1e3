"""One case, not a file: what an adapter answers to an image and the options of its task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, get_task
from ganglion.training.evaluate.case_kinds import Question, kind_of
from ganglion.training.evaluate.config import Case, EvaluateConfig
from ganglion.training.evaluate.members import ADAPTER, VOTE, Member, with_vote
from ganglion.training.evaluate.models import ask_each


def answer_case(config: EvaluateConfig, members: Sequence[Member], case: Case) -> dict[str, Any]:
    """The answer of each model, the untuned base's beside it. What the case keeps is of the adapter, or of the vote.

    Returns:
        {"prompt": ..., name of the model: {"answer", ..., "text"}}: what was read from its text, None where that is no
        valid answer; what the task says of it; the text as it came.

    Raises:
        InputError: one case of this task can't be asked, or a value of the case is bad.
    """
    task = get_task(members[0].run["task"])
    question = kind_of(task.name, case).start(case)
    _check_image(case.image)
    asked, texts = _ask(config, members, question)
    found: dict[str, Any] = {"prompt": asked.prompt}
    answers = {name: text for name, (text,) in with_vote(task, members, [asked], texts).items()}
    for name, text in answers.items():
        found[name] = {**question.outcome(text), "text": text}
    question.keep(answers[VOTE if VOTE in answers else ADAPTER])
    return found


def _ask(config: EvaluateConfig, members: Sequence[Member], question: Question) -> tuple[Example, dict[str, list[str]]]:
    """What the first model was asked, and the text of each."""
    asked: list[Example] = []
    texts: dict[str, list[str]] = {}
    length = config.max_new_tokens or get_task(members[0].run["task"]).max_new_tokens

    def ask(name: str, model: Any, processor: Any) -> None:
        from ganglion.model.dialogue.answers import write_answers
        from ganglion.training.evaluate.room import room_for

        room, whole = room_for(model, processor, length), question.example(None)
        asked.append(question.example(lambda prompt: room(whole, prompt)))
        texts[name] = write_answers(model, processor, asked[-1:], batch_size=1, max_new_tokens=length, label=name)

    ask_each(members, config.with_base, ask)
    return asked[0], texts


def _check_image(path: Path) -> None:
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="correct --image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"can't be decoded ({reason:.160})", where=path, remedy="give another --image") from None
