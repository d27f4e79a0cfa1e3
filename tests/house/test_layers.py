"""The boundaries of the house, checked on the real imports."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "model", "simulation", "training", "export", "serving", "robot_bridge", "demo")


def test_import_linter_finds_every_contract_kept():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_room_claims_the_namespace_for_itself():
    assert not [room for room in ROOMS if (ROOT / room / "ganglion/__init__.py").exists()]
    assert all((ROOT / room / "ganglion" / room / "py.typed").exists() for room in ROOMS)


@pytest.mark.parametrize("room", ["core", "robot_bridge", "serving", "simulation"])
def test_a_light_room_imports_with_torch_and_transformers_blocked(room):
    modules = [
        ".".join(path.relative_to(ROOT / room).with_suffix("").parts)
        for path in sorted((ROOT / room / "ganglion" / room).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    blocked = ["torch", "transformers", "peft"] + ([] if room == "serving" else ["onnxruntime"])
    only_in_triton = "triton_python_backend_utils"  # what runs in its process imports it, and nothing else can
    code = (
        f"import sys, importlib, types; sys.modules.update(dict.fromkeys({blocked!r}));"
        f"sys.modules[{only_in_triton!r}] = types.ModuleType({only_in_triton!r});"
        f"[importlib.import_module(m) for m in {[m.removesuffix('.__init__') for m in modules]!r}]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
