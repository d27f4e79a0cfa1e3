"""The checkpoint's own chat template, rendered in a sandbox: it came with the weights and is not trusted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ganglion.core.errors import GanglionError


@dataclass(frozen=True)
class Said:
    """An earlier exchange as the template sees it: text after `images` images, and the answer to it."""

    images: int
    text: str
    answer: str


class ChatTemplate:
    """Text and a number of images -> the prompt, up to where the assistant's answer begins.

    Args:
        source: the Jinja template.

    Raises:
        GanglionError: the template can't be compiled.
    """

    def __init__(self, source: str) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise GanglionError(f"chat template does not compile ({error})", remedy="export again") from None

    def render(self, text: str, images: int = 0, history: Sequence[Said] = (), system: str = "") -> str:
        """The prompt for one user turn: its images, then its text; one placeholder stands for each image.

        Args:
            text: the turn's text.
            images: how many images go before it.
            history: the exchanges before this turn, first one first.
            system: what goes before them; empty for what the template puts there by itself.

        Raises:
            GanglionError: the template refuses a turn.
        """
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        for said in history:
            messages += [_user(said.images, said.text), {"role": "assistant", "content": said.answer}]
        try:
            return self._template.render(messages=[*messages, _user(images, text)], add_generation_prompt=True)
        except TemplateError as error:
            raise GanglionError(f"chat template refused the prompt ({error})", remedy="export again") from None


def _user(images: int, text: str) -> dict[str, Any]:
    if not images:
        return {"role": "user", "content": text}  # templates of models without images know nothing else
    return {"role": "user", "content": [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]}


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
