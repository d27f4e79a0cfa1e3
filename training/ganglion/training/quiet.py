"""Silencing what the libraries say on every load, so that what is printed is for the user."""

from __future__ import annotations

import logging
import os


def quiet() -> None:
    """Only errors from transformers, the hub and bitsandbytes, no loading bars, no warning on tokenizers and forks."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers

    for name in ("bitsandbytes", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
