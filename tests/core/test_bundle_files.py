"""Bundles as files: what is checked before anything in them is used. (Real exported bundles: tests/export.)"""

import json

import numpy as np
import pytest

from ganglion.core.bundle import open_bundle, record_parity, seal_bundle
from ganglion.core.errors import BundleError
from ganglion.core.manifest import FORMAT_VERSION, Manifest, ParityRow, PolicyPart
from ganglion.core.normalization import Normalization, Scale, write_normalization
from ganglion.core.specs import default_robot, to_dict

PART = PolicyPart(
    config={},
    read_frames=8,
    receptive_frames=49,
    frame_width=64,
    instruction="go",
    precision={"head": "float32"},
    opset=20,
)


def scale(n):
    return Scale(np.zeros(n, np.float32), np.ones(n, np.float32))


def make(root, *, channels=1026, part=PART, files=("sensor_stream", "action_head", "vl_encoder")):
    for name in files:
        (root / "policy").mkdir(parents=True, exist_ok=True)
        (root / f"policy/{name}.onnx").write_bytes(name.encode() * 100)
    (root / "policy/tokenizer.json").write_text("{}")
    (root / "policy/chat_template.jinja").write_text("x")
    write_normalization(root / "norm.json", Normalization(scale(channels), scale(7)))
    parity = (ParityRow("policy", "onnx", "trained", 3, 1e-6, {"equal": True}),)
    robot = to_dict(default_robot())
    seal_bundle(root, Manifest(FORMAT_VERSION, "test", {}, {}, parity, robot, None, part))
    return root


def test_a_sealed_bundle_opens_with_what_was_written(tmp_path):
    bundle = open_bundle(make(tmp_path))
    assert bundle.robot == default_robot()
    assert bundle.manifest.policy == PART
    assert bundle.manifest.parity[0].metrics["equal"] is True
    assert bundle.norm.sensor.mean.shape == (1026,)


def test_every_single_file_is_guarded_against_a_flipped_byte(tmp_path):
    root = make(tmp_path)
    for name in open_bundle(root).manifest.files:
        path = root / name
        good = path.read_bytes()
        path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        with pytest.raises(BundleError, match=path.name):
            open_bundle(root)
        path.write_bytes(good)
    open_bundle(root)


def test_a_missing_file_is_named(tmp_path):
    root = make(tmp_path)
    (root / "policy/action_head.onnx").unlink()
    with pytest.raises(BundleError, match=r"action_head\.onnx: is missing"):
        open_bundle(root)


def test_a_newer_format_is_refused(tmp_path):
    root = make(tmp_path)
    data = json.loads((root / "manifest.json").read_text())
    data["format_version"] = FORMAT_VERSION + 1
    (root / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="upgrade ganglion"):
        open_bundle(root)


def test_a_manifest_may_not_point_outside_the_bundle(tmp_path):
    root = make(tmp_path / "bundle")
    data = json.loads((root / "manifest.json").read_text())
    data["files"]["../secret"] = "0" * 64
    (root / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="outside the bundle"):
        open_bundle(root)


def test_a_camera_policy_without_its_encoder_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"vl_encoder\.onnx"):
        open_bundle(make(tmp_path, files=("sensor_stream", "action_head")))


def test_scaling_for_another_sensor_is_refused(tmp_path):
    with pytest.raises(BundleError, match="512 sensor channels, the robot spec 1026"):
        open_bundle(make(tmp_path, channels=512))


def test_a_receptive_field_longer_than_the_window_is_refused(tmp_path):
    from dataclasses import replace

    with pytest.raises(BundleError, match="receptive field of 51 frames"):
        open_bundle(make(tmp_path, part=replace(PART, receptive_frames=51)))


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"format_version": 1}'])
def test_a_folder_that_is_no_bundle_is_refused_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError) as error:
        open_bundle(tmp_path)
    assert "manifest.json" in str(error.value) and "\n" not in str(error.value)


def test_what_is_measured_of_a_bundle_later_joins_its_parity_table_and_gives_way_to_the_next(tmp_path):
    root, files = make(tmp_path), open_bundle(tmp_path).manifest.files
    for apart in (2e-5, 3e-6):
        row = ParityRow("policy", "served", "in-process", 30, apart, {}, {"max_abs": 1e-5})
        record_parity(root, row)
    manifest = open_bundle(root).manifest
    assert manifest.files == files
    assert [(one.stage, one.max_abs) for one in manifest.parity] == [("onnx", 1e-6), ("served", 3e-6)]
    assert manifest.parity[1].failures() == []


def test_nothing_is_recorded_of_a_bundle_that_is_damaged(tmp_path):
    root = make(tmp_path)
    before = (root / "manifest.json").read_bytes()
    (root / "norm.json").write_text("{}")
    with pytest.raises(BundleError, match=r"norm.json: has changed since export"):
        record_parity(root, ParityRow("policy", "served", "in-process", 30, 0.0))
    assert (root / "manifest.json").read_bytes() == before
