"""Events as lines of JSON, one object each: what an operator reads and a log collector parses.

LOG.info("session_begun", extra=fields(robot=7))  # {"time": ..., "level": "info", "event": "session_begun", "robot": 7}

with log_events(Path("runs/serve/events.jsonl")):
    serve()

Lines are written by a thread, so that nobody who serves waits for a disk. Their number is bounded for each event, as is
the size of the file: a client that misbehaves ten thousand times a second fills no disk. Events that are not written
are counted in the next line of their kind ("dropped").
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError

ROOT = "ganglion"  # the logger above all of ours
FILE_BYTES = 32_000_000  # of the file, and once more of FILE.1
PER_REQUEST_S = 50.0  # lines of an event that each request of a person or a program is
_BURST = 100.0  # lines of one event at once
_WAITING = 1000  # lines for the thread that writes
_END_S = 2.0  # for it to end in

logging.getLogger(ROOT).addHandler(logging.NullHandler())  # where nobody logs, nothing is printed


def fields(**values: Any) -> dict[str, Any]:
    """What belongs to an event, for `extra` of a logger's methods."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, event, and its fields.

    A record without fields, as libraries write them, is the event "message".
    """

    def format(self, record: logging.LogRecord) -> str:
        """See class."""
        time_text = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {"time": time_text.replace("+00:00", "Z"), "level": record.levelname.lower()}
        if (found := getattr(record, "fields", None)) is None:
            told |= {"event": "message", "logger": record.name, "message": record.getMessage()}
        else:
            told |= {"event": record.msg, **found}
        if record.exc_info and record.exc_info[1]:
            told["error"] = f"{record.exc_info[1]!r:.300}"
        if dropped := getattr(record, "dropped", 0):
            told["dropped"] = dropped
        return json.dumps(told, default=str)


class RateLimit(logging.Filter):
    """Lets through so many records of each event: `burst` at once and `per_s` in the long run (a token bucket).

    Args:
        per_s: in the long run.
        burst: at once.
        clock: seconds, monotonic.
    """

    def __init__(self, per_s: float, burst: float = _BURST, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: dict[str, tuple[float, float, int]] = {}  # event -> (tokens, when, dropped since)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is written; if so it carries how many of its kind were not since the last."""
        event, now = str(record.msg) if hasattr(record, "fields") else "message", self._clock()
        tokens, when, dropped = self._left.get(event, (self._burst, now, 0))
        tokens = min(self._burst, tokens + (now - when) * self._per_s)
        if tokens < 1:
            self._left[event] = (tokens, now, dropped + 1)
            return False
        self._left[event] = (tokens - 1, now, 0)
        record.dropped = dropped
        return True


class BoundedFile(WatchedFileHandler):
    """A file that becomes FILE.1 where it would grow beyond `most_bytes`; several processes may write to it.

    Args:
        path: its folder is made.
        most_bytes: of one file.
    """

    def __init__(self, path: Path, most_bytes: int = FILE_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._most_bytes = most_bytes
        super().__init__(path, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, in a new file where this one is full. One that can't be written is lost."""
        try:
            self.reopenIfNeeded()
            if self.stream is not None and os.fstat(self.stream.fileno()).st_size >= self._most_bytes:
                self._turn(self.stream.fileno())
            super().emit(record)
        except OSError:
            return

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: see `emit`."""

    def _turn(self, opened: int) -> None:
        """Rename the file, unless another process has done so just now."""
        fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.stat(self.baseFilename), os.fstat(opened)):
                os.replace(self.baseFilename, f"{self.baseFilename}.1")
        except FileNotFoundError:
            return  # the other has, and nobody wrote since
        finally:
            fcntl.flock(opened, fcntl.LOCK_UN)


class Stderr(logging.Handler):
    """Standard error, past Python's buffer: a thread that waits there for a reader holds nothing that an end needs."""

    def createLock(self) -> None:
        """None: one thread writes, and the interpreter's end would wait for the lock."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; one that can't be written is lost."""
        try:
            os.write(sys.stderr.fileno(), f"{self.format(record)}\n".encode())
        except (OSError, ValueError):
            return


@contextmanager
def log_events(file: Path | None = None, per_s: float = 1.0) -> Iterator[None]:
    """Write what Ganglion's loggers say, to a file or stderr, until the block ends.

    What waits then is still written, unless nobody reads it: that ends the block `_END_S` later.

    Args:
        file: added to.
        per_s: lines of one event, in the long run.

    Raises:
        InputError: the file can't be written.
    """
    try:
        written: logging.Handler = BoundedFile(file) if file else Stderr()
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=f"log {file}") from None
    written.setFormatter(JsonFormatter())
    waiting = _Waiting()
    waiting.addFilter(RateLimit(per_s))
    listener, log = _Writer(waiting.queue, written), logging.getLogger(ROOT)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(waiting)
    listener.start()
    try:
        yield
    finally:
        log.removeHandler(waiting)
        log.setLevel(level)
        listener.stop()


class _Writer(QueueListener):
    """Writes what waits, in a thread of its own."""

    def stop(self) -> None:
        """Write what waits, if that is not in vain, and end."""
        assert self._thread is not None
        self.enqueue_sentinel()
        self._thread.join(_END_S)
        if not self._thread.is_alive():
            for handler in self.handlers:
                handler.close()


class _Waiting(QueueHandler):
    """Hands records to the thread that writes them; where that can't keep up, they are lost, and nobody waits."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        super().__init__(self._lines)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is: it stays in this process."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """See class. The queue itself has no bound, so that the listener's last word always fits in."""
        if self._lines.qsize() < _WAITING:
            self._lines.put_nowait(record)
