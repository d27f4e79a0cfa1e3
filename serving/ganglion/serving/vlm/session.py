"""Opening an ONNX file on exactly the hardware that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort

from ganglion.core.errors import BundleError, GanglionError

CPU = "CPUExecutionProvider"


def open_session(path: Path, *, threads: int = 1, providers: Sequence[str] = (CPU,)) -> ort.InferenceSession:
    """An ONNX Runtime session.

    Args:
        path: the ONNX file.
        threads: of one operator; a session runs its operators one after the other.
        providers: execution providers by preference; the first must be used.

    Raises:
        GanglionError: ONNX Runtime silently chose another provider than the first one asked for.
        BundleError: the file can't be loaded.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Idle threads would spin for the next call and take the core from the robot's own processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = ort.get_available_providers()
    try:
        session = ort.InferenceSession(str(path), options, providers=[p for p in providers if p in available] or [CPU])
    except Exception as error:  # its exceptions share no base class
        reason = " ".join(str(error).split())
        raise BundleError(f"can't be loaded ({reason:.200})", where=path, remedy="export again") from None
    used = session.get_providers()
    if used[0] != providers[0]:
        raise GanglionError(
            f"ONNX Runtime runs on {used[0]}, not on {providers[0]} as asked",
            where=path,
            remedy=f"install the ONNX Runtime build for it, or ask for one of {available}",
        )
    return session
