"""gui_step by its recipe, from 4,000 episodes to goals it never heard; `make learning`."""

import pytest

pytestmark = pytest.mark.learning


@pytest.fixture(scope="module")
def run(tmp_path_factory, ganglion, train):
    folder = tmp_path_factory.mktemp("gui_step")
    synth = ("data", "synth", "gui_step")
    ganglion(folder, *synth, "--out", "train", "--count", "4000", "--seed", "1")
    ganglion(folder, *synth, "--out", "test", "--count", "150", "--seed", "31", "--phrasing", "heldout")
    train(folder, "gui_step", "train/data.csv")
    ganglion(folder, "evaluate", "--adapter", "run", "--data", "test/data.csv", "--base_limit", "20")
    return folder


def test_it_is_trained_within_half_an_hour(minutes):
    assert minutes <= 30


def test_steps_succeed_with_its_own_memory(scores):
    assert scores["adapter"]["step_success"] >= 0.85


def test_the_memory_is_needed(scores):
    assert scores["adapter"]["step_success"] - scores["adapter_no_memory"]["step_success"] >= 0.30


def test_the_untuned_base_does_not_know_the_task(scores):
    assert scores["base"]["step_success"] < 0.1
