"""What a bundle can be made for, and in which precisions: one table that options, plan and export go by.

Where nothing is asked for, nothing is given up that was not measured: float32 on a CPU, 16 bits on a GPU. A Jetson is
short of memory bandwidth before all else, so vLLM there takes 4 bits on Orin, whose GPU has no fp8 arithmetic, and fp8
on Thor, whose GPU has.
"""

from __future__ import annotations

from dataclasses import dataclass

from ganglion.core.errors import InputError

TARGETS = ("onnx", "triton", "vllm", "hf")
DEVICES = ("cpu", "cuda", "cuda-tensorrt", "jetson-orin", "jetson-thor")

_GRAPH = ("float32", "float16", "int8", "int4")
_CHECKPOINT = ("float32", "float16", "bfloat16")
_ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    "onnx": {"language": _GRAPH, "vision": _GRAPH, "head": ("float32", "float16", "int8")},
    "vllm": {"language": (*_CHECKPOINT, "fp8", "int8", "int4", "nf4"), "vision": _CHECKPOINT, "head": ("float32",)},
    "hf": {"language": (*_CHECKPOINT, "nf4"), "vision": _CHECKPOINT, "head": ("float32",)},
}
_ALLOWED["triton"] = _ALLOWED["onnx"]


@dataclass(frozen=True)
class Precision:
    """What products with weights compute in.

    language  the VLM's decoder
    vision    its vision tower; in a checkpoint all that has no bits of its own
    head      the policy's action head and sensor stream
    """

    language: str = "float32"
    vision: str = "float32"
    head: str = "float32"

    @property
    def vlm(self) -> dict[str, str]:
        """Of the VLM's parts."""
        return {"language": self.language, "vision": self.vision}

    @property
    def label(self) -> str:
        """As a stage of a VLM is called by it: "int4, vision float32", or "int4" where both have it."""
        return self.language if self.vision == self.language else f"{self.language}, vision {self.vision}"


FLOAT32 = Precision()


def form_of(target: str, merge: str = "exact") -> str:
    """What a VLM is in a bundle: "onnx" graphs, a merged "checkpoint", or an "adapter" beside its base."""
    return "onnx" if target in ("onnx", "triton") else "adapter" if merge == "none" else "checkpoint"


def precision_for(
    target: str, device: str, *, language: str | None, vision: str | None, head: str | None, merge: str = "exact"
) -> Precision:
    """What was asked for, the rest by target and device.

    Raises:
        InputError: the target can't compute in it, or the parts don't go together.
    """
    known = _ALLOWED[target]
    for part, asked in (("language", language), ("vision", vision), ("head", head)):
        if asked is not None and asked not in known[part]:
            raise InputError(
                f"--precision.{part} is {asked!r}", remedy=f"for --target {target} use one of {list(known[part])}"
            )
    if merge == "none":
        found = _beside(target, device, language, vision)
    elif form_of(target) == "onnx":
        found = _graphs(device, language, vision, head)
    else:
        found = _checkpoint(target, device, language, vision)
    if merge != "none" and found.language == "nf4":
        raise InputError("nf4 is how the adapter was trained, not what it is merged in", remedy="add --merge none")
    return found


def _graphs(device: str, language: str | None, vision: str | None, head: str | None) -> Precision:
    plain = "float32" if device == "cpu" else "float16"
    return Precision(language or plain, vision or plain, head or plain)


def _checkpoint(target: str, device: str, language: str | None, vision: str | None) -> Precision:
    small = {"jetson-orin": "int4", "jetson-thor": "fp8"} if target == "vllm" else {}
    language = language or small.get(device, "bfloat16")
    plain = language if language in _CHECKPOINT else "bfloat16"
    if vision is not None and language in _CHECKPOINT and vision != language:
        raise InputError(
            f"a checkpoint has one type: --precision.language {language}, --precision.vision {vision}",
            remedy="give one of them",
        )
    return Precision(language, vision or plain)


def _beside(target: str, device: str, language: str | None, vision: str | None) -> Precision:
    """In 4 bits as in training, so that the adapter meets the weights it knows."""
    if form_of(target) == "onnx":
        raise InputError("--merge none is for --target vllm or hf", remedy="ONNX graphs hold the adapter merged")
    if language in ("fp8", "int8", "int4"):
        raise InputError(
            f"--merge none leaves the base as it is, not in {language}",
            remedy="merge it, or use --precision.language bfloat16 or nf4",
        )
    language = language or "nf4"
    if target == "vllm" and device == "cpu" and language == "nf4":
        raise InputError("vLLM reads nf4 (bitsandbytes) on GPUs only", remedy="give --device, or merge the adapter")
    return _checkpoint(target, device, language, vision)
