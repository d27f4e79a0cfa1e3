"""Scoring while training: the right number, the best adapter kept, a stop where nothing gets better."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from peft import PeftModel  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from ganglion.core.datafile import read_datafile  # noqa: E402
from ganglion.core.errors import InputError  # noqa: E402
from ganglion.core.tasks import EXO_ASSIST, Example  # noqa: E402
from ganglion.model.checkpoint import resolve_base  # noqa: E402
from ganglion.model.dialogue.batching import collate  # noqa: E402
from ganglion.model.dialogue.encoding import encode  # noqa: E402
from ganglion.model.dialogue.images import ImageEncoder  # noqa: E402
from ganglion.model.processor import load_processor  # noqa: E402
from ganglion.model.vlm import load_vlm  # noqa: E402
from ganglion.training.data.split import split_examples  # noqa: E402
from ganglion.training.sft.config import ValidationOptions  # noqa: E402
from ganglion.training.sft.validation import best_step, should_stop  # noqa: E402

Runner = Callable[..., int]
slow = pytest.mark.slow


def log(*values: float, metric: str = "loss") -> list[dict[str, Any]]:
    """A training log with validations at steps 10, 20, ... and losses between."""
    entries: list[dict[str, Any]] = []
    for k, value in enumerate(values, 1):
        entries += [{"step": 10 * k, "loss": 1.0}, {"step": 10 * k, "eval_loss": 1.0, f"eval_{metric}": value}]
    return entries


def test_the_lowest_loss_is_best_and_the_first_of_equals() -> None:
    assert best_step(log(3, 1, 2, 1), ValidationOptions()) == 20
    assert best_step(log(), ValidationOptions()) is None
    assert best_step(log(float("nan"), 5), ValidationOptions()) == 20


def test_the_highest_metric_is_best() -> None:
    history = log(0.1, 0.9, 0.5, metric="exact_match")
    assert best_step(history, ValidationOptions(metric="exact_match")) == 20


def test_it_stops_after_so_many_without_a_better_one() -> None:
    options = ValidationOptions(patience=2)
    assert not should_stop(log(3, 1, 2), options)
    assert should_stop(log(3, 1, 2, 1), options)  # an equal one is no better one
    assert not should_stop(log(3, 1, 2, 0.5), options)
    assert not should_stop(log(1, 2, 3, 4), ValidationOptions())


def test_a_split_keeps_rows_that_share_an_image_together() -> None:
    rows = [Example((Path(f"{k // 3}.png"),), f"{k}", "", {}) for k in range(60)]
    train, held = split_examples(rows, 0.2, seed=1)
    assert len(train) + len(held) == 60 and 9 <= len(held) <= 15
    assert not {row.images for row in train} & {row.images for row in held}
    assert split_examples(rows, 0.2, seed=1) == (train, held)
    assert split_examples(rows, 0.2, seed=2) != (train, held)


def test_a_split_follows_chains_of_shared_images() -> None:
    """Row 1 joins what rows 0 and 2 have: all three belong together."""
    a, b, c = Path("a"), Path("b"), Path("c")
    linked = [
        Example((a,), "0", "", {}),
        Example((b,), "1", "", {}),
        Example((a, b), "2", "", {}),
        Example((b,), "3", "", {}),
    ]
    alone = [Example((c,), "4", "", {})]
    for seed in range(6):
        train, held = split_examples([*linked, *alone], 0.3, seed)
        assert alone in (train, held)


def test_a_split_that_leaves_a_side_empty_is_refused() -> None:
    with pytest.raises(InputError, match="leaves a side empty"):
        split_examples([Example((), "same", "", {})] * 5, 0.2, seed=0)


@slow
def test_the_validation_loss_is_that_of_the_saved_adapter(sft: Runner, exo_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert sft(out, "--validation.data", str(exo_data), "--validation.steps", "2") == 0
    scores = json.loads((out / "validation.json").read_text())
    assert [score["step"] for score in scores] == [2, 4]
    base = resolve_base("offline:qwen2_vl?untrained")
    model = PeftModel.from_pretrained(load_vlm(base, quantization="nf4"), out).eval()
    processor, total, count = load_processor(base), 0.0, 0
    for example in read_datafile(exo_data, EXO_ASSIST):
        row = encode(processor, example, ImageEncoder(processor), with_answer=True)
        with torch.no_grad():
            loss = float(model(**collate([row], processor.tokenizer.pad_token_id, side="right")).loss)
        tokens = int((row.text.labels >= 0).sum())
        total, count = total + loss * tokens, count + tokens
    assert scores[-1]["loss"] == pytest.approx(total / count, abs=1e-5)


@slow
def test_validating_changes_nothing_in_training(sft: Runner, exo_data: Path, tmp_path: Path) -> None:
    more = ("--lora.dropout", "0.2")
    assert sft(tmp_path / "without", *more) == 0
    assert sft(tmp_path / "with", *more, "--validation.data", str(exo_data), "--validation.steps", "1") == 0
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("without", "with"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@slow
def test_the_best_adapter_is_left_and_the_run_stops(sft: Runner, exo_data: Path, tmp_path: Path) -> None:
    """A learning rate far too high: validation gets worse after a while, and stays so."""
    out = tmp_path / "run"
    options = ("--validation.data", str(exo_data), "--validation.steps", "2", "--validation.patience", "2")
    given = (*options, "--validation.keep_best", "--steps", "60", "--optim.lr", "0.03", "--optim.schedule", "constant")
    assert sft(out, *given) == 0
    scores = json.loads((out / "validation.json").read_text())
    run = json.loads((out / "run.json").read_text())
    losses = [score["loss"] for score in scores]
    best = losses.index(min(losses))
    assert run["best_step"] == scores[best]["step"] and best == len(scores) - 3
    assert run["steps"] == scores[-1]["step"] < 60
    # What is left scores as the best did, and unlike the last.
    assert (
        sft(
            tmp_path / "again",
            "--validation.data",
            str(exo_data),
            "--init_adapter",
            str(out),
            "--steps",
            "1",
            "--optim.lr",
            "1e-9",
        )
        == 0
    )
    again = json.loads((tmp_path / "again" / "validation.json").read_text())[-1]["loss"]
    assert again == pytest.approx(min(losses), abs=1e-4) and abs(again - losses[-1]) > 1e-3


@slow
def test_a_task_metric_can_decide(sft: Runner, exo_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--validation.data", str(exo_data), "--validation.metric", "json_valid_rate", "--validation.rows", "2")
    assert sft(out, *options, "--validation.keep_best", "--steps", "1") == 0
    assert json.loads((out / "validation.json").read_text())[0]["n"] == 2


@slow
def test_an_unknown_metric_is_named(
    sft: Runner, exo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--validation.data", str(exo_data), "--validation.metric", "beauty", "--validation.rows", "2")
    assert sft(tmp_path / "run", *options, "--steps", "1") == 2
    assert "--validation.metric is 'beauty'; use one of" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--validation.keep_best",), "needs rows to validate on"),
        (("--validation.split", "0.2", "--validation.patience", "2"), "needs --validation.steps"),
        (("--validation.split", "0.2", "--validation.data", "x.json"), "both given"),
        (("--validation.split", "1.5"), "--validation.split is 1.5"),
        (("--validation.data", "nowhere.json"), "no such file"),
    ],
)
def test_options_that_contradict_are_named(
    sft: Runner, tmp_path: Path, options: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "run", *options) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and named in errors[0]
