"""Silencing what the libraries say on every load, so that what is printed is for the user."""

from __future__ import annotations

import logging
import os


def quiet() -> None:
    """Only errors from transformers and bitsandbytes, no loading bars, no warning on tokenizers and forks."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
