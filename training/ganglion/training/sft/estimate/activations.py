"""Bytes that the forward pass keeps for the backward pass, layer by layer, read off transformers 5.17 and PEFT 0.21.

What autograd keeps was compared with these formulas on real models (tests/training/test_sft_estimate_activations.py).
Names: N tokens of a batch, P patches, h hidden and i feed-forward width, w and m those of vision, e bytes per element.

- A frozen linear layer keeps nothing of its input (the weight has no gradient), but bitsandbytes' 8-bit one does.
- A LoRA layer keeps the input of its A matrix: shared with whoever else keeps it, or, with dropout, a copy of its own
  beside the mask. Without autocast a 16-bit input is first copied to float32, once per layer.
- RMSNorm keeps its input in float32.
- Fused attention keeps q, k, v, its output and one number per row and head; eager attention keeps the scores too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ganglion.training.sft.estimate.plan import DTYPE_BYTES, Plan
from ganglion.training.sft.estimate.shapes import Decoder, Tower, decoder, tower
from ganglion.training.sft.estimate.skeleton import Linear, Skeleton

# A float32 loss over B x K x V logits: log-probabilities, their gradient, and the logits' gradient at the same moment.
_LOSS_BYTES = 12


@dataclass(frozen=True)
class Batch:
    """The tensors of one forward pass: rows, tokens per row, patches per image, images, labeled tokens per row."""

    rows: int
    length: int
    patches: int
    images: int
    labeled: int

    @property
    def tokens(self) -> int:
        """Of all rows, padding included."""
        return self.rows * self.length


@dataclass(frozen=True)
class Activations:
    """Bytes at the peak of a step, by part.

    kept     for the backward pass: everything, or with checkpointing the inputs of layers and one layer's content
    logits   of the labeled tokens, with the float32 copies that the loss makes
    working  what a layer's backward pass needs for itself, its weight unpacked to 16 or 32 bits included
    inputs   the batch as it comes from the data loader
    """

    kept: int
    logits: int
    working: int
    inputs: int

    @property
    def peak(self) -> int:
        """The loss is done before the last layer's backward pass begins."""
        return self.kept + max(self.logits, self.working) + self.inputs


def activations(model: Skeleton, plan: Plan, batch: Batch, on_gpu: bool) -> Activations:
    """Estimate for one forward and backward pass of `batch`."""
    keeps, text, vision = _Keeps(plan, on_gpu), decoder(model), tower(model)
    patches = batch.patches * batch.images if vision else 0
    in_text = _moment(batch.tokens, text.layers, text.width, _decoder_layer(text, plan, batch, keeps), plan)
    # And the last norm; then three inner vectors' gradients at once, and an unpacked weight.
    kept_text = in_text + 4 * text.width * batch.tokens
    working_text = 3 * text.inner * keeps.element * batch.tokens + _unpacked(model, plan, in_vision=False)
    of_tower, kept_vision, working_vision = 0, 0, 0
    if vision and patches:
        working_vision = 3 * vision.inner * keeps.element * patches + _unpacked(model, plan, in_vision=True)
        if model.vision_adapted:
            merger = _mergers(vision, keeps) * patches
            kept_vision = merger + _moment(patches, vision.depth, vision.width, _vision_block(vision, keeps), plan)
            inputs = vision.depth * vision.width * keeps.element * patches
            # While the text is worked on, a checkpointed tower keeps its blocks' inputs only.
            of_tower = merger + inputs if plan.gradient_checkpointing else kept_vision
    logits = batch.rows * batch.labeled * text.vocabulary * _LOSS_BYTES
    # On a CPU the batches of a whole optimizer step are there at once: Trainer loads them together.
    together = 1 if on_gpu else plan.accumulation
    inputs = together * (4 * vision.patch_values * patches if vision else 0) + together * 4 * 8 * batch.tokens
    # The tower's backward pass begins where the text's, whose tensors are gone by then, has ended.
    while_text = Activations(of_tower + kept_text, logits, working_text, inputs)
    while_vision = Activations(kept_vision, 0, working_vision, inputs)
    return max(while_text, while_vision, key=lambda moment: moment.peak)


