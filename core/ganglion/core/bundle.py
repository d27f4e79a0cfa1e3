"""A bundle: the directory that export writes and servers load, checked whole before anything in it is used.

bundle/manifest.json  norm.json  vlm/  policy/  README.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganglion.core.errors import BundleError, InputError
from ganglion.core.manifest import Manifest, ParityRow, manifest_from_dict
from ganglion.core.normalization import Normalization, read_normalization
from ganglion.core.paths import write_json
from ganglion.core.specs import RobotSpec, robot_from_dict

MANIFEST, NORM = "manifest.json", "norm.json"
_VLM_FILES = {
    "onnx": ("vlm/embed.onnx", "vlm/decoder.onnx", "vlm/tokenizer.json", "vlm/chat_template.jinja"),
    "checkpoint": ("vlm/config.json", "vlm/tokenizer.json"),
    "adapter": ("vlm/adapter_config.json", "vlm/adapter_model.safetensors"),
}
_VISION_FILES = ("vlm/vision.onnx",)
_POLICY_FILES = ("policy/action_head.onnx", NORM)
_SENSOR_FILES = ("policy/sensor_stream.onnx",)
_CAMERA_FILES = ("policy/vl_encoder.onnx", "policy/tokenizer.json", "policy/chat_template.jinja")


@dataclass(frozen=True)
class Bundle:
    """An opened and verified bundle. `robot` and `norm` are there when it holds a policy."""

    root: Path
    manifest: Manifest
    robot: RobotSpec | None
    norm: Normalization | None

    def path(self, name: str) -> Path:
        """The file of that name; it is known to exist and to be unchanged."""
        return self.root / name


def seal_bundle(root: Path, manifest: Manifest) -> None:
    """Hash every file under `root` and write manifest.json, which makes the folder a bundle."""
    files = {
        str(path.relative_to(root)): sha256_file(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path != root / MANIFEST
    }
    write_json(root / MANIFEST, replace(manifest, files=files).to_dict())


def open_bundle(root: Path | str) -> Bundle:
    """Open a bundle after checking format version, every file's hash, and that its shapes agree.

    Raises:
        BundleError: naming the file that is missing, changed or contradictory. Nothing was loaded.
    """
    root = Path(root)
    manifest = read_manifest(root)
    for name, expected in manifest.files.items():
        path = root / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"names {name!r}, outside the bundle", where=root / MANIFEST, remedy="export again")
        if not path.is_file():
            raise BundleError("is missing", where=path, remedy="copy the bundle again")
        if sha256_file(path) != expected:
            raise BundleError("has changed since export (sha256 differs)", where=path, remedy="copy the bundle again")
    needed = _POLICY_FILES if manifest.policy else ()
    if vlm := manifest.vlm:
        if vlm.form not in _VLM_FILES:
            raise BundleError(f"has a VLM of form {vlm.form!r}", where=root / MANIFEST, remedy="upgrade ganglion")
        needed = (*needed, *_VLM_FILES[vlm.form])
        if vlm.form == "onnx" and vlm.image_token_id is not None:
            needed = (*needed, *_VISION_FILES)
    robot, norm = _check_policy(root, manifest) if manifest.policy else (None, None)
    if norm and norm.sensor:
        needed = (*needed, *_SENSOR_FILES)
    if robot and robot.cameras:
        needed = (*needed, *_CAMERA_FILES)
    for name in needed:
        if name not in manifest.files:
            raise BundleError("is not listed in the manifest", where=root / name, remedy="export again")
    return Bundle(root, manifest, robot, norm)


def record_parity(root: Path, row: ParityRow) -> None:
    """Add what was measured of a whole bundle to its parity table, in the place of that stage's earlier row.

    The manifest alone is written anew, at once or not at all; it is the one file that no hash is kept of.

    Raises:
        BundleError: the bundle is damaged, and is left as it is.
    """
    manifest = open_bundle(root).manifest
    this = (row.part, row.stage, row.against)
    others = tuple(one for one in manifest.parity if (one.part, one.stage, one.against) != this)
    write_json(root / MANIFEST, replace(manifest, parity=(*others, row)).to_dict())


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(root: Path) -> str:
    """One hex sha256 for a folder: names and contents of all its files, in order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(root)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def read_manifest(root: Path) -> Manifest:
    """manifest.json of a bundle, whose files are not looked at.

    Raises:
        BundleError: there is none that can be read.
    """
    where = root / MANIFEST
    try:
        data: Mapping[str, Any] = json.loads(where.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError("is missing", where=where, remedy="give a folder that 'ganglion export' wrote") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"can't be read ({error})", where=where, remedy="copy the bundle again") from None
    return manifest_from_dict(data, where)


def _check_policy(root: Path, manifest: Manifest) -> tuple[RobotSpec, Normalization]:
    where = root / MANIFEST
    assert manifest.policy is not None
    if manifest.robot is None:
        raise BundleError("a policy needs a robot spec", where=where, remedy="export again")
    try:
        robot = robot_from_dict(manifest.robot, where)
    except InputError as error:
        raise BundleError(str(error), remedy="export again") from None
    norm = read_normalization(root / NORM)
    config, sensor = manifest.policy.config, robot.sensors[0] if robot.sensors else None
    reads_sensor, reads_state = bool(config.get("channel_groups", True)), bool(config.get("state_dim", 0))
    shapes = {
        "sensor channels": (sensor.channels if sensor and reads_sensor else 0, norm.sensor),
        "action dimensions": (robot.actions.dim, norm.action),
        "state dimensions": (len(robot.state.names) if robot.state and reads_state else 0, norm.state),
    }
    for name, (spec, scale) in shapes.items():
        if spec != (found := len(scale.mean) if scale else 0):
            raise BundleError(f"has {found} {name}, the robot spec {spec}", where=root / NORM, remedy="export again")
    frames = manifest.policy.receptive_frames
    if sensor and reads_sensor and frames > sensor.window_frames:
        raise BundleError(
            f"receptive field of {frames} frames exceeds the window of {sensor.window_frames}",
            where=where,
            remedy="train with fewer layers or a shorter attention window",
        )
    return robot, norm
