"""Opening an ONNX file plainly, on the CPU and one thread."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from ganglion.core.errors import BundleError


def open_onnx(path: Path, *, mapped: bool = False) -> ort.InferenceSession:
    """A CPU session; ONNX Runtime's own warnings stay out of the terminal.

    Args:
        path: the file.
        mapped: leave weights that lie in a file beside it there, and read them as they are needed, not in a copy that
            kernels like better. In float32 a fifth slower, and next to no memory; kernels of fewer bits need the copy.

    Raises:
        BundleError: the file can't be loaded.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if mapped and path.with_name(f"{path.name}.data").is_file():
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        reason = " ".join(str(error).split())
        raise BundleError(f"can't be loaded ({reason:.200})", where=path, remedy="export again") from None
