"""What a person reads of a bundle: the parity table in the terminal, the model card in README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ganglion.core.manifest import Manifest, ParityRow, VlmPart

_LIBRARIES = {"onnx": "onnx", "checkpoint": "transformers", "adapter": "peft"}  # as the hub names them
_MERGES = {
    "exact": "merged into the weights that it was trained on",
    "original": "merged into the base as published",
    "none": "not merged",
}


def parity_lines(rows: Sequence[ParityRow]) -> list[str]:
    """The parity table as lines of plain text."""
    table = [["part", "stage", "against", "samples", "max abs", "agreement"], *map(_cells, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(6)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def model_card(manifest: Manifest) -> str:
    """README.md of a bundle."""
    facts = [f"| made by | {manifest.created_by} |"]
    if vlm := manifest.vlm:
        facts += [
            f"| VLM | task `{vlm.task}`, {vlm.model_type}, {_parts(vlm.precision)}, {_form(vlm)} |",
            f"| its base | {vlm.base_id}, sha256 `{vlm.base_hash}` |",
            f"| its adapter | sha256 `{vlm.adapter_hash}`, {_MERGES[vlm.merge]} |",
        ]
    if policy := manifest.policy:
        robot = (manifest.robot or {}).get("name", "unnamed")
        facts += [
            f"| policy | robot `{robot}`, {_parts(policy.precision)}, ONNX opset {policy.opset} |",
            f"| its instruction | {policy.instruction or 'none'} |",
            f"| its base | {policy.base_id or 'none'} |",
        ]
    needs = ", ".join(f"{name}{version}" for name, version in manifest.requires.items())
    rows = ["| part | stage | against | samples | max abs | agreement |", "|---|---|---|---|---|---|"]
    rows += ["| " + " | ".join(_cells(row)) + " |" for row in manifest.parity]
    parts = [name for name, part in (("an instruction VLM", vlm), ("a sensor-fusion policy", policy)) if part]
    lines = [
        "---",
        f"library_name: {_LIBRARIES[vlm.form if vlm else 'onnx']}",
        "tags: [ganglion, robotics]",
        "---",
        f"# Ganglion bundle: {' and '.join(parts)}",
        "",
        "Written by `ganglion export`; `ganglion.core.bundle.open_bundle` checks every file before use.",
        "",
        "| | |",
        "|---|---|",
        *facts,
        f"| needs | {needs} |",
        "",
        "## Parity",
        "",
        "Each stage against the one before it, on inputs it had not seen; `max abs` is the largest difference of any",
        "logit or normalized action.",
        "",
        *rows,
        "",
        "No claim is made for images, sensors or wording unlike those in the training data.",
        "",
    ]
    return "\n".join(lines)


def _parts(precision: Mapping[str, str]) -> str:
    return ", ".join(f"{part} {kind}" for part, kind in precision.items())


def _form(vlm: VlmPart) -> str:
    return f"ONNX opset {vlm.opset}" if vlm.form == "onnx" else vlm.form


def _cells(row: ParityRow) -> list[str]:
    largest = "" if row.max_abs is None else f"{row.max_abs:.1e}"
    return [row.part, row.stage, row.against, str(row.samples), largest, _agreement(row)]


def _agreement(row: ParityRow) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, bool) else f'{value:.3g}'}" for name, value in row.metrics.items()
    )
