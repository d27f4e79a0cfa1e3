"""The two commands, as far as they can be asked without running themselves."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def dry(target, *args):
    command = ["make", "--dry-run", "--no-print-directory", target, *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_help_is_the_default_and_names_every_target():
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "check", "acceptance", "help"):
        assert re.search(rf"^{target}\s+\S", shown, re.MULTILINE), shown


def test_run_and_test_make_the_environment_first_with_torch_pinned_before_all_else(tmp_path):
    for target in ("run", "test"):
        lines = dry(target, f"VENV={tmp_path / 'venv'}").splitlines()
        assert "-m venv" in lines[0]
        assert "install" in lines[1] and lines[1].endswith("torch==2.13.0")
        assert ".[dev]" in lines[2]


def test_ci_calls_the_tests():
    script = ROOT / ".ci/run"
    assert "make test" in script.read_text().splitlines()
    subprocess.run(["bash", "-n", script], check=True)
