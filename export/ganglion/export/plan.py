"""`ganglion export plan`: what an export would write and need, from configurations alone; nothing is loaded or written.

Sizes are counted on the model's modules without weights. Memory is that of the stages, which are asked one at a time;
how far it is from what an export really took is in docs/reference/onnx.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ganglion.core.errors import InputError
from ganglion.core.paths import read_json
from ganglion.export.compress import GROUP
from ganglion.export.compress import PRECISIONS as COMPRESSED
from ganglion.export.compress_layers import plan_layers
from ganglion.export.config import ExportConfig, check_options
from ganglion.export.onnx_vlm import check_family
from ganglion.export.packing import SMALLEST, packed_bytes
from ganglion.export.parity import GREEDY_TOKENS, PROMPT_LOGITS
from ganglion.export.targets import FLOAT32, Precision, form_of
from ganglion.export.text_graph import image_token_id, text_of, visual_of
from ganglion.export.weights import make_skeleton, quantized_names
from ganglion.model.checkpoint import HUB_NAME, resolve_base

_PROCESS = 900_000_000  # of python with torch, transformers and ONNX Runtime, before any model
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight: 4 bits, an 8-bit scale of 64, a float32 scale of 256 of these
_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_CHECKPOINT_BYTES = {**_DTYPE_BYTES, "fp8": 1, "int8": 1, "int4": 0.5 + 2 / GROUP}


@dataclass(frozen=True)
class PlannedFile:
    """A file that would be written, with its weights, of `bytes`."""

    path: str
    precision: str
    bytes: int


@dataclass(frozen=True)
class PlannedStage:
    """A stage that would be asked, and what it holds in memory, in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What an export would write, which stages it would ask, and the most it would hold at once, in bytes."""

    files: tuple[PlannedFile, ...]
    stages: tuple[PlannedStage, ...]
    peak_bytes: int


def run(config: ExportConfig) -> None:
    """Print files, stages and the peak.

    Raises:
        InputError: an option makes no sense, or neither adapter nor base is there.
    """
    found = plan(config)
    precision = config.resolved_precision
    print(f"target {config.target} on {config.device}, merge {config.merge}, {precision.label}")
    rows = [(file.path, file.precision, file.bytes) for file in found.files]
    rows += [("on disk", "", sum(file.bytes for file in found.files))]
    rows += [(f"stage {stage.name}", "in memory", stage.bytes) for stage in found.stages]
    rows += [("peak", "in memory", found.peak_bytes)]
    first, second = max(len(name) for name, _, _ in rows), max(len(kind) for _, kind, _ in rows)
    print("\n".join(f"{name:<{first}}  {kind:<{second}}  {_shown(size):>8}" for name, kind, size in rows))


def plan(config: ExportConfig) -> Plan:
    """What an export with these options would do; `base` alone is enough where nothing is trained yet.

    Raises:
        InputError: an option makes no sense, or neither adapter nor base is there.
    """
    check_options(config)
    if len(config.adapters) > 1:
        raise InputError("plans one adapter at a time", remedy="give one --adapter")
    if config.policy:
        raise InputError("plans no policy", where=config.policy, remedy="its files are as large as its weights")
    base, quantization, dtype = _trained(config)
    skeleton = make_skeleton(base)
    check_family(skeleton)
    precision = config.resolved_precision
    graphs = form_of(config.target) == "onnx"
    files = tuple(_graph_files(skeleton, precision) if graphs else _checkpoint_files(config, skeleton, precision))
    stages = tuple(_stages(config, base, skeleton, quantization, dtype, files))
    vocabulary = skeleton.config.get_text_config().vocab_size
    logits = 2 * 4 * vocabulary * (PROMPT_LOGITS + GREEDY_TOKENS) * config.parity_samples * (2 if config.data else 1)
    return Plan(files, stages, _PROCESS + logits + max(stage.bytes for stage in stages))


def _trained(config: ExportConfig) -> tuple[str, str | None, str | None]:
    """The base, how training held it, and what it computed in."""
    run: dict[str, Any] = {"quantization": "nf4"}
    if config.adapters:
        run = read_json(
            config.adapters[0] / "run.json", "give a folder that 'ganglion train sft' wrote, or only --base"
        )
    name = config.base or run.get("base")
    if name is None:
        raise InputError("nothing to plan", remedy="give --adapter DIR, or --base for a model that is to be trained")
    described = (Path(name).expanduser() / "config.json").is_file()
    known = str(Path(name).expanduser()) if described else name if HUB_NAME.fullmatch(name) else resolve_base(name)
    held = run.get("quantization")
    return known, None if held == "none" else held, run.get("dtype")


def _graph_files(skeleton: Any, precision: Precision) -> Iterator[PlannedFile]:
    text = text_of(skeleton)
    if image_token_id(skeleton) is not None:
        yield PlannedFile("vlm/vision.onnx", precision.vision, _stored([visual_of(skeleton)], precision.vision))
    yield PlannedFile("vlm/embed.onnx", "float32", _stored([text.embed_tokens], "float32"))
    decoder = [text.layers, text.norm, skeleton.lm_head]
    yield PlannedFile("vlm/decoder.onnx", precision.language, _stored(decoder, precision.language))


def _checkpoint_files(config: ExportConfig, skeleton: Any, precision: Precision) -> Iterator[PlannedFile]:
    if config.merge == "none":
        size = sum(file.stat().st_size for path in config.adapters for file in path.glob("adapter_model.safetensors"))
        yield PlannedFile("vlm/adapter_model.safetensors", precision.language, size)
        return
    plain = _DTYPE_BYTES[precision.vision]
    modules = dict(skeleton.named_modules())
    chosen = plan_layers(skeleton, GROUP if precision.language == "int4" else None).chosen
    small = {id(modules[name].weight) for name in chosen} if precision.language in COMPRESSED else set()
    size = sum(
        parameter.numel() * (_CHECKPOINT_BYTES[precision.language] if id(parameter) in small else plain)
        for parameter in skeleton.parameters()
    )
    yield PlannedFile("vlm/model.safetensors", precision.label, int(size))


def _stages(
    config: ExportConfig,
    base: str,
    skeleton: Any,
    quantization: str | None,
    dtype: str | None,
    files: tuple[PlannedFile, ...],
) -> Iterator[PlannedStage]:
    total = sum(parameter.numel() for parameter in skeleton.parameters())
    names = quantized_names(make_skeleton(base, quantization)) if quantization else frozenset()
    held = sum(parameter.numel() for name, parameter in skeleton.named_parameters() if name in names)
    width = skeleton.config.get_text_config().hidden_size
    plain = _DTYPE_BYTES[dtype or ("bfloat16" if width >= 1024 else "float32")]
    bits = _NF4 if quantization == "nf4" else 1.0
    yield PlannedStage("trained", int(held * bits + (total - held) * plain))
    if config.merge == "none":
        return
    yield PlannedStage("merged", 4 * total)
    if form_of(config.target) == "onnx":
        yield PlannedStage("onnx", sum(file.bytes for file in _graph_files(skeleton, FLOAT32)))
        if config.resolved_precision.vlm == FLOAT32.vlm:
            return
    kind = "onnx" if form_of(config.target) == "onnx" else "checkpoint"
    yield PlannedStage(f"{kind} {config.resolved_precision.label}", sum(file.bytes for file in files))


def _stored(modules: list[Any], precision: str) -> int:
    """Bytes of the weights of modules in a graph; one that they share counts once."""
    size, seen = 0, set()
    for module in (inner for outer in modules for inner in outer.modules()):
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            product = isinstance(module, nn.Linear) and name == "weight"
            large = product and min(parameter.shape) >= SMALLEST
            size += packed_bytes(tuple(parameter.shape), precision if large else "float32")
    return size


def _shown(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
