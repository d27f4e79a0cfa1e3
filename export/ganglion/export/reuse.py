"""Taking a part over from another bundle, bit by bit the same: a policy that was proven need not be exported again."""

from __future__ import annotations

import shutil
from pathlib import Path

from ganglion.core.bundle import MANIFEST, NORM, open_bundle
from ganglion.core.errors import InputError
from ganglion.core.manifest import ParityRow, PolicyPart, VlmPart

_FILES: dict[str, tuple[str, ...]] = {"vlm": ("vlm/",), "policy": ("policy/", NORM)}


def is_bundle(folder: Path) -> bool:
    """Whether the folder is a bundle and not something that training wrote."""
    return (folder / MANIFEST).is_file()


def take_over(name: str, source: Path, out: Path) -> tuple[VlmPart | PolicyPart, list[ParityRow]]:
    """Copy the part `name` ("vlm" or "policy") of the bundle `source` into `out`; what its manifest says goes along.

    Raises:
        BundleError: `source` is damaged. InputError: it holds no such part.
    """
    bundle = open_bundle(source)
    part = bundle.manifest.vlm if name == "vlm" else bundle.manifest.policy
    if part is None:
        raise InputError(f"is a bundle without a {name} part", where=source, remedy="give another folder")
    for file in bundle.manifest.files:
        if file.startswith(_FILES[name]):
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(file), out / file)
    return part, [row for row in bundle.manifest.parity if row.part == name]
