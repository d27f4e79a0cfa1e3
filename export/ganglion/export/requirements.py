"""What must be installed to run a bundle."""

from __future__ import annotations

from importlib.metadata import version

from ganglion.core.manifest import PolicyPart, VlmPart


def requirements_of(vlm: VlmPart | None, policy: PolicyPart | None) -> dict[str, str]:
    """Name -> versions, of what runs these parts."""
    needs = {"python": ">=3.11"}
    if policy or (vlm and vlm.form == "onnx"):
        needs |= {"ganglion[serve]": f">={version('ganglion')}", "onnxruntime": f">={version('onnxruntime')}"}
    if vlm and vlm.form != "onnx":
        needs |= {"transformers": f">={version('transformers')}", "safetensors": f">={version('safetensors')}"}
        if vlm.form == "adapter":
            needs["peft"] = f">={version('peft')}"
        if vlm.precision["language"] in ("fp8", "int8", "int4"):
            needs["compressed-tensors"] = f">={version('compressed-tensors')}"
        if vlm.precision["language"] == "nf4":
            needs["bitsandbytes"] = f">={version('bitsandbytes')}"
    return needs
