"""Absolute deadlines and real-time rights, by Linux calls that Python has no binding for."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
from dataclasses import dataclass

_CLOCK_MONOTONIC, _TIMER_ABSTIME = 1, 1
_MCL_CURRENT = 1
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Sleeper:
    """Sleeps until absolute monotonic times, so that lateness never accumulates. One per thread."""

    def __init__(self) -> None:
        self._time = _Timespec()
        self._pointer = ctypes.byref(self._time)
        self._sleep = _libc.clock_nanosleep

    def until(self, deadline_ns: int) -> int:
        """Sleep until `deadline_ns` (monotonic) or a signal; returns the time then. A past deadline returns at once."""
        self._time.seconds, self._time.nanoseconds = divmod(deadline_ns, 1_000_000_000)
        self._sleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, self._pointer, None)
        return time.monotonic_ns()


@dataclass(frozen=True)
class RealTime:
    """What the system granted. scheduler: "fifo" or "other". locked: memory can't be paged out."""

    scheduler: str
    locked: bool


def enter_real_time(priority: int, *, lock_memory: bool) -> RealTime:
    """Ask for SCHED_FIFO for this thread (not for its children) and for locked memory; freeze what gc has seen.

    Only memory mapped so far is locked: locking the future too would turn a later allocation beyond RLIMIT_MEMLOCK
    into a crash.
    """
    gc.collect()
    gc.freeze()
    locked = lock_memory and _libc.mlockall(_MCL_CURRENT) == 0
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except (PermissionError, OSError):
        return RealTime("other", locked)
    return RealTime("fifo", locked)


def leave_real_time() -> None:
    """Back to ordinary scheduling and garbage collection."""
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    gc.unfreeze()


def die_with_parent(parent: int, number: signal.Signals) -> bool:
    """Have `number` sent to this process when its parent ends; False if `parent` has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    return os.getppid() == parent
