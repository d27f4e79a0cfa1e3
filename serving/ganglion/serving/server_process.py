"""A server that somebody else wrote, as a child: started, waited for until it serves, and ended with its own children.

with ServerProcess("Triton", command, environment, log) as server:
    server.wait_until_ready(answers)
    server.run_until_signal()
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from ganglion.core.errors import GanglionError

_POLL_S = 0.1
_GRACE_S = 30.0
_TIDY_S = 2.0  # for what a server started, once it has ended itself
_LEAVE_S = 3.0  # for a server that has finished its work, to end
_TOLD_BYTES = 20_000  # of the log's end
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_SHARED_MEMORY = Path("/dev/shm")
# Waits for the end of its input, which comes when this process ends and no sooner; then ends the group $0 and removes
# what it shared, files whose names begin with $1.
_WATCH = """
read -r _; kill -s TERM -- "-$0"; sleep 3; kill -s KILL -- "-$0"; [ -z "$1" ] || rm -f -- "$1"*
"""


class ServerProcess:
    """A child in a process group of its own, which ends when this process does, however that is.

    Where this process is killed, the kernel tells the child alone; a watching shell then ends what the child started.

    Args:
        name: for messages.
        command: program and arguments.
        environment: all of its variables.
        log: file that takes what it prints; written anew.
        shared: how the names of its shared memory begin, of it alone: where it is killed, none of that is left. "" for
            a server that has none of a known name.
        said: file for its standard output, apart from the log.
        asked: set by SIGINT and SIGTERM; give several servers the same, and they end together.
        nice: how far it stands back from others for a core, 0 to 19; no less than this process does.

    Raises:
        GanglionError: it can't be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        shared: str = "",
        *,
        said: Path | None = None,
        asked: threading.Event | None = None,
        nice: int = 0,
    ) -> None:
        self.name, self.log, self._shared = name, log, shared
        self._asked, self._handlers = asked or threading.Event(), ExitStack()
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            log.write_bytes(b"")
            with log.open("ab") as errors, (said or log).open("ab") as output:
                self._process = subprocess.Popen(
                    command,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise GanglionError(f"can't be started ({error})", where=command[0], remedy="see whether it runs") from None
        _stand_back(self._process.pid, nice)
        try:
            self._watch = _watch(self._process.pid, str(_SHARED_MEMORY / shared) if shared else "")
        except OSError as error:
            self._process.kill()
            self._process.wait()
            raise GanglionError(f"can't be watched ({error})", where="/bin/sh", remedy="see whether it runs") from None

    def wait_until_ready(
        self,
        is_ready: Callable[[], bool],
        explain: Callable[[str], str | None] = lambda said: None,
        limit_s: float = 600.0,
    ) -> None:
        """Wait until it serves, and say for how long; quiet where standard error is no terminal.

        Args:
            is_ready: asked again and again; exceptions of a connection mean no.
            explain: what its log's end means and what to do about it, where that is known.
            limit_s: how long it may take.

        Raises:
            GanglionError: it ended, or did not come up in time.
        """
        end_s = time.monotonic() + limit_s
        with tqdm(desc=f"starting {self.name}", disable=None, bar_format="{desc} [{elapsed}]") as bar:
            while time.monotonic() < end_s:
                if self._asked.is_set():
                    raise GanglionError("was told to end before it served", where=self.name)
                if self.ended:
                    raise self.failure(explain)
                with suppress(OSError):
                    if is_ready():
                        return
                time.sleep(_POLL_S)
                bar.refresh()
        self.stop()
        raise self._failure(f"did not serve within {limit_s:g} s", explain)

    def run_until_signal(
        self,
        explain: Callable[[str], str | None] = lambda said: None,
        problem: Callable[[], str | None] = lambda: None,
        has_finished: Callable[[str], bool] = lambda said: False,
    ) -> int:
        """Wait for SIGINT or SIGTERM, then end it; 0 when it ended as it was asked to.

        Args:
            explain: see `wait_until_ready`.
            problem: asked again and again: why it is of no use any more, though it runs; None while it is.
            has_finished: see `stop`.

        Raises:
            GanglionError: it ended by itself, or was ended for being of no use.
        """
        while not self._asked.wait(_POLL_S):
            if self.ended:
                raise self.failure(explain)
            if (why := problem()) is not None:
                self.stop()
                raise self._failure(f"was ended, {why}", explain)
        return 0 if self.stop(has_finished=has_finished) else 1

    @property
    def ended(self) -> bool:
        """Its process is not there any more."""
        return self._process.poll() is not None

    def failure(self, explain: Callable[[str], str | None] = lambda said: None) -> GanglionError:
        """What to say of one that has ended by itself; `explain` as for `wait_until_ready`."""
        return self._failure(f"ended with status {self._process.returncode}", explain)

    def stop(
        self,
        grace_s: float = _GRACE_S,
        has_finished: Callable[[str], bool] = lambda said: False,
        leave_s: float = _LEAVE_S,
    ) -> bool:
        """End it and all that it started, at last by force; True where it needed no force, or had finished its work.

        Args:
            grace_s: after which force is used.
            has_finished: whether the end of its log says that nothing is left to do. What holds it up then, such as
                clients that keep a connection open, is not waited for.
            leave_s: after which force is used once it has finished.
        """
        self._signal(signal.SIGTERM)
        ended = finished = False
        end_s = time.monotonic() + grace_s
        while not ended and time.monotonic() < end_s:
            ended = self.ended
            if not ended and not finished and has_finished(_end_of(self.log)):
                finished, end_s = True, min(end_s, time.monotonic() + leave_s)
            time.sleep(0 if ended else _POLL_S)
        if ended:
            self._wait_for_group()
        self._watch.kill()
        self._watch.communicate()
        self._signal(signal.SIGKILL)  # whoever is left of its group
        self._process.wait()
        if self._shared:
            for left in _SHARED_MEMORY.glob(f"{self._shared}*"):
                left.unlink(missing_ok=True)
        return ended or finished

    def __enter__(self) -> ServerProcess:
        """Give the server; from now on SIGINT and SIGTERM are for it, where this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._handlers.enter_context(_signals(self._asked))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        with self._handlers:
            self.stop()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _wait_for_group(self) -> None:
        """Let what it started tidy up too, such as Python's tracker of shared memory."""
        end_s = time.monotonic() + _TIDY_S
        with suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < end_s:
                os.killpg(self._process.pid, 0)
                time.sleep(_POLL_S)

    def _failure(self, what: str, explain: Callable[[str], str | None]) -> GanglionError:
        said = _end_of(self.log)
        meaning = explain(said)
        if meaning is None:
            lines = [line.strip() for line in said.splitlines() if line.strip()]
            telling = [line for line in lines if "error" in line.lower()]
            meaning = f"its log says: {(telling or lines or ['nothing'])[-1]:.300}"
        return GanglionError(f"{what}; {meaning}", where=self.name, remedy=f"see {self.log}")


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TOLD_BYTES))
        return file.read().decode(errors="replace")


def _watch(group: int, shared: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, str(group), shared],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is not for it
    )


def _stand_back(pid: int, nice: int) -> None:
    """Lower a session's priority, of which the kernel may keep one for all of it, beside each process's (sched(7))."""
    nice = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
    if nice <= 0:
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PGRP, pid, nice)
        Path(f"/proc/{pid}/autogroup").write_text(f"{nice}\n", encoding="ascii")


def _end_with_parent() -> None:
    """In the child, before the program: be ended when the thread that started it ends (prctl(2); Linux)."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _signals(asked: threading.Event) -> Iterator[None]:
    """Set by SIGINT or SIGTERM, which have no other effect meanwhile."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: asked.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
