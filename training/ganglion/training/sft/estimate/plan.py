"""What is to be trained, as far as memory and time depend on it."""

from __future__ import annotations

from dataclasses import dataclass

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Plan:
    """One way to fine-tune a base."""

    quantization: str = "nf4"
    """How the frozen linear layers are kept: nf4, int8 or none."""
    dtype: str = "bfloat16"
    """Of everything else that is frozen, and of activations: float32, bfloat16 or float16."""
    autocast: bool = True
    """Mixed precision by autocast, as on a GPU; ignored at float32. Without it the adapter computes in float32."""
    lora_r: int = 16
    """Rank of the adapter."""
    lora_dropout: float = 0.05
    """Above 0, each adapted layer keeps its own dropped-out copy of its input for the backward pass."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """As in PEFT: "all-linear", one regular expression, or name endings."""
    adapt_vision: bool = True
    """Whether layers of the vision tower are adapted too, where they match."""
    batch_size: int = 8
    """Rows per forward pass, in each process."""
    accumulation: int = 1
    """Forward passes per optimizer step."""
    text_tokens: int = 256
    """Tokens of a row beside those of its images; the prompt and the answer."""
    answer_tokens: int = 64
    """Of the longest answer in a batch: the output head runs over these only."""
    images: int = 1
    """Images per row; ignored by models without vision."""
    image_size: tuple[int, int] = (640, 480)
    """Width and height of an image as it is on disk, pixels."""
    max_pixels: int | None = None
    """Images are scaled down to this many pixels; None leaves them, up to the processor's own limit."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each layer, and recompute the rest in the backward pass."""
    optimizer: str = "adamw"
    """adamw (two float32 moments), adamw_8bit (bitsandbytes) or muon (one float32 momentum)."""
    attention: str = "sdpa"
    """sdpa and flash_attention_2 keep no attention scores; eager does."""
    padded: bool = True
    """Whether rows of one batch differ in length: an attention mask is then kept, and keys and values are repeated."""
    world_size: int = 1
    """Processes that train in data-parallel."""
