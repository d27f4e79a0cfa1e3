"""What the options of a run ask of the hardware, checked before anything is loaded."""

from __future__ import annotations

import torch

from ganglion.core.errors import InputError
from ganglion.training.sft.config import SftConfig


def chosen_dtype(config: SftConfig) -> torch.dtype | None:
    """What the run computes in; None leaves it to hardware and model width.

    Raises:
        InputError: this machine can't do what is asked for.
    """
    on_gpu = torch.cuda.is_available()
    if config.optim.name == "adamw_8bit" and not on_gpu:
        raise InputError("--optim.name adamw_8bit needs a GPU", remedy="use adamw")
    if config.precision == "float16" and not on_gpu:
        raise InputError("--precision float16 needs a GPU", remedy="use auto, float32 or bfloat16")
    if config.precision == "bfloat16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("this GPU has no bfloat16", remedy="use --precision auto or float16")
    return None if config.precision == "auto" else getattr(torch, config.precision)
