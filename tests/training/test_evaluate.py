"""Evaluation for real on small models: dialogues, ensembles, one case, and going on after it was killed."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ganglion.core.cli import main  # noqa: E402
from ganglion.core.datafile import read_datafile  # noqa: E402
from ganglion.core.paths import write_json  # noqa: E402
from ganglion.core.tasks import EXO_ASSIST, Example, Turn, vote  # noqa: E402
from ganglion.training.evaluate.report import table  # noqa: E402

pytestmark = pytest.mark.slow
BASE = "offline:qwen2_vl?untrained"
SHORT = ["--max_new_tokens", "8", "--threads", "1"]


def synth(out: Path, *options: str) -> Path:
    command = ["data", "synth", "exo_assist", "--out", str(out), "--size", "56", "--workers", "1"]
    assert main([*command, *options]) == 0
    return out / "data.json"


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth(tmp_path_factory.mktemp("data") / "d", "--count", "5", "--turns_max", "3", "--seed", "1")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth(tmp_path_factory.mktemp("data") / "p", "--count", "2")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three adapters with random weights on one base; the last sees smaller images."""
    from peft import LoraConfig, get_peft_model

    from ganglion.model.checkpoint import base_hash, resolve_base
    from ganglion.model.vlm import load_vlm

    folder, base = tmp_path_factory.mktemp("ensemble"), resolve_base(BASE)
    for seed, (name, max_pixels) in enumerate({"one.v1": None, "two": None, "three": 28 * 28}.items()):
        torch.manual_seed(seed)
        options = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        get_peft_model(load_vlm(base), options).save_pretrained(folder / name)
        run = {"task": "exo_assist", "base": BASE, "base_hash": base_hash(base), "quantization": "none"}
        write_json(folder / name / "run.json", {**run, "max_pixels": max_pixels})
    write_json(folder / "ensemble.json", {"members": ["one.v1", "two", "three"]})
    return folder


