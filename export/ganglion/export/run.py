"""`ganglion export`: what was trained becomes a bundle, whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from ganglion.core.bundle import Bundle, seal_bundle
from ganglion.core.errors import InputError
from ganglion.core.manifest import FORMAT_VERSION, Manifest, ParityRow, PolicyPart, VlmPart
from ganglion.core.paths import written_aside
from ganglion.core.specs import robot_from_dict, to_dict
from ganglion.export.card import model_card, parity_lines
from ganglion.export.config import ExportConfig, PrecisionOptions, checked, resolved
from ganglion.export.gates import check
from ganglion.export.reuse import bundle_at, take_over


def run(config: ExportConfig) -> None:
    """Write the bundle beside its place, move it there when it is whole, and print the parity table.

    Raises:
        InputError: nothing to export, the target is taken, or what was trained can't be used.
    """
    checked(config)
    _quiet()
    adapter_bundle, policy_bundle = bundle_at(config.adapter), bundle_at(config.policy)
    if adapter_bundle and (config.data or config.precision != PrecisionOptions()):
        raise InputError(
            "is a bundle, whose VLM is taken over as it is: --data and --precision do nothing",
            where=config.adapter,
            remedy="leave them out, or give the adapter's own folder",
        )
    robot = _read_robot(config.policy, policy_bundle) if config.policy else None
    with written_aside(config.out) as folder, tqdm(desc="export", disable=None, bar_format="{desc} [{elapsed}]") as bar:
        folder.mkdir()
        vlm, policy, rows = _write_parts(config, adapter_bundle, policy_bundle, folder, bar)
        if config.gate:
            check(rows)
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            created_by=f"ganglion {version('ganglion')}",
            requires={
                "python": ">=3.11",
                "ganglion[serve]": f">={version('ganglion')}",
                "onnxruntime": f">={version('onnxruntime')}",
            },
            files={},
            parity=tuple(rows),
            robot=robot,
            vlm=vlm,
            policy=policy,
        )
        (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
        (folder / "export.yaml").write_text(yaml.safe_dump(resolved(config), sort_keys=False), encoding="utf-8")
        seal_bundle(folder, manifest)
    print("\n".join(parity_lines(rows)))
    print(f"bundle: {config.out}")


def _write_parts(
    config: ExportConfig, adapter_bundle: Bundle | None, policy_bundle: Bundle | None, folder: Path, bar: Any
) -> tuple[VlmPart | None, PolicyPart | None, list[ParityRow]]:
    def report(doing: str) -> None:
        bar.set_description(f"export: {doing}")

    vlm: Any = None
    policy: Any = None
    rows: list[ParityRow] = []
    if config.adapter:
        if adapter_bundle:
            vlm, measured = take_over("vlm", adapter_bundle, folder)
        else:
            from ganglion.export.vlm_part import add_vlm

            vlm, measured = add_vlm(config, folder, report)
        rows += measured
    if config.policy:
        report("policy")
        if policy_bundle:
            policy, measured = take_over("policy", policy_bundle, folder)
        else:
            from ganglion.export.onnx_policy import export_policy

            policy, measured = export_policy(config.policy, folder)
        rows += measured
    return vlm, policy, rows


def _read_robot(policy: Path, bundle: Bundle | None) -> dict[str, Any]:
    if bundle:
        if bundle.robot is None:
            raise InputError("is a bundle without a policy part", where=policy, remedy="give another folder")
        return to_dict(bundle.robot)
    where = policy / "robot.json"
    try:
        return to_dict(robot_from_dict(json.loads(where.read_text(encoding="utf-8")), where))
    except FileNotFoundError:
        raise InputError(
            "holds no robot.json", where=policy, remedy="give a folder that 'ganglion train policy' wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read ({error})", where=where, remedy="train the policy again") from None


def _quiet() -> None:
    """Nothing but errors from the libraries."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
