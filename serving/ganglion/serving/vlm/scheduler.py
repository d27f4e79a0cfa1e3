"""Who is answered when: requests come in, wait in order, and are written together, token by token.

    submit -> waiting (bounded) -> prompt read, alone -> running: one decoder call per token for all -> result

A thread works as long as there is anything to answer. In a round it reads at most one prompt, of the request that waits
longest, and then lets each running answer go on by a token, or by what its grammar forces. So a running answer waits
for no more than one prompt between two tokens: as long as that prompt takes to read, its images included. Nobody
overtakes: a request that must wait for memory lets those behind it wait too.

Where one answer runs alone, and where `joins` is false, each is read in a call of its own, some at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ganglion.serving.vlm.answering import Answering
from ganglion.serving.vlm.joined import JoinedStates
from ganglion.serving.vlm.limits import KvBudget, ServingLimits
from ganglion.serving.vlm.refusals import Busy, TooLate

# Of forced tokens in one call for several answers: a row that reads one is filled up to as many.
_AT_ONCE = 16


@dataclass(frozen=True)
class Load:
    """What goes on in a scheduler.

    running, waiting    answers
    kv_bytes            that running answers may come to need
    kv_bytes_budget     that there are
    """

    running: int
    waiting: int
    kv_bytes: int
    kv_bytes_budget: int


class Scheduler:
    """Writes answers of one decoder.

    Args:
        vision: session of the vision tower; None without one.
        limits: how many are served and wait.
        budget: memory of their caches.
        joins: several answers are read in one call.
        at_once: calls in as many threads where they are not.
    """

    def __init__(self, vision: Any, limits: ServingLimits, budget: KvBudget, joins: bool, at_once: int) -> None:
        self._vision, self._limits, self._budget, self._joins = vision, limits, budget, joins
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="vlm-decoder")
        self._lock = threading.Lock()
        self._waiting: deque[Answering] = deque()
        self._running: list[Answering] = []
        self._joined: JoinedStates | None = None
        self._thread: threading.Thread | None = None

    def submit(self, answering: Answering) -> None:
        """Take a request; its `result` tells the rest. Cancelled, it is gone by the next token.

        Raises:
            InputError: it needs more memory than there is.
            Busy: as many are held as may be.
        """
        self._budget.check(answering.most_tokens)
        with self._lock:
            held = len(self._waiting) + len(self._running)
            if held >= self._limits.running + self._limits.waiting:
                raise Busy(f"{held} requests run or wait already", remedy="ask again later")
            self._waiting.append(answering)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="vlm-scheduler", daemon=True)
                self._thread.start()
        answering.result.add_done_callback(lambda _: self._forget(answering))

    @property
    def load(self) -> Load:
        """As it is now."""
        with self._lock:
            running, waiting = list(self._running), len(self._waiting)
        used = self._budget.needs(one.most_tokens for one in running)
        return Load(len(running), waiting, used, self._budget.total)

    def _work(self) -> None:
        try:
            while self._round():
                pass
        except BaseException as error:  # nobody may wait forever for an answer that nobody writes
            with self._lock:
                held = [*self._running, *self._waiting]
                self._running, self._joined, self._thread = [], None, None
                self._waiting.clear()
            for one in held:
                _fail(one, error)
            raise

    def _round(self) -> bool:
        """One prompt, and a token for everyone; false where nothing is left to do."""
        self._leave()
        with self._lock:
            entering = self._admitted()
            if entering is None and not self._running:
                self._thread = None
                return False
        if entering is not None:
            self._part()
            _guarded(entering, lambda: entering.read_prompt(self._vision))
        ready = [one for one in self._running if not one.over]
        if len(ready) > 1 and self._joins:
            self._go_on_together(ready)
        else:
            self._part()
            each = map if len(ready) < 2 else self._pool.map
            list(each(self._go_on, ready))
        return True

    def _admitted(self) -> Answering | None:
        """The request that waits longest, where there is room for it; it counts as running from now on."""
        if not self._waiting or len(self._running) >= self._limits.running:
            return None
        if self._budget.needs(one.most_tokens for one in (*self._running, self._waiting[0])) > self._budget.total:
            return None
        self._running.append(self._waiting.popleft())
        return self._running[-1]

    def _leave(self) -> None:
        """Part with answers that are over, cancelled or late."""
        with self._lock:
            late = [one for one in (*self._running, *self._waiting) if one.is_late and not one.over]
            self._waiting = deque(one for one in self._waiting if one not in late)
        for one in late:
            _fail(one, TooLate("the answer was not whole by its deadline", remedy="allow more time"))
        left = [one for one in self._running if one.over or one.result.done()]
        if left:
            self._part()
            with self._lock:
                self._running = [one for one in self._running if one not in left]
        for one in left:
            _guarded(one, lambda one=one: _deliver(one))  # type: ignore[misc]  # bound now
            one.state.cache.clear()

    def _go_on(self, one: Answering) -> None:
        _guarded(one, lambda: one.choose(one.state.read(one.unread)))

    def _go_on_together(self, ready: Sequence[Answering]) -> None:
        try:
            self._joined = self._joined or JoinedStates([one.state for one in ready])
            logits = self._joined.read([one.unread[:_AT_ONCE] for one in ready])
        except Exception as error:  # ONNX Runtime's share no base class
            self._joined = None
            for one in ready:
                _fail(one, error)
            return
        for one, row in zip(ready, logits, strict=True):
            one.unread = one.unread[_AT_ONCE:]
            if not one.unread:
                _guarded(one, lambda one=one, row=row: one.choose(row))  # type: ignore[misc]  # bound now

    def _part(self) -> None:
        if self._joined is not None:
            self._joined.part()
            self._joined = None

    def _forget(self, answering: Answering) -> None:
        """One that was cancelled while it waited holds no place in the queue."""
        with self._lock:
            if answering in self._waiting:
                self._waiting.remove(answering)


def _guarded(one: Answering, step: Callable[[], None]) -> None:
    """Whatever goes wrong within one answer ends that one alone."""
    try:
        step()
    except Exception as error:
        _fail(one, error)


def _deliver(one: Answering) -> None:
    if not one.result.done():
        answer = one.answer()
        if one.result.set_running_or_notify_cancel():
            one.result.set_result(answer)


def _fail(one: Answering, error: BaseException) -> None:
    one.over = True
    if not one.result.done() and one.result.set_running_or_notify_cancel():
        one.result.set_exception(error)
