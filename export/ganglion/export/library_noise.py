"""llmcompressor and compressed-tensors without their pages of logs and progress bars."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from ganglion.core.errors import MissingExtra

Report = Callable[[str], None]
_PASS = re.compile(r"\((\d+)/(\d+)\): Calibrating")


@contextmanager
def silenced(report: Report = lambda doing: None) -> Iterator[Report]:
    """Nothing that is done within shows; errors are raised as ever.

    Args:
        report: told of each part of the model that calibration reaches.

    Yields:
        report, shown although all else is not.

    Raises:
        MissingExtra: the libraries are not installed.
    """
    try:
        import loguru
    except ImportError:
        raise MissingExtra("llmcompressor", "export") from None
    _mute(loguru.logger)
    shown, before = (sys.stdout, sys.stderr), logging.root.manager.disable

    def tell(doing: str) -> None:
        with redirect_stdout(shown[0]), redirect_stderr(shown[1]):
            report(doing)

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(_Progress(tell)):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield tell
        finally:
            logging.disable(before)


class _Progress(io.TextIOBase):
    """Takes what bars write, and passes on how far they are: llmcompressor tells in no other way."""

    def __init__(self, tell: Report) -> None:
        self._tell, self._told = tell, ""

    def write(self, text: str) -> int:
        if (found := _PASS.search(text)) and found[0] != self._told:
            self._told = found[0]
            self._tell(f"calibrate, part {found[1]} of {found[2]}")
        return len(text)


def _mute(logger: Any) -> None:
    for variable in ("LLM_COMPRESSOR_LOG_DISABLED", "COMPRESSED_TENSORS_LOG_DISABLED"):
        os.environ.setdefault(variable, "true")  # read once, when they are imported
    for library in ("llmcompressor", "compressed_tensors"):
        logger.disable(library)
    try:
        logger.level("METRIC")
    except ValueError:  # a level of llmcompressor's own; where its log is disabled it uses it and does not make it
        logger.level("METRIC", no=38)
