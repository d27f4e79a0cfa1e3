"""The robot's side, installed for real into an empty environment: no torch, no transformers, no onnxruntime."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "onnxruntime", "tokenizers", "matplotlib")


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    venv = tmp_path_factory.mktemp("base") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    reachable = subprocess.run([*pip, "hatchling>=1.27"], capture_output=True, text=True, check=False)
    if reachable.returncode:
        pytest.skip("no package index reachable: " + reachable.stderr.strip().splitlines()[-1])
    subprocess.run([*pip, ROOT], check=True)
    return venv / "bin/python"


def call(python, *args, cwd):
    return subprocess.run([python, *args], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.slow
class TestBaseInstall:
    def test_it_brings_nothing_heavy(self, python, tmp_path):
        listed = call(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path)
        assert not {package["name"] for package in json.loads(listed.stdout)} & set(HEAVY)

    def test_core_and_robot_bridge_import(self, python, tmp_path):
        code = "import ganglion.core.bundle, ganglion.core.cli, ganglion.robot_bridge, ganglion.robot_bridge.bridge"
        assert call(python, "-c", code, cwd=tmp_path).stderr == ""

    def test_doctor_runs_and_says_what_is_absent(self, python, tmp_path):
        done = call(python.with_name("ganglion"), "doctor", "--json", cwd=tmp_path)

        found = {finding["name"]: finding for finding in json.loads(done.stdout)}
        assert done.returncode == 0, done.stderr
        assert found["packages [base]"]["severity"] == "ok"
        assert found["packages [train]"]["remedy"] == "pip install 'ganglion[train]'"
        assert found["onnxruntime providers"]["severity"] == "note"

    def test_a_command_that_needs_an_extra_names_it(self, python, tmp_path):
        (tmp_path / "adapter").mkdir()
        done = call(python.with_name("ganglion"), "quickstart", "--out", "q", cwd=tmp_path)
        assert done.returncode == 2
        assert "pip install 'ganglion[all]'" in done.stderr and done.stderr.count("\n") == 1

    def test_recipes_come_along(self, python, tmp_path):
        code = "from ganglion.core.paths import recipe; print(recipe('exo_assist.yaml'))"
        assert call(python, "-c", code, cwd=tmp_path).stdout.strip().endswith("ganglion/recipes/exo_assist.yaml")
