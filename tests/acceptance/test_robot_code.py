"""robot_code by its recipe, from 5,000 examples to held-out paraphrases; about ten minutes on one core."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robot_code")

    def ganglion(*args):
        command = [Path(sys.executable).with_name("ganglion"), *args]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    synth = ("data", "synth", "robot_code")
    ganglion(*synth, "--out", "train", "--count", "5000", "--seed", "0", "--compound_share", "0.65")
    ganglion(*synth, "--out", "test", "--count", "500", "--seed", "31", "--paraphrases", "heldout")
    recipe = ROOT / "recipes" / "robot_code.yaml"
    ganglion("train", "sft", "--config", recipe, "--data", "train/data.json", "--out", "run")
    ganglion("evaluate", "--adapter", "run", "--data", "test/data.json", "--with_base", "false")
    return json.loads((folder / "run" / "evaluation" / "metrics.json").read_text())["adapter"]


def test_sentences_it_never_saw_become_the_right_program(scores):
    assert scores["n"] == 500
    assert scores["ast_equal"] >= 0.9
    assert scores["api_valid"] >= 0.95
    assert min(value for name, value in scores.items() if name.endswith(".ast_equal")) >= 0.8
