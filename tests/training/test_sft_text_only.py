"""A data file without any image: trained on and scored for real, on a random base."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from ganglion.core.cli import main  # noqa: E402

pytestmark = pytest.mark.slow


def test_robot_code_trains_and_is_scored_by_category(tmp_path: Path) -> None:
    for name, paraphrases in (("train", "train"), ("test", "heldout")):
        options = ["--out", str(tmp_path / name), "--count", "10", "--paraphrases", paraphrases]
        assert main(["data", "synth", "robot_code", *options]) == 0
    run = tmp_path / "run"
    base = ["--task", "robot_code", "--base", "offline:qwen2_vl?untrained", "--steps", "3", "--batch_size", "4"]
    data = tmp_path / "train/data.json"
    assert main(["train", "sft", *base, "--data", str(data), "--out", str(run), "--threads", "1"]) == 0
    assert json.loads((run / "run.json").read_text())["rows"] == 10
    scored = ["--adapter", str(run), "--data", str(tmp_path / "test/data.json"), "--max_new_tokens", "8"]
    assert main(["evaluate", *scored]) == 0
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    for model in ("adapter", "base"):
        assert metrics[model]["n"] == 10 and metrics[model]["conditional.n"] == 2
        assert 0 <= metrics[model]["api_valid"] <= metrics[model]["parses"] <= 1
    details = [json.loads(line) for line in (run / "evaluation/details.jsonl").read_text().splitlines()]
    assert details[0]["expected"].startswith(details[0]["input"]["output"].split("(")[0])
