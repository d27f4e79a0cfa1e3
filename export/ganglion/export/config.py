"""What `ganglion export` can be told. Light to import."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ganglion.core.bundle import MANIFEST
from ganglion.core.errors import InputError
from ganglion.export.targets import DEVICES, TARGETS, Precision, precision_for

MERGES = ("exact", "original", "none")


@dataclass(frozen=True)
class PrecisionOptions:
    """What products with weights compute in, part by part; default by target and device."""

    language: str | None = None
    """The VLM's decoder, of a language model all of it: float32, float16, bfloat16, fp8, int8, int4 or nf4."""
    vision: str | None = None
    """The VLM's vision tower, and what of a checkpoint has no bits of its own."""
    head: str | None = None
    """The policy's action head and sensor stream: float32, float16 or int8."""
    calibrated: bool = False
    """int8 of the head with fixed scales, from real moments that training kept, in place of a scale for each row."""


@dataclass(frozen=True)
class ExportConfig:
    """Options of `ganglion export`. At least one of adapter and policy must be given."""

    adapter: Path | list[Path] | None = None
    """Folder that `ganglion train sft` wrote: its VLM goes in. Or a bundle, to take its VLM over as it is. Of several,
    as [A,B], each becomes a bundle of its own, --out/A and --out/B."""
    policy: Path | None = None
    """Folder that `ganglion train policy` wrote. Or a bundle, to take its policy over as it is, bit by bit."""
    out: Path = Path("bundle")
    """The bundle's folder."""
    target: str = "onnx"
    """What it is for: onnx (ONNX Runtime), triton (that with a model repository), vllm, or hf (a plain checkpoint)."""
    device: str = "cpu"
    """Where it will run: cpu, cuda, cuda-tensorrt, jetson-orin or jetson-thor."""
    base: str | None = None
    """Where the adapter's base is now (folder or name); default is where it was in training."""
    merge: str = "exact"
    """exact: into the very weights that the adapter was trained on, as 4 bits left them. original: into the base as it
    was published. none: not at all, the adapter is served beside its base (vllm, hf)."""
    precision: PrecisionOptions = field(default_factory=PrecisionOptions)
    """What the exported model computes in."""
    calibration: Path | None = None
    """Data file that the adapter was trained on: int8 and int4 for vLLM are then rounded by GPTQ on its rows."""
    data: Path | None = None
    """Data file of the adapter's task, not trained on: each stage is scored on it, and gated by what it loses."""
    data_limit: int | None = None
    """Score on the first rows only; default all."""
    parity_samples: int = 4
    """Fresh inputs that the parity of each stage is measured on; of --data as many rows again."""
    gate: bool = True
    """Stop where a stage is further from the one before it than its gate allows. False exports it all the same."""
    force: bool = False
    """Replace a bundle that is there."""

    @property
    def adapters(self) -> list[Path]:
        """Every adapter that was named."""
        given = self.adapter
        return [] if given is None else [Path(path) for path in (given if isinstance(given, list) else [given])]

    @property
    def resolved_precision(self) -> Precision:
        """What was asked for, the rest by target and device.

        Raises:
            InputError: the target has no such precision.
        """
        asked = self.precision
        return precision_for(
            self.target,
            self.device,
            language=asked.language,
            vision=asked.vision,
            head=asked.head,
            merge=self.merge,
        )


def checked(config: ExportConfig) -> None:
    """Refuse what can't work, before any of it is done.

    Raises:
        InputError: nothing to export, an option makes no sense, or the target is taken.
    """
    check_options(config)
    if not config.adapters and config.policy is None:
        raise InputError("nothing to export", remedy="give --adapter DIR, --policy DIR or both")
    for option in ("data", "calibration"):
        if getattr(config, option) is not None and not config.adapters:
            raise InputError(f"--{option} given without --adapter", remedy="leave it out: it is rows of its task")
    if config.target in ("hf", "vllm") and config.policy:
        raise InputError(f"--target {config.target} holds no policy", remedy="export it with --target onnx or triton")
    _check_out(config)


def check_options(config: ExportConfig) -> None:
    """Refuse options that mean nothing, or nothing together.

    Raises:
        InputError: naming the option.
    """
    for name, value, known in (
        ("target", config.target, TARGETS),
        ("device", config.device, DEVICES),
        ("merge", config.merge, MERGES),
    ):
        if value not in known:
            raise InputError(f"--{name} is {value!r}", remedy=f"use one of {list(known)}")
    if config.parity_samples < 1:
        raise InputError(f"--parity_samples is {config.parity_samples}", remedy="give 1 or more")
    if config.data_limit is not None and config.data_limit < 1:
        raise InputError(f"--data_limit is {config.data_limit}", remedy="give 1 or more")
    precision = config.resolved_precision
    if config.precision.calibrated and precision.head != "int8":
        raise InputError(f"a head in {precision.head} isn't calibrated", remedy="add --precision.head int8")
    if config.calibration and not (config.target == "vllm" and precision.language in ("int8", "int4")):
        raise InputError("--calibration changes nothing here", remedy="it is for --target vllm in int8 or int4")


def _check_out(config: ExportConfig) -> None:
    adapters = config.adapters
    if len(adapters) == 1 or not adapters:
        places = [config.out]
    else:
        if config.policy:
            raise InputError("a policy goes with one adapter", remedy="export the other adapters by themselves")
        places = [config.out / path.name for path in adapters]
        if len(set(places)) < len(places):
            raise InputError("two adapters have folders of one name", where=config.out, remedy="export them one by one")
    for out in places:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            continue
        if not (out / MANIFEST).is_file():
            raise InputError("exists and is no bundle", where=out, remedy="choose another --out")
        if not config.force:
            raise InputError("exists already", where=out, remedy="choose another --out, or --force to replace it")


def resolved(config: ExportConfig) -> dict[str, Any]:
    """The config as plain data, readable as a recipe again; where the bundle went is not part of it."""
    plain = {**asdict(config), "precision": {**asdict(config.precision), **asdict(config.resolved_precision)}}
    for name in ("out", "force"):
        plain.pop(name)
    return {key: _plain(value) for key, value in plain.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
