"""The main job, run as a user would, and every figure it must reach. Minutes; `make acceptance`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.acceptance


def shared_memory():
    return {*Path("/dev/shm").glob("*ganglion-ring*")}


def quickstart(out, *args):
    command = [Path(sys.executable).with_name("ganglion"), "quickstart", "--out", out, *args]
    before = shared_memory()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(out / "report.html") in done.stdout
    assert not shared_memory() - before
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quickstart") / "run"


@pytest.fixture(scope="module")
def report(folder):
    return quickstart(folder)


@pytest.fixture(scope="module")
def oct_report(tmp_path_factory):
    data = ROOT.parent / "shared/data/oct_needle_pose"
    if not data.is_dir():
        pytest.skip("no ../shared/data/oct_needle_pose beside this checkout")
    return quickstart(tmp_path_factory.mktemp("oct") / "run", "--sensor-data", data)


def test_the_served_model_answers_fresh_images(report):
    exo = report["exo"]
    assert exo["n"] == 500
    assert exo["json_valid_rate"] == 1.0
    assert exo["terrain_accuracy"] >= 0.95
    assert exo["delta_sign_accuracy"] >= 0.95
    assert exo["base_terrain_accuracy"] < 0.5, "the base must not know the answers"


def test_every_stage_equals_the_one_before(report):
    parity = report["parity"]
    assert parity["merge_max_abs"] <= 1e-4
    assert parity["vlm_onnx_max_abs"] <= 1e-4
    assert parity["vlm_greedy_equal"] is True
    assert parity["policy_onnx_max_abs"] <= 1e-4
    assert parity["stream_vs_window_max_abs"] <= 1e-5


def test_the_robot_is_served_without_a_lost_sample(report):
    bridge = report["bridge"]
    assert bridge["seconds"] >= 20
    assert bridge["samples_lost"] == 0
    assert bridge["samples_received"] >= 650 * bridge["seconds"] * 0.99
    assert {"p50", "p99", "max"} <= bridge["hop_to_action_ms"].keys()
    assert {"p50", "max"} <= bridge["vl_age_ms"].keys()
    assert bridge["deadline_misses"] >= 0


def test_the_policy_is_better_than_predicting_the_mean(report):
    assert report["policy"]["mae"] < 0.5 * report["policy"]["mean_mae"]


def test_the_page_needs_nothing_from_outside(report, folder):
    page = (folder / "report.html").read_text()
    assert page.count("<svg") >= 4
    assert page.count("data:image/jpeg;base64") >= 4
    for reference in ("http://", "https://", 'src="/', "<script"):
        outside = [line for line in page.splitlines() if reference in line and "www.w3.org" not in line]
        assert not [line for line in outside if "purl.org" not in line and "matplotlib.org" not in line], outside[:1]


def test_real_oct_pose_is_estimated_on_volumes_not_trained_on(oct_report):
    pose = oct_report["bridge"]["pose"]
    assert pose["volumes"] >= 10
    assert pose["mae"] < pose["mean_mae"]
    assert oct_report["bridge"]["samples_lost"] == 0
    assert oct_report["config"]["sensor_data"].endswith("oct_needle_pose")


def test_another_folder_with_files_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    command = [Path(sys.executable).with_name("ganglion"), "quickstart", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 2
    assert "holds other files" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep"