@pytest.fixture(scope="module")
def memorized(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learned two rows by heart."""
    out = tmp_path_factory.mktemp("run") / "memorized"
    options = {
        "task": "exo_assist",
        "base": BASE,
        "data": plain,
        "out": out,
        "steps": 40,
        "batch_size": 2,
        "quantization": "none",
        "lora.dropout": 0,
        "optim.lr": 1e-2,
        "optim.warmup_steps": 4,
        "threads": 1,
    }
    assert main(["train", "sft", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]) == 0
    return out


def evaluate(adapter: Path, data: Path, out: Path, *more: str) -> dict[str, dict[str, float]]:
    places = ["--adapter", str(adapter), "--data", str(data), "--out", str(out)]
    assert main(["evaluate", *places, *SHORT, *more]) == 0
    metrics: dict[str, dict[str, float]] = json.loads((out / "metrics.json").read_text())
    return metrics


def predictions(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(out: Path, name: str) -> list[str]:
    return [row[name] for row in predictions(out)]


def test_every_turn_of_a_dialogue_is_scored_and_says_its_row_and_turn(
    ensemble: Path, dialogues: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = read_datafile(dialogues, EXO_ASSIST)
    cases = [(row, turn, e) for row, whole in enumerate(examples) for turn, e in enumerate(whole.unrolled())]
    assert len(cases) > 8
    metrics = evaluate(ensemble / "two", dialogues, tmp_path, "--base_limit", "2")
    assert metrics["adapter"]["n"] == len(cases)
    assert metrics["base"]["n"] == sum(len(whole.turns) for whole in examples[:2])
    assert metrics["adapter"]["dialogue_exact_match"] == 0
    assert "dialogue_exact_match" in capsys.readouterr().out
    rows = predictions(tmp_path)
    details = [json.loads(line) for line in (tmp_path / "details.jsonl").read_text().splitlines()]
    for (row, turn, example), line, detail in zip(cases, rows, details, strict=True):
        assert (int(line["row"]), int(line["turn"])) == (detail["row"], detail["turn"]) == (row, turn)
        assert (line["prompt"], line["expected"]) == (example.prompt, example.answer)
        assert detail["expected"] == json.loads(example.answer)
    assert not list(tmp_path.glob("answers-*"))


def test_what_was_said_before_reaches_the_model(ensemble: Path, plain: Path) -> None:
    from ganglion.model.dialogue.answers import write_answers
    from ganglion.training.evaluate.adapter import load_tuned, read_run

    example = read_datafile(plain, EXO_ASSIST)[0]
    model, processor = load_tuned(ensemble / "two", read_run(ensemble / "two"))
    last = Turn((), "And now?", "")
    asked = [
        Example(*(last.images, last.prompt, last.answer), {}, (Turn(example.images, example.prompt, said),))
        for said in (example.answer, "flat")
    ]
    one, other = write_answers(model, processor, asked, batch_size=1, max_new_tokens=16, label="")
    assert one != other


def test_an_ensemble_is_its_members_their_vote_and_the_base(
    ensemble: Path, dialogues: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ganglion.model.vlm

    loads: list[Any] = []
    load: Callable[..., Any] = ganglion.model.vlm.load_vlm
    monkeypatch.setattr(ganglion.model.vlm, "load_vlm", lambda *a, **k: (loads.append(a), load(*a, **k))[1])
    metrics = evaluate(ensemble, dialogues, tmp_path / "all")
    assert len(loads) == 2  # members one and two share a base in memory; three sees other images
    assert list(metrics) == ["one.v1", "two", "three", "vote", "base"]

    alone = {}
    for name in ("one.v1", "two", "three"):
        evaluate(ensemble / name, dialogues, tmp_path / name, *(() if name == "one.v1" else ("--with_base", "false")))
        alone[name] = column(tmp_path / name, "adapter")
        assert column(tmp_path / "all", name) == alone[name]
    assert alone["one.v1"] != alone["two"] != alone["three"], "the adapters answer alike: nothing was tested"
    assert column(tmp_path / "all", "base") == column(tmp_path / "one.v1", "base")
    examples = [case for e in read_datafile(dialogues, EXO_ASSIST) for case in e.unrolled()]
    voted = [vote(EXO_ASSIST, e, said) for e, said in zip(examples, zip(*alone.values(), strict=True), strict=True)]
    assert column(tmp_path / "all", "vote") == voted


def test_a_killed_evaluation_goes_on_to_the_same_report(ensemble: Path, dialogues: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        places = ["--adapter", str(ensemble / "two"), "--data", str(dialogues), "--out", str(out)]
        return ["evaluate", *places, *SHORT, "--batch_size", "2", "--max_new_tokens", "60"]

    assert main(command(tmp_path / "whole")) == 0
    process = subprocess.Popen([sys.executable, "-m", "ganglion.core.cli", *command(tmp_path / "killed")])
    kept = tmp_path / "killed/answers-adapter.jsonl"
    while not (kept.is_file() and kept.stat().st_size) and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert kept.is_file() and not (tmp_path / "killed/metrics.json").exists(), "it ended before it could be killed"
    kept.write_bytes(kept.read_bytes()[:-3])  # as if killed while it wrote
    assert main(command(tmp_path / "killed")) == 0
    for name in ("metrics.json", "predictions.csv", "details.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {
        "metrics.json",
        "predictions.csv",
        "details.jsonl",
    }


def test_answers_that_were_kept_are_not_written_again(
    ensemble: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown by changing one on the disk: it is the changed one that is reported."""
    with monkeypatch.context() as patch:
        patch.setattr("ganglion.training.evaluate.run.write_report", interrupted)
        places = ["--adapter", str(ensemble / "two"), "--data", str(plain), "--out", str(tmp_path)]
        assert main(["evaluate", *places, *SHORT, "--batch_size", "1"]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"answers-adapter.jsonl", "answers-base.jsonl"}
    kept = tmp_path / "answers-base.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    kept.write_text("".join(json.dumps({**line, "text": f"kept {n}"}) + "\n" for n, line in enumerate(lines)))
    evaluate(ensemble / "two", plain, tmp_path, "--batch_size", "1")
    assert sorted(column(tmp_path, "base")) == ["kept 0", "kept 1"]
    assert "kept" not in "".join(column(tmp_path, "adapter"))


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_one_case_gives_the_answer_of_both_models_and_the_new_level(
    memorized: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = json.loads(plain.read_text())[0]
    case = ["--feedback", row["user_feedback"], "--previous", str(row["previous_assistance"])]
    image = str(plain.parent / row["image_path"])
    assert main(["evaluate", "--adapter", str(memorized), "--image", image, *case, "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = row["expected_output"]
    assert list(found) == ["prompt", "adapter", "base"]
    assert row["user_feedback"] in found["prompt"]
    assert found["adapter"]["answer"] == expected == json.loads(found["adapter"]["text"])
    assert found["adapter"]["level"] == row["previous_assistance"] + expected["assistance_delta"]
    base = found["base"]
    assert (base["answer"], base["level"]) == (None, row["previous_assistance"]) and "no change" in base["note"]


def test_a_case_asked_of_an_ensemble_is_voted_on(
    ensemble: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(plain.parent / "images/000000.jpg")
    options = ["--image", image, "--previous", "6", "--with_base", "false", *SHORT]
    assert main(["evaluate", "--adapter", str(ensemble), *options]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["prompt", "one.v1", "two", "three", "vote"]


def test_right_answers_count(memorized: Path, plain: Path, tmp_path: Path) -> None:
    metrics = evaluate(memorized, plain, tmp_path, "--max_new_tokens", "120", "--with_base", "false")
    assert metrics["adapter"]["exact_match"] == 1 and "dialogue_exact_match" not in metrics["adapter"]


def test_the_table_leaves_empty_what_a_model_has_no_figure_for() -> None:
    lines = table({"a_long_name": {"n": 3, "dialogue_exact_match": 0.5}, "base": {"n": 1}}).splitlines()
    assert [line.split() for line in lines] == [
        ["a_long_name", "base"],
        ["n", "3", "1"],
        ["dialogue_exact_match", "0.5"],
    ]
    assert (
        len({line.index(word) + len(word) for line, word in zip(lines, ["a_long_name", "3", "0.5"], strict=True)}) == 1
    )
