"""Loading a vision-language model, or a causal language model for text-only tasks, on whatever hardware there is.

Weights come in full precision, in 4 bits for QLoRA, or in 8 bits.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganglion.core.errors import GanglionError, InputError
from ganglion.model.checkpoint import base_hash, resolve_base
from ganglion.model.processor import PROCESSORS

if TYPE_CHECKING:
    import torch

__all__ = ["base_hash", "guard_nf4", "load_vlm", "nf4_config", "preferred_device", "preferred_dtype", "resolve_base"]

# bitsandbytes warns on import that an optional CPU kernel, which it would fetch from the hub, is absent: not wanted.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
# Up to this hidden width float32 is the faster one on a CPU; at 2048 bfloat16 wins fivefold (measured, AVX512-BF16).
_FLOAT32_WIDTH = 1024


def load_vlm(
    path: str | Path,
    *,
    quantization: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> Any:
    """Load a Qwen-VL or a causal language model in eval mode, ready for an adapter, for merging or for generation.

    Args:
        path: a resolved base (`resolve_base`): folder or hub name.
        quantization: None; "nf4" for bitsandbytes NF4 with double quantization, or "int8" for LLM.int8 (Dettmers et al.
            2022), both of every Linear but the output head.
        dtype: of weights and activations, or of the computation where weights are in 4 bits; None chooses by hardware.
        device: None takes the GPU if there is one, else the CPU.

    Raises:
        InputError: no such model, another kind of model, or an unknown quantization.
        GanglionError: the model doesn't fit into memory.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, BitsAndBytesConfig

    if quantization not in (None, "nf4", "int8"):
        raise InputError(f"unknown quantization {quantization!r}", remedy='use "nf4", "int8" or None')
    target = torch.device(device) if device is not None else preferred_device()
    try:
        config = AutoConfig.from_pretrained(path)
        dtype = dtype or preferred_dtype(config, target)
        options: dict[str, Any] = {"dtype": dtype, "device_map": {"": target}}
        if quantization:
            nf4 = quantization == "nf4"
            options["quantization_config"] = nf4_config(dtype) if nf4 else BitsAndBytesConfig(load_in_8bit=True)
        auto = AutoModelForImageTextToText if config.model_type in PROCESSORS else AutoModelForCausalLM
        model = auto.from_pretrained(path, **options)
    except torch.OutOfMemoryError as error:
        raise GanglionError("the model doesn't fit into GPU memory", where=path, remedy='use "nf4"') from error
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise InputError(f"can't be loaded: {reason:.200}", where=path, remedy="give a usable checkpoint") from error
    if getattr(model, "is_loaded_in_4bit", False):
        guard_nf4(model)
    return model.eval()


def preferred_device() -> torch.device:
    """The current GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def preferred_dtype(config: Any, device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware has it and the model is wide enough to gain by it, else float32."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if config.get_text_config().hidden_size >= _FLOAT32_WIDTH else torch.float32


def nf4_config(dtype: torch.dtype) -> Any:
    """QLoRA's quantization (Dettmers et al. 2023): NF4, double quantization, computed in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def guard_nf4(model: Any) -> int:
    """Keep bitsandbytes from repacking 4-bit weights in place; returns how many layers were guarded.

    On CPUs with AVX512-BF16 the first eval-mode forward of a Linear4bit repacks its weight for a faster kernel. From
    then on dequantizing or merging reads garbage without an error, training crashes, and so does the repacking itself
    where an input width is not a multiple of 64. Without it the ordinary path is exact for every width.
    """
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return len(layers)
