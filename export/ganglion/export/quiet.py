"""Nothing but errors from the libraries that export calls."""

from __future__ import annotations

import logging
import os
import warnings


def quiet() -> None:
    """Turn off their progress bars, notes and warnings; what matters of them is said by ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="peft")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
