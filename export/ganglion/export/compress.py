"""A checkpoint in fewer bits, in the form that vLLM serves and transformers loads (compressed-tensors).

    fp8   weights and activations in FP8 (e4m3): a scale per row of weights, and one per token, found as it runs
    int8  weights and activations in 8-bit integers, scaled in the same way (W8A8)
    int4  weights in 4-bit integers, a scale per 128 of a row; activations as they are (W4A16)

Weights are rounded to the nearest ("rtn"), or so that a layer's outputs on rows of the task change least ("gptq",
Frantar et al. 2023). The work is llmcompressor's. Only the decoder's Linear layers change. For the same inputs, machine
and number of threads the same bytes are written; GPTQ's sums come out otherwise in other numbers of threads.

In memory: the model as it is stored, up to twice while it is written. GPTQ adds, for one decoder layer at a time,
4 bytes x inputs^2 for each of its Linear layers and three times more for the widest, and what it reads of all rows.
Measured at the widths of Qwen2-VL-2B (1536 and 8960, bfloat16, 16 rows of 256 tokens): 1.4 GB beside the model, and 40
seconds of one core per decoder layer. Rounding to the nearest took half a second for two of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganglion.core.errors import InputError
from ganglion.export.calibration import check_rows
from ganglion.export.compress_layers import LayerPlan, plan_layers
from ganglion.export.library_noise import silenced
from ganglion.export.vllm_files import write_video_settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PRECISIONS = ("fp8", "int8", "int4")
METHODS = ("rtn", "gptq")
GROUP = 128  # of W4A16: weights in a row that share a scale
_SCHEMES = {"fp8": "FP8_DYNAMIC", "int8": "W8A8", "int4": "W4A16"}
_WRITTEN_ANEW = ("*.safetensors", "*.bin", "*.pt", "*.gguf", "*.index.json", "config.json", "recipe.yaml")


@dataclass(frozen=True)
class Compression:
    """What was done to a checkpoint.

    scheme  as llmcompressor names it
    method  "rtn" or "gptq"
    layers  names of the Linear layers that are in fewer bits now
    left    names of those that are as they were, each with the reason
    """

    scheme: str
    method: str
    layers: tuple[str, ...]
    left: Mapping[str, str]


def check_choice(precision: str, method: str) -> None:
    """Refuse what can't be done, before any of it is.

    Raises:
        InputError: an unknown precision or method, a method that needs an accelerator, or two that don't go together.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}", remedy=f"use one of {list(PRECISIONS)}")
    if method == "awq":
        raise InputError("method 'awq' needs an accelerator", remedy=f"use one of {list(METHODS)}")
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}", remedy=f"use one of {list(METHODS)}")
    if precision == "fp8" and method == "gptq":
        raise InputError("fp8 is rounded to the nearest, not by 'gptq'", remedy="use method 'rtn' with it")


def compress_checkpoint(
    source: Path,
    out: Path,
    *,
    precision: str,
    method: str = "rtn",
    calibration: Sequence[Mapping[str, Tensor]] = (),
    report: Callable[[str], None] = lambda doing: None,
) -> Compression:
    """Write a checkpoint again, its decoder's layers in fewer bits; all other weights and files stay as they are.

    Args:
        source: a folder as `write_checkpoint` makes it, in the precision that it will be served in.
        out: is made.
        precision: one of PRECISIONS.
        method: one of METHODS.
        calibration: rows for GPTQ, from `calibration_rows`.
        report: told what is being done.

    Raises:
        InputError: the choice, the rows, the source or the target can't be used. Nothing is written then.
        MissingExtra: llmcompressor is not installed.
    """
    check_choice(precision, method)
    _check_folders(source, out)
    if method == "gptq":
        check_rows(calibration)
    elif calibration:
        raise InputError("method 'rtn' takes no calibration rows", remedy="leave them out, or use method 'gptq'")
    plan = _planned(source, GROUP if precision == "int4" else None)
    _compress(source, out, _SCHEMES[precision], plan, calibration, report)
    _copy_other_files(source, out)
    _mend_config(out, plan)
    write_video_settings(out)
    return Compression(_SCHEMES[precision], method, plan.chosen, plan.left)


