"""manifest.json: what a bundle is, what it was made from, what it needs, and how far each stage is from the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from ganglion.core.errors import BundleError

FORMAT_VERSION = 2


@dataclass(frozen=True)
class ParityRow:
    """The measured difference between one stage and another, on `samples` fresh inputs.

    max_abs       largest absolute difference; None where only a task metric compares the two
    metrics       task metrics of the stage and other agreement figures, by name
    limits        the gate: max_abs and metrics named max_... must not exceed theirs, others not fall below
    """

    part: str
    stage: str
    against: str
    samples: int
    max_abs: float | None
    metrics: Mapping[str, float | bool] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """Each limit that is not kept, as "NAME is 0.2, the limit is 0.1"; what was not measured fails."""
        found = {"max_abs": self.max_abs, **self.metrics}
        failed = []
        for name, limit in self.limits.items():
            value = found.get(name)
            kept = value is not None and (value <= limit if name.startswith("max_") else value >= limit)
            if not kept:
                shown = "not measured" if value is None else f"{value:.3g}"
                failed.append(f"{name} is {shown}, the limit is {limit:g}")
        return failed


@dataclass(frozen=True)
class FileFigures:
    """What a file costs on the machine that exported it; these alone may differ from export to export.

    bytes     on disk, with the weights beside it
    load_ms   until it can be asked
    run_ms    median of one call, `of` what
    peak_mb   memory of loading and calling it, at its largest
    """

    bytes: int
    load_ms: float
    run_ms: float
    peak_mb: float
    of: str


@dataclass(frozen=True)
class VlmPart:
    """The instruction VLM in `vlm/`.

    form: "onnx" is vision, embed and decoder as ONNX with tokenizer.json and chat_template.jinja; "checkpoint" a merged
        Hugging Face checkpoint; "adapter" what training wrote, to be served beside its base.
    image_token_id: None for a language model, which has no vision.onnx; its image_processor is empty.
    context_tokens: prompt and answer together take at most so many.
    precision: what products compute in, by "language" and "vision".
    merge: "exact" into what the adapter was trained on, "original" into the base as published, "none".
    opset: of ONNX files.
    image_processor keys: patch_size, temporal_patch_size, merge_size, min_pixels, max_pixels, image_mean, image_std.
    """

    task: str
    model_type: str
    base_id: str
    base_hash: str
    adapter_hash: str
    image_token_id: int | None
    eos_token_ids: tuple[int, ...]
    context_tokens: int
    image_processor: Mapping[str, Any]
    precision: Mapping[str, str]
    opset: int | None = None
    form: str = "onnx"
    merge: str = "exact"


@dataclass(frozen=True)
class PolicyPart:
    """The sensor policy in `policy/`: sensor_stream.onnx, action_head.onnx and, with cameras, vl_encoder.onnx.

    config            the model's own configuration, as training wrote it
    receptive_frames  encoder frames after a reset until the output no longer depends on the reset
    instruction       what the policy was trained to follow when the robot names nothing else
    precision         what products compute in, by "head" (with the sensor stream), "language" and "vision"
    """

    config: Mapping[str, Any]
    read_frames: int
    receptive_frames: int
    frame_width: int
    instruction: str
    precision: Mapping[str, str]
    opset: int
    base_id: str | None = None
    base_hash: str | None = None
    image_token_id: int | None = None
    image_processor: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Manifest:
    """The whole of manifest.json.

    requires  what must be installed to run the bundle, with versions
    files     each other file's path in the bundle, and its sha256
    packages  what was installed where it was made, by version, of all that took part
    figures   by file; of "machine"
    """

    format_version: int
    created_by: str
    requires: Mapping[str, str]
    files: Mapping[str, str]
    parity: tuple[ParityRow, ...] = ()
    robot: Mapping[str, Any] | None = None
    vlm: VlmPart | None = None
    policy: PolicyPart | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    figures: Mapping[str, FileFigures] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def manifest_from_dict(data: Any, where: object) -> Manifest:
    """Read a manifest back.

    Raises:
        BundleError: it is of another format, or keys are missing or unknown.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("format_version"), int):
        raise BundleError("is not a bundle manifest", where=where, remedy="export the bundle again")
    if data["format_version"] != FORMAT_VERSION:
        raise BundleError(
            f"has format version {data['format_version']}, this ganglion reads {FORMAT_VERSION}",
            where=where,
            remedy="upgrade ganglion or export again",
        )
    manifest = _build(Manifest, data, where)
    manifest["parity"] = tuple(ParityRow(**_build(ParityRow, row, where)) for row in manifest.get("parity", ()))
    if vlm := manifest.get("vlm"):
        vlm = _build(VlmPart, vlm, where)
        manifest["vlm"] = VlmPart(**{**vlm, "eos_token_ids": tuple(vlm["eos_token_ids"])})
    manifest["figures"] = {
        name: FileFigures(**_build(FileFigures, found, where)) for name, found in manifest.get("figures", {}).items()
    }
    if policy := manifest.get("policy"):
        manifest["policy"] = PolicyPart(**_build(PolicyPart, policy, where))
    return Manifest(**manifest)


def _build(cls: type, data: Any, where: object) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    if not isinstance(data, Mapping) or set(data) - names or required - set(data):
        found = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise BundleError(
            f"{cls.__name__} holds {found}, expected {sorted(names)}", where=where, remedy="export the bundle again"
        )
    return dict(data)
