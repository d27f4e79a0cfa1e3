"""robot_code by its recipe, from 5,000 examples to held-out paraphrases; about ten minutes on one core."""

from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "recipes/robot_code.yaml"
pytestmark = pytest.mark.learning


@pytest.fixture(scope="module")
def run(tmp_path_factory, ganglion):
    folder = tmp_path_factory.mktemp("robot_code")
    synth = ("data", "synth", "robot_code")
    ganglion(folder, *synth, "--out", "train", "--count", 5000, "--seed", 0, "--compound_share", 0.65)
    ganglion(folder, *synth, "--out", "test", "--count", 500, "--seed", 31, "--paraphrases", "heldout")
    ganglion(folder, "train", "sft", "--config", RECIPE, "--data", "train/data.json", "--out", "run")
    ganglion(folder, "evaluate", "--adapter", "run", "--data", "test/data.json", "--with_base", "false")
    return folder


def test_sentences_it_never_saw_become_the_right_program(scores):
    scores = scores["adapter"]
    assert scores["n"] == 500
    assert scores["ast_equal"] >= 0.9
    assert scores["api_valid"] >= 0.95
    assert min(value for name, value in scores.items() if name.endswith(".ast_equal")) >= 0.8
