"""`ganglion export`: what was trained becomes a bundle, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from ganglion.core.bundle import Bundle, open_bundle, seal_bundle
from ganglion.core.errors import InputError
from ganglion.core.manifest import FORMAT_VERSION, Manifest, ParityRow, PolicyPart, VlmPart
from ganglion.core.paths import clear_left, written_aside
from ganglion.core.specs import robot_from_dict, to_dict
from ganglion.export.card import model_card, parity_lines
from ganglion.export.config import ExportConfig, PrecisionOptions, checked, resolved
from ganglion.export.figures import figures_of, machine
from ganglion.export.gates import check
from ganglion.export.merge import open_adapter
from ganglion.export.packages import installed_packages
from ganglion.export.quiet import quiet
from ganglion.export.requirements import requirements_of
from ganglion.export.reuse import bundle_at, take_over
from ganglion.export.targets import form_of
from ganglion.export.triton_repository import write_repository


def run(config: ExportConfig) -> None:
    """Write the bundle beside its place, move it there when it is whole, and print the parity table.

    Several adapters are all looked at before the first is exported; what is done stays if a later one fails.

    Raises:
        InputError: nothing to export, the target is taken, or what was trained can't be used.
    """
    checked(config)
    quiet()
    adapters = config.adapters
    for adapter in adapters:
        _ = bundle_at(adapter) or open_adapter(adapter, config.base)
    if len(adapters) < 2:
        _export(config, adapters[0] if adapters else None)
        return
    for adapter in adapters:
        _export(replace(config, adapter=adapter, out=config.out / adapter.name), adapter)


def _export(config: ExportConfig, adapter: Path | None) -> None:
    adapter_bundle, policy_bundle = bundle_at(adapter), bundle_at(config.policy)
    if adapter_bundle:
        _check_taken_over(config, adapter_bundle)
    robot = _read_robot(config.policy, policy_bundle) if config.policy else None
    clear_left(config.out)
    with written_aside(config.out) as folder, tqdm(desc="export", disable=None, bar_format="{desc} [{elapsed}]") as bar:
        folder.mkdir()

        def report(doing: str) -> None:
            bar.set_description(f"export: {doing}")

        vlm, rows = _write_vlm(config, adapter, adapter_bundle, folder, report)
        policy, more = _write_policy(config, policy_bundle, folder, report)
        rows += more
        if config.gate:
            check(rows)
        report("measure")
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            created_by=f"ganglion {version('ganglion')}",
            requires=requirements_of(vlm, policy),
            files={},
            parity=tuple(rows),
            robot=robot,
            vlm=vlm,
            policy=policy,
            packages=installed_packages(),
            machine=machine(),
            figures=figures_of(folder),
        )
        if config.target == "triton":
            write_repository(folder, config.device)
        (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
        (folder / "export.yaml").write_text(yaml.safe_dump(resolved(config), sort_keys=False), encoding="utf-8")
        seal_bundle(folder, manifest)
        open_bundle(folder)
    print("\n".join(parity_lines(rows)))
    print(f"bundle: {config.out}")


def _write_vlm(
    config: ExportConfig, adapter: Path | None, bundle: Bundle | None, folder: Path, report: Any
) -> tuple[VlmPart | None, list[ParityRow]]:
    if adapter is None:
        return None, []
    part: Any
    if bundle:
        part, rows = take_over("vlm", bundle, folder)
        return part, rows
    from ganglion.export.vlm_part import add_vlm

    return add_vlm(config, adapter, folder, report)


def _write_policy(
    config: ExportConfig, bundle: Bundle | None, folder: Path, report: Any
) -> tuple[PolicyPart | None, list[ParityRow]]:
    if config.policy is None:
        return None, []
    report("policy")
    part: Any
    if bundle:
        part, rows = take_over("policy", bundle, folder)
        return part, rows
    from ganglion.export.onnx_policy import export_policy

    return export_policy(config.policy, folder, config.resolved_precision, calibrated=config.precision.calibrated)


def _check_taken_over(config: ExportConfig, bundle: Bundle) -> None:
    if config.data or config.calibration or config.precision != PrecisionOptions():
        raise InputError(
            "is a bundle, whose VLM is taken over as it is: options for data and precision do nothing",
            where=bundle.root,
            remedy="leave them out, or give the adapter's own folder",
        )
    form = bundle.manifest.vlm.form if bundle.manifest.vlm else None
    wanted = form_of(config.target, config.merge)
    if form is not None and form != wanted:
        raise InputError(
            f"holds a VLM in the form {form!r}, --target {config.target} needs {wanted!r}",
            where=bundle.root,
            remedy="give the adapter's own folder",
        )


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
