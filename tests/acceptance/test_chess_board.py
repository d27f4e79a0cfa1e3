"""chess_board by its recipe, from 10,000 boards to fresh ones; `make learning`."""

import pytest

CLIP = 0.7932  # squares right by a predictor on CLIP's features
pytestmark = pytest.mark.learning


@pytest.fixture(scope="module")
def run(tmp_path_factory, ganglion, train):
    folder = tmp_path_factory.mktemp("chess_board")
    for name, count, seed in (("train", 10000, 1), ("validation", 100, 2), ("test", 300, 31)):
        ganglion(folder, "data", "synth", "chess_board", "--out", name, "--count", count, "--seed", seed)
    watched = ("--validation.data", "validation/data.json", "--validation.steps", "250")
    train(folder, "chess_board", "train/data.json", *watched, "--validation.metric", "square_accuracy_as_shown")
    ganglion(folder, "evaluate", "--adapter", "run", "--data", "test/data.json", "--base_limit", "20")
    return folder


def test_it_is_trained_within_half_an_hour(minutes):
    assert minutes <= 30


def test_squares_of_fresh_boards_are_read_better_than_by_clip(scores):
    assert scores["adapter"]["square_accuracy"] > CLIP
    assert scores["adapter"]["json_valid_rate"] >= 0.99
    assert scores["base"]["square_accuracy_as_shown"] < 0.5, "the base must not know the answers"
