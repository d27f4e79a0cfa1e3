"""Clients' questions around one `VlmEngine`: read, asked, told piece by piece, cancelled when the client has gone.

    take -> a worker reads it and asks the engine -> tokens -> one thread tells all clients -> pieces of text

`take` comes back at once. The scheduler's thread only puts tokens into a queue: telling clients takes none of its time,
and where telling is the slower one, pieces get larger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.serving.triton.vlm_wire import last_outputs, text_outputs
from ganglion.serving.vlm.answering import Answering
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.refusals import Busy
from ganglion.serving.vlm.scheduler import Load
from ganglion.serving.vlm.text import TextPieces
from ganglion.serving.vlm_request.bounds import RequestBounds
from ganglion.serving.vlm_request.request import VlmRequest

_LOOK_S = 0.02  # between two looks at which clients have gone
Step = Sequence[int] | Exception | None  # tokens, what ended the answer, or that it is over


class Client(Protocol):
    """Whoever asked one question. Nothing here raises."""

    def tell(self, outputs: Mapping[str, npt.NDArray[Any]], last: bool) -> None:
        """Take a piece of the answer."""

    def refuse(self, error: Exception) -> None:
        """Hear why there is no answer, or no more of it; nothing follows."""

    def is_gone(self) -> bool:
        """It does not want the answer any more."""


@dataclass
class Asked:
    """What is known of a question when it is over; nothing of what was said.

    outcome  "stop" and "length" as the client is told; else "refused", "failed", "client_gone"
    """

    outcome: str = "failed"
    images: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)


class _Talk:
    """One question, from when it came to the end of its answer."""

    def __init__(self, client: Client) -> None:
        self.client, self.asked = client, Asked()
        self.answering: Answering | None = None
        self.pieces: TextPieces | None = None
        self.stream = self.over = False
        self._text = ""

    def hear(self, said: Sequence[Step]) -> str | None:
        """Take in what has come: how the answer ended, or None while it goes on. Raises why there is none."""
        for step in said:
            if isinstance(step, Exception):
                raise step
            if step is None:
                return self._rest()
            if step and self.pieces is not None:
                self.asked.answer_tokens += len(step)
                self._text += self.pieces.add(step)
                if self.pieces.stopped:
                    return "stop"
        return None

    def take_text(self) -> str:
        """What was not told yet."""
        text, self._text = self._text, ""
        return text

    def _rest(self) -> str:
        assert self.answering is not None and self.pieces is not None
        answer = self.answering.result.result()
        self._text += self.pieces.rest()
        return "stop" if answer.complete or self.pieces.stopped else "length"


class VlmHost:
    """Hosts one engine's clients.

    Args:
        engine: answers.
        read: makes a request of what `take` was given, or raises what is wrong with it.
        bounds: of a request.
        most: questions held at once, read or not.
        ended: told of each that is over.
        loaded: told what goes on in the engine, when that has changed.
    """

    def __init__(
        self,
        engine: VlmEngine,
        read: Callable[[Any], VlmRequest],
        bounds: RequestBounds,
        most: int,
        ended: Callable[[Asked], None] = lambda asked: None,
        loaded: Callable[[Load], None] = lambda load: None,
    ) -> None:
        self._engine, self._read, self._bounds, self._most = engine, read, bounds, most
        self._ended, self._loaded = ended, loaded
        self._held: set[_Talk] = set()
        self._lock = threading.Lock()
        self._load: Load | None = None
        self._closed = False
        # What there is to tell; None to stop.
        self._steps: SimpleQueue[tuple[_Talk, Step] | None] = SimpleQueue()
        # Images and grammars are prepared here, so that running answers do not wait for them.
        self._workers = ThreadPoolExecutor(bounds.workers, thread_name_prefix="vlm-request")
        self._teller = threading.Thread(target=self._work, name="vlm-teller", daemon=True)
        self._teller.start()

    def take(self, sent: Any, client: Client) -> None:
        """Answer a client; returns at once."""
        talk = _Talk(client)
        with self._lock:
            full = len(self._held) >= self._most
            if not full:
                self._held.add(talk)
        if full:
            self._steps.put((talk, Busy(f"{self._most} requests run or wait already", remedy="ask again later")))
        else:
            self._steps.put((talk, ()))  # so that the teller looks whether it goes
            self._workers.submit(self._begin, talk, sent)

    def close(self) -> None:
        """Give up what is being answered, and tell those who asked."""
        self._workers.shutdown(cancel_futures=True)
        for talk in self._talks():
            self._steps.put((talk, Busy("the server stops", remedy="ask again later")))
        self._steps.put(None)
        self._teller.join()

    def _begin(self, talk: _Talk, sent: Any) -> None:
        """Read a question and hand it to the engine; on a worker's thread."""
        try:
            request = self._read(sent)
            talk.asked.images, talk.stream = request.dialogue.images, request.stream
            talk.pieces = TextPieces(self._engine.decode, request.stops)
            left_s = self._bounds.deadline_s - (time.perf_counter() - talk.asked.started)
            answering = request.ask(self._engine, lambda tokens: self._steps.put((talk, tokens)), left_s)
            talk.asked.prompt_tokens = answering.prompt_tokens
            talk.answering = answering
            if talk.over:
                answering.result.cancel()
            answering.result.add_done_callback(lambda _: self._steps.put((talk, None)))
        except Exception as error:  # of this question: the others are answered on
            self._steps.put((talk, error))

    def _work(self) -> None:
        looked = time.perf_counter()
        while not self._closed:
            for talk, said in self._next_steps().items():
                if not talk.over:
                    self._go_on(talk, said)
            if time.perf_counter() - looked >= _LOOK_S:
                self._look()
                looked = time.perf_counter()

    def _next_steps(self) -> Mapping[_Talk, Sequence[Step]]:
        """All that has come since, by talk."""
        steps: dict[_Talk, list[Step]] = {}
        busy = self._held or self._load is None or self._load.running + self._load.waiting
        with suppress(Empty):
            one = self._steps.get(timeout=_LOOK_S if busy else None)
            while one is not None:
                steps.setdefault(one[0], []).append(one[1])
                one = self._steps.get_nowait()
            self._closed = True
        return steps

    def _go_on(self, talk: _Talk, said: Sequence[Step]) -> None:
        """Tell a client what has come for it."""
        try:
            outcome = talk.hear(said)
        except Exception as error:
            self._end(talk, _outcome(error))
            talk.client.refuse(error)
            return
        asked, text = talk.asked, talk.take_text() if outcome or talk.stream else ""
        if outcome:
            self._end(talk, outcome)
            talk.client.tell(last_outputs(text, outcome, asked.prompt_tokens, asked.answer_tokens), last=True)
        elif text:
            talk.client.tell(text_outputs(text), last=False)

    def _end(self, talk: _Talk, outcome: str) -> None:
        """Its place is free."""
        talk.over, talk.asked.outcome = True, outcome
        if talk.answering is not None:
            talk.answering.result.cancel()
        with self._lock:
            self._held.discard(talk)
        self._ended(talk.asked)

    def _look(self) -> None:
        """See who has gone, and what goes on."""
        for talk in self._talks():
            if talk.answering is not None and talk.client.is_gone():
                talk.answering.result.cancel()
        load = self._engine.load
        if load != self._load:
            self._load = load
            self._loaded(load)

    def _talks(self) -> list[_Talk]:
        with self._lock:
            return [*self._held]


def _outcome(error: Exception) -> str:
    if isinstance(error, CancelledError):
        return "client_gone"
    return "refused" if isinstance(error, InputError | Busy) else "failed"
