"""Memory that is no longer needed, given back to the system before the next stage takes its own."""

from __future__ import annotations

import ctypes
import gc


def release() -> None:
    """Collect models that hold themselves in circles, and let the system have what was freed."""
    gc.collect()
    trim()


def trim() -> None:
    """Let the system have what was freed: of blocks below 32 MB glibc keeps it (mallopt(3), M_MMAP_THRESHOLD)."""
    system = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if system is not None:
        system(0)