def load_compressed(folder: Path, dtype: torch.dtype | None = None) -> Any:
    """A compressed checkpoint as a model of the library's on the CPU, which computes what a server's kernels do.

    Weights are unpacked at once. In fp8 and int8 each compressed Linear rounds its inputs, token by token, on the way
    in. vLLM's int8 kernels scale a token's largest input to 127, this one to 127.5.

    Args:
        folder: what `compress_checkpoint` wrote.
        dtype: what is computed in between; None is what the checkpoint was stored in.

    Raises:
        InputError: the folder holds no such checkpoint.
        MissingExtra: the libraries are not installed.
    """
    from torch import nn

    from ganglion.export.vlm_checkpoint import load_checkpoint

    if "quantization_config" not in _read_config(folder):
        raise InputError("is not compressed", where=folder, remedy="give a folder that 'ganglion export' wrote")
    with silenced():
        model = load_checkpoint(folder)
        if dtype is not None:  # before weights are unpacked: bfloat16 is too short for 8 bits times a scale
            nn.Module.to(model, dtype=dtype)  # transformers' own method refuses it for any quantized model
        model.hf_quantizer.compressor.decompress_model(model)
    return model


def _check_folders(source: Path, out: Path) -> None:
    if "quantization_config" in _read_config(source):
        raise InputError("is quantized already", where=source, remedy="give the merged checkpoint")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists already", where=out, remedy="choose another folder")


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise InputError("holds no checkpoint", where=folder, remedy="give a folder with config.json and *.safetensors")
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read ({error})", where=folder / "config.json", remedy="copy it again") from None
    return config


def _planned(source: Path, group: int | None) -> LayerPlan:
    from ganglion.export.weights import make_skeleton

    skeleton = make_skeleton(source)
    text = skeleton.config.get_text_config()
    if any(getattr(text, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise InputError("is a mixture of experts", where=source, remedy="compress a model without experts")
    plan = plan_layers(skeleton, group)
    if not plan.chosen:
        why = next(iter(plan.left.values()), "it has none")
        raise InputError(f"no layer can be compressed: {why}", where=source, remedy="choose another precision")
    return plan


def _compress(
    source: Path,
    out: Path,
    scheme: str,
    plan: LayerPlan,
    calibration: Sequence[Mapping[str, Tensor]],
    report: Callable[[str], None],
) -> None:
    from ganglion.export.vlm_checkpoint import load_checkpoint
    from ganglion.model.processor import load_processor

    with silenced(report) as tell:
        from llmcompressor import oneshot
        from llmcompressor.modifiers.gptq import GPTQModifier
        from llmcompressor.modifiers.quantization import QuantizationModifier
        from torch.utils.data import DataLoader

        tell("load the checkpoint")
        model = load_checkpoint(source)
        rows: Any = list(calibration)
        modifier = GPTQModifier if rows else QuantizationModifier
        tell(f"compress {len(plan.chosen)} layers, leave {len(plan.left)}")
        oneshot(
            model=model,
            recipe=[modifier(targets=["Linear"], scheme=scheme, ignore=list(plan.left))],
            dataset=DataLoader(rows, batch_size=None) if rows else None,
            processor=load_processor(source).tokenizer,  # else it looks for one with a video part
        )
        tell("write the compressed checkpoint")
        model.save_pretrained(out, max_shard_size="5GB")
    for file in out.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors keeps a file to its writer; a server is somebody else


def _copy_other_files(source: Path, out: Path) -> None:
    """Tokenizer, chat template, processor and generation settings, unchanged; llmcompressor's recipe goes."""
    (out / "recipe.yaml").unlink(missing_ok=True)
    anew = {path.name for pattern in _WRITTEN_ANEW for path in source.glob(pattern)}
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name not in anew:
            shutil.copyfile(file, out / file.name)


def _mend_config(out: Path, plan: LayerPlan) -> None:
    """Say which layers to leave by names that transformers knows them by.

    llmcompressor 0.14.0.1 writes names of the checkpoint's files ("visual.blocks.0.attn.qkv") where transformers 5
    looks for modules ("model.visual.blocks.0.attn.qkv"): it then takes them for compressed ones and answers NaN.
    """
    path = out / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"]["ignore"] = list(plan.patterns)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