def _moment(rows: int, layers: int, width: int, content: int, plan: Plan) -> int:
    """Bytes of a stack: the content of all its layers, or with checkpointing their inputs and one layer's content."""
    if not plan.gradient_checkpointing:
        return rows * layers * content
    return rows * (layers * width * DTYPE_BYTES[plan.dtype] + content)


class _Keeps:
    """What single layers keep, in bytes per row of their input."""

    def __init__(self, plan: Plan, on_gpu: bool) -> None:
        self.plan = plan
        self.element = DTYPE_BYTES[plan.dtype]
        self.adapter = self.element if plan.autocast else 4
        self.mask = (1 if on_gpu else self.adapter) if plan.lora_dropout > 0 else 0
        # Autocast runs layer norm in float32.
        self.layer_norm = 4 if plan.autocast and self.element < 4 else self.element

    def input(self, width: int, readers: Sequence[Linear], already: bool = False) -> int:
        """The common input of some linear layers, `width` wide; `already` kept by what made it or not."""
        adapted = sum(reader.adapted for reader in readers)
        kept = adapted * self.plan.lora_r * self.adapter
        shared = not self.mask and self.adapter == self.element
        if adapted and not shared:
            kept += adapted * width * (self.mask + self.adapter)
        if not already and ((adapted and shared) or (self.plan.quantization == "int8" and readers)):
            kept += width * self.element
        return kept


def _decoder_layer(text: Decoder, plan: Plan, batch: Batch, keeps: _Keeps) -> int:
    """Bytes per token of one decoder layer."""
    e, (first, attended, second, last) = keeps.element, text.readers
    kept = 2 * 4 * text.width + keeps.input(text.width, first) + keeps.input(text.queries, attended, already=True)
    if text.normed_heads:
        kept += 4 * (text.queries + text.keys)
    repeated = plan.padded or plan.attention == "eager"  # keys and values, once for each head
    kept += e * 2 * (text.queries + (text.queries if repeated else text.keys)) + 4 * text.heads
    if plan.attention == "eager":
        kept += batch.length * text.heads * (4 + (e if e < 4 else 0))
    elif plan.padded:
        kept += batch.length * e  # the mask, as additions to the scores
    kept += keeps.input(text.width, second) + keeps.input(text.inner, last)
    return kept + (3 if text.gated else 1) * text.inner * e


def _vision_block(vision: Tower, keeps: _Keeps) -> int:
    """Bytes per patch of one block of the tower."""
    e, width, (first, attended, second, last) = keeps.element, vision.width, vision.readers
    kept = 2 * width * (4 if vision.gated else keeps.layer_norm)
    # q and k after their rotation; v is a view that holds on to all of qkv; each image's output, and all together.
    kept += e * (2 + 3 + 1) * width + 4 * vision.heads
    kept += keeps.input(width, first) + keeps.input(width, attended)
    kept += keeps.input(width, second) + keeps.input(vision.inner, last)
    return kept + (3 if vision.gated else 2 if vision.quick_gelu else 1) * vision.inner * e


def _mergers(vision: Tower, keeps: _Keeps) -> int:
    """Bytes per patch of everything that merges patches into tokens: each has two layers, a norm and a GELU."""
    inputs = sum(keeps.input(layer.inputs, [layer]) for layer in vision.mergers)
    return -(-inputs // vision.merge) + len(vision.mergers) // 2 * vision.width * (4 + keeps.element)


def _unpacked(model: Skeleton, plan: Plan, in_vision: bool) -> int:
    """The largest quantized weight, as it is computed with."""
    if plan.quantization == "none":
        return 0
    sizes = [x.inputs * x.outputs for x in model.linears if x.quantizable and x.in_vision == in_vision]
    return max(sizes, default=0) * DTYPE_BYTES[plan.dtype]
