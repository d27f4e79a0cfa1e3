"""What the README and the docs show is run here: Python as it stands, commands as far as a test can."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from traces_for_test import kept_traces

from ganglion.core.cli import COMMANDS, _find, _parse, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = [(page, code) for page in PAGES for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
BASH = [
    line
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def quickstart_folder(tmp_path_factory):
    """A folder with runs/quickstart/bundle in it: the default robot's policy, hardly trained."""
    folder = tmp_path_factory.mktemp("docs")
    policy, bundle = folder / "policy", folder / "runs/quickstart/bundle"
    tiny = ["--vl.base", "offline:qwen2_vl?untrained", "--size", "tiny", "--frames", "8", "--steps", "1"]
    assert main(["train", "policy", "--out", str(policy), *tiny, "--eval_count", "4", "--batch_size", "4"]) == 0
    with kept_traces():
        assert main(["export", "--policy", str(policy), "--out", str(bundle)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[f"{page.name}-{i}" for i, (page, _) in enumerate(PYTHON)])
def test_python_runs_and_prints_what_its_comments_say(page, code, quickstart_folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=quickstart_folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in code.splitlines():
        if line.startswith("print(") and "  # " in line:
            assert line.split("  # ")[1].split(":")[0] in done.stdout


@pytest.mark.parametrize("line", [line for line in BASH if line.startswith("ganglion ")])
def test_every_command_shown_exists_with_its_options(line):
    name, rest = _find(shlex.split(line, comments=True)[1:])
    assert _parse(name, COMMANDS[name], rest) is not None


def test_every_make_target_shown_exists():
    targets = [shlex.split(line, comments=True)[1] for line in BASH if line.startswith("make ")]
    assert {"run", "test"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"ganglion {name}" in readme or f"`{name}`" in readme, name
