"""Taking a part over from another bundle, bit by bit the same: a policy that was proven need not be exported again."""

from __future__ import annotations

import shutil
from pathlib import Path

from ganglion.core.bundle import MANIFEST, NORM, Bundle, open_bundle
from ganglion.core.errors import InputError
from ganglion.core.manifest import ParityRow, PolicyPart, VlmPart

_FILES: dict[str, tuple[str, ...]] = {"vlm": ("vlm/", "parity/vlm."), "policy": ("policy/", "parity/policy.", NORM)}


def bundle_at(folder: Path | None) -> Bundle | None:
    """The bundle in `folder`, opened and verified; None where the folder is one that training wrote.

    Raises:
        BundleError: it is damaged.
    """
    return open_bundle(folder) if folder and (folder / MANIFEST).is_file() else None


def take_over(name: str, bundle: Bundle, out: Path) -> tuple[VlmPart | PolicyPart, list[ParityRow]]:
    """Copy the part `name` ("vlm" or "policy") of `bundle` into `out`; what its manifest says goes along.

    Raises:
        InputError: the bundle holds no such part.
    """
    part = bundle.manifest.vlm if name == "vlm" else bundle.manifest.policy
    if part is None:
        raise InputError(f"is a bundle without a {name} part", where=bundle.root, remedy="give another folder")
    for file in bundle.manifest.files:
        if file.startswith(_FILES[name]):
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(file), out / file)
    return part, [row for row in bundle.manifest.parity if row.part == name]
