"""Synthetic robot_code data: valid, balanced, distinct, and held-out sentences that training data never shows."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.robot_check import check_program
from ganglion.core.tasks import ROBOT_CODE
from ganglion.training.data.robot.rows import (
    CATEGORIES,
    COMPOUND,
    GROUPS,
    PARAPHRASES,
    phrases_of,
    robot_rows,
    sentences,
)

NUMBER = r"(\d+(?:\.\d+)?)"


def synth(out: Path, *options: str) -> int:
    return main(["data", "synth", "robot_code", "--out", str(out), *options])


@pytest.mark.parametrize("paraphrases", PARAPHRASES)
def test_rows_are_valid_balanced_and_distinct(tmp_path: Path, paraphrases: str) -> None:
    assert synth(tmp_path / "d", "--count", "2000", "--seed", "3", "--paraphrases", paraphrases) == 0
    examples = read_datafile(tmp_path / "d/data.json", ROBOT_CODE)
    assert Counter(example.row["category"] for example in examples) == dict.fromkeys(CATEGORIES, 400)
    assert len({example.row["input"] for example in examples}) == 2000
    assert (tmp_path / "d/api.yaml").exists()
    told = {"task": "robot_code", "count": 2000, "seed": 3, "paraphrases": paraphrases, "compound_share": 0.4}
    assert json.loads((tmp_path / "d/synth.json").read_text()) == told


def test_fifty_thousand_rows_repeat_next_to_nothing() -> None:
    inputs = [row["input"] for row in robot_rows(0, 50_000, "train")]
    assert len(set(inputs)) > 49_900


def test_same_seed_gives_the_same_rows_and_another_gives_others() -> None:
    first, again, other = (list(robot_rows(seed, 200, "train")) for seed in (1, 1, 2))
    assert first == again
    assert len({row["input"] for row in first} & {row["input"] for row in other}) < 20


def test_every_function_of_the_api_occurs(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "1000") == 0
    examples = read_datafile(tmp_path / "d/data.json", ROBOT_CODE)
    written = " ".join(example.answer for example in examples)
    assert all(f"{name}(" in written for name in examples[0].context.functions)


def words(templates: Iterable[str]) -> set[str]:
    return {word for one in templates for word in re.findall(r"[a-z]+", re.sub(r"\{\w+\}", "", one.lower()))}


def test_no_held_out_sentence_is_a_training_sentence() -> None:
    train, heldout = set(sentences("train")), set(sentences("heldout"))
    assert len(train) > 400 and len(heldout) > 150 and not train & heldout


@pytest.mark.parametrize("group", GROUPS)
def test_held_out_sentences_have_words_that_training_uses_for_the_same(group: str) -> None:
    for train, heldout in zip(phrases_of(group, "train"), phrases_of(group, "heldout"), strict=True):
        assert train.code == heldout.code
        assert train.sentences and words(heldout.sentences) <= words(train.sentences + train.joined)
        assert bool(train.joined) == bool(heldout.joined) and words(heldout.joined) <= words(train.joined)


def test_the_share_of_compound_rows_is_what_was_asked_for() -> None:
    for share in (0.0, 0.65, 1.0):
        rows = list(robot_rows(1, 200, "train", share))
        assert sum(row["category"] in COMPOUND for row in rows) == round(200 * share)


def test_numbers_are_written_in_the_unit_of_the_api() -> None:
    """Read independently of the generator: "70 cm" must be distance=0.7."""
    found: Counter[str] = Counter()
    for row in robot_rows(5, 3000, "train"):
        said, code = row["input"].lower(), row["output"]
        call = re.fullmatch(rf"(?:move_forward|move_backward|set_arm_height)\(\w+={NUMBER}.*\)", code)
        if not call:
            continue
        if match := re.search(rf"{NUMBER} (?:cm|centimeters)", said):
            assert float(call[1]) == pytest.approx(float(match[1]) / 100), row
            found["cm"] += 1
        elif match := re.search(rf"{NUMBER} (?:m|meters)\b", said):
            assert float(call[1]) == pytest.approx(float(match[1])), row
            found["m"] += 1
        elif "one and a half meters" in said:
            assert call[1] == "1.5", row
            found["half"] += 1
        elif "half a meter" in said:
            assert call[1] == "0.5", row
            found["half"] += 1
    assert found["cm"] > 50 and found["m"] > 50 and found["half"] > 3


def test_every_category_has_programs_of_its_form() -> None:
    for row in robot_rows(7, 500, "heldout"):
        several = row["output"].count("\n") > 0
        assert several == (row["category"] in ("multi_step", "conditional"))
        assert row["output"].startswith("if ") == (row["category"] == "conditional")


def test_outputs_leave_defaults_out_and_are_equal_to_their_normal_form(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "300") == 0
    for example in read_datafile(tmp_path / "d/data.json", ROBOT_CODE):
        normal = check_program(example.answer, example.context).normal
        assert normal and len(normal) >= len(example.answer.replace('"', "'"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            ["robot_code", "--size", "56"],
            "--size is no option of robot_code; leave it out; use paraphrases, compound_share",
        ),
        (["robot_code", "--paraphrases", "both"], "--paraphrases is 'both'; use one of train, heldout"),
        (["exo_assist", "--paraphrases", "train"], "--paraphrases is no option of exo_assist"),
        (["robot_code", "--count", "0"], "--count is 0"),
        (["robot_code", "--compound_share", "1.5"], "--compound_share is 1.5"),
    ],
)
def test_an_option_that_is_wrong_or_of_another_task_is_named(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth", *options, "--out", str(tmp_path / "d")]) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "d").exists()


def test_a_set_of_another_task_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(tmp_path / "d", "--count", "5") == 0
    assert main(["data", "synth", "exo_assist", "--out", str(tmp_path / "d"), "--force"]) == 2
    assert "api.yaml" in capsys.readouterr().err
