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
from ganglion.export.merge import SCRATCH_BYTES
from ganglion.export.onnx_file import ONE_FILE_BYTES
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
    """What an export would write, which stages it would ask, and what it would take while it runs, in bytes.

    scratch_bytes  on disk beside the bundle, of the merged weights
    peak_bytes     in memory at once, beyond pages of files, which the system takes back when it needs them
    """

    files: tuple[PlannedFile, ...]
    stages: tuple[PlannedStage, ...]
    scratch_bytes: int
    peak_bytes: int


_Files = tuple[PlannedFile, ...]


def run(config: ExportConfig) -> None:
    """Print files, stages and the peak.

    Raises:
        InputError: an option makes no sense, or neither adapter nor base is there.
    """
    found = plan(config)
    precision = config.resolved_precision
    print(f"target {config.target} on {config.device}, merge {config.merge}, {precision.label}")
    rows = [(file.path, file.precision, file.bytes) for file in found.files]
    rows += [("bundle", "on disk", sum(file.bytes for file in found.files))]
    rows += [("merged weights, while it runs", "on disk", found.scratch_bytes)] if found.scratch_bytes else []
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
    computed = dtype or ("bfloat16" if skeleton.config.get_text_config().hidden_size >= 1024 else "float32")
    if form_of(config.target) == "onnx":
        files = tuple(_graph_files(skeleton, precision, _table(config, base, computed)))
    else:
        files = tuple(_checkpoint_files(config, skeleton, precision))
    stages = tuple(_stages(config, base, skeleton, quantization, computed, files))
    weights = sum(parameter.numel() for parameter in skeleton.parameters())
    scratch = 0 if config.merge == "none" else 4 * weights
    vocabulary = skeleton.config.get_text_config().vocab_size
    logits = 2 * 4 * vocabulary * (PROMPT_LOGITS + GREEDY_TOKENS) * config.parity_samples * (2 if config.data else 1)
    return Plan(files, stages, scratch, _PROCESS + logits + max(stage.bytes for stage in stages))


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


def _table(config: ExportConfig, base: str, computed: str) -> str:
    """What an embedding is stored in: bfloat16 where the base is, or where training rounded the base to it."""
    from transformers import AutoConfig

    published = str(AutoConfig.from_pretrained(base).get_text_config().dtype).removeprefix("torch.")
    known = {published, computed} if config.merge == "exact" else {published}
    return "bfloat16" if "bfloat16" in known else "float32"


def _graph_files(skeleton: Any, precision: Precision, table: str) -> Iterator[PlannedFile]:
    text = text_of(skeleton)
    if image_token_id(skeleton) is not None:
        yield PlannedFile("vlm/vision.onnx", precision.vision, _stored([visual_of(skeleton)], precision.vision))
    yield PlannedFile("vlm/embed.onnx", table, text.embed_tokens.weight.numel() * _DTYPE_BYTES[table])
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
    config: ExportConfig, base: str, skeleton: Any, quantization: str | None, computed: str, files: _Files
) -> Iterator[PlannedStage]:
    total = sum(parameter.numel() for parameter in skeleton.parameters())
    names = quantized_names(make_skeleton(base, quantization)) if quantization else frozenset()
    held = sum(parameter.numel() for name, parameter in skeleton.named_parameters() if name in names)
    bits = _NF4 if quantization == "nf4" else 1.0
    yield PlannedStage("trained", int(held * bits + (total - held) * _DTYPE_BYTES[computed]))
    if config.merge == "none":
        return
    largest = max(parameter.numel() for parameter in skeleton.parameters())
    yield PlannedStage("merged", max(4 * largest, min(SCRATCH_BYTES, 4 * total)))
    kind, label = form_of(config.target), config.resolved_precision.label
    if kind == "onnx":
        whole = tuple(_graph_files(skeleton, FLOAT32, _table(config, base, computed)))
        yield PlannedStage("onnx", _opened(whole))
        if config.resolved_precision.vlm != FLOAT32.vlm:
            yield PlannedStage(f"onnx {label}", _opened(files))
        yield PlannedStage("measured", max(file.bytes for file in files))
    else:
        yield PlannedStage(f"{kind} {label}", sum(file.bytes for file in files))


def _opened(files: _Files) -> int:
    """Bytes that graphs take when they are asked: in float32, large ones are read from where they are."""
    mapped = ("float32", "bfloat16")
    return sum(file.bytes for file in files if file.precision not in mapped or file.bytes <= ONE_FILE_BYTES)


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
