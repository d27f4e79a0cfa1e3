"""Data by others as robot_code rows: the real files, their ground truth, and answers spoiled on purpose."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import ROBOT_CODE, Example

CASE = {
    "id": "simple_python_0",
    "question": [[{"role": "user", "content": "Play ABBA for an hour"}]],
    "function": [
        {
            "name": "music.play",
            "description": "Play songs.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "artist": {"type": "string", "description": "Who."},
                    "minutes": {"type": "integer", "description": "How long.", "default": 20},
                },
                "required": ["artist"],
            },
        }
    ],
}
TRUTH = {"id": "simple_python_0", "ground_truth": [{"music.play": {"artist": ["ABBA"], "minutes": [60]}}]}


def imported(kind: str, source: Path, out: Path, name: str = "data.arrow") -> list[Example]:
    assert main(["data", "import", kind, str(source), "--out", str(out)]) == 0
    return read_datafile(out / name, ROBOT_CODE)


def write_bfcl(folder: Path, case: Any = CASE, truth: Any = TRUTH) -> Path:
    (folder / "possible_answer").mkdir(parents=True)
    for name in ("BFCL_v4_simple_python.json", "BFCL_v4_parallel.json"):
        (folder / name).write_text(json.dumps(case) + "\n")
        (folder / "possible_answer" / name).write_text(json.dumps(truth) + "\n")
    return folder


def test_a_case_becomes_a_row_with_its_functions_and_all_accepted_values(tmp_path: Path) -> None:
    first, second = imported("bfcl", write_bfcl(tmp_path / "in"), tmp_path / "out")
    assert (first.row["category"], second.row["category"]) == ("simple", "parallel")
    assert first.answer == "music.play(artist='ABBA', minutes=60)"
    assert "music.play(artist: str, minutes: int = 20): Play songs." in first.prompt
    assert "Play ABBA for an hour" in first.prompt


def test_every_true_answer_of_bfcl_matches(shared_data: Path, tmp_path: Path) -> None:
    examples = imported("bfcl", shared_data / "bfcl", tmp_path / "out")
    assert Counter(example.row["category"] for example in examples) == {"simple": 400, "parallel": 200}
    found = ROBOT_CODE.metrics(examples, [example.answer for example in examples])
    assert found["bfcl_match"] == found["api_valid"] == found["ast_equal"] == 1


def test_every_accepted_value_of_bfcl_matches_in_its_place(shared_data: Path, tmp_path: Path) -> None:
    examples = imported("bfcl", shared_data / "bfcl", tmp_path / "out")
    tried = 0
    for example in examples:
        if len(example.row["accepted"]) > 1:
            continue
        ((name, arguments),) = example.row["accepted"][0].items()
        plain = {k: v for k, v in arguments.items() if not any(isinstance(one, dict | list) for one in v)}
        if len(plain) < len(arguments):
            continue
        for argument, values in plain.items():
            for value in values:
                given = {k: next(one for one in v if one != "") for k, v in plain.items() if any(o != "" for o in v)}
                declared = {one.name: one for one in example.context.functions[name].arguments}
                if value != "":
                    given[argument] = value
                elif not declared[argument].required:  # "" for a required one is a slip in BFCL, and fails there too
                    given.pop(argument, None)
                text = f"{name}({', '.join(f'{k}={v!r}' for k, v in given.items())})"
                assert ROBOT_CODE.metrics([example], [text])["bfcl_match"] == 1, text
                tried += 1
    assert tried > 1000


def test_spoiled_answers_of_bfcl_do_not_match(shared_data: Path, tmp_path: Path) -> None:
    examples = imported("bfcl", shared_data / "bfcl", tmp_path / "out")

    def match(spoil: Any) -> float:
        spoiled = [(e, spoil(e.answer)) for e in examples]
        changed = [(e, text) for e, text in spoiled if text != e.answer]
        assert len(changed) > 60
        return ROBOT_CODE.metrics([e for e, _ in changed], [text for _, text in changed])["bfcl_match"]

    assert match(lambda text: re.sub(r"=(\d)", r"=7\1", text)) == 0  # another number
    assert match(lambda text: re.sub(r"='([^']*)'", r"='\1 or not'", text, count=1)) == 0  # another text
    assert match(lambda text: re.sub(r"^([\w.]+)\(", r"\1x(", text)) == 0  # another function
    assert match(lambda text: f"{text}\n{text.splitlines()[0]}") == 0  # a call too many
    assert match(lambda text: text.split("\n", 1)[1] if "\n" in text else text) == 0  # a call too few
    assert match(lambda text: re.sub(r"\)$", ", surprise=1)", text)) == 0  # an argument too many
    assert match(lambda text: "\n".join(reversed(text.splitlines()))) == 1  # another order of calls


def test_calvin_has_a_valid_call_for_every_task_and_splits_by_sentence(shared_data: Path, tmp_path: Path) -> None:
    train = imported("calvin", shared_data / "calvin_language", tmp_path / "out", "train.arrow")
    heldout = read_datafile(tmp_path / "out/heldout.arrow", ROBOT_CODE)
    assert len(train) + len(heldout) == 389 and len(heldout) == 65
    assert not {e.row["input"] for e in train} & {e.row["input"] for e in heldout}
    assert {e.answer for e in heldout} == {e.answer for e in train} and len({e.answer for e in train}) == 34
    said = {e.row["input"]: e.answer for e in [*train, *heldout]}
    assert said["grasp the red block, then rotate it right"] == 'rotate_block(color="red", direction="right")'
    assert said["turn off the led light"] == 'switch(light="led", state="off")'


def test_calvin_validation_sentences_are_taken_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "new_playtable.yaml").write_text("open_drawer: [a, b, c, d, e]")
    (tmp_path / "new_playtable_validation.yaml").write_text("open_drawer: [pull it]")
    assert len(imported("calvin", tmp_path, tmp_path / "out", "train.arrow")) == 4
    assert [e.row["input"] for e in read_datafile(tmp_path / "out/validation.arrow", ROBOT_CODE)] == ["pull it"]


@pytest.mark.parametrize(
    ("case", "truth", "named"),
    [
        ({**CASE, "question": []}, TRUTH, "simple_python_0"),
        ({**CASE, "function": "x"}, TRUTH, "simple_python_0"),
        (CASE, {**TRUTH, "id": "other"}, "simple_python_0"),
        (CASE, {**TRUTH, "ground_truth": [{"music.play": 5}]}, "simple_python_0"),
        ([1], TRUTH, "not JSON lines"),
    ],
)
def test_bad_bfcl_is_one_line_with_file(
    case: Any, truth: Any, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_bfcl(tmp_path / "in", case, truth)
    assert main(["data", "import", "bfcl", str(source), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 2, "a line for each of the two files with the case in it"
    assert "BFCL_v4_simple_python.json" in lines[0] and all(named in line for line in lines)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "[1]", "a: 5", "a: [5]", "fly_away: [fly]", "a: [", "&a [*a]"])
def test_bad_calvin_is_one_line_with_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new_playtable.yaml").write_text(text)
    assert main(["data", "import", "calvin", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "new_playtable.yaml" in lines[0]


def test_unknown_kind_missing_source_and_filled_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, out, named in (("ms_coco", "out", "ms_coco"), ("calvin", "out", "no such file"), ("bfcl", "", "already")):
        assert main(["data", "import", kind, str(tmp_path / "none"), "--out", str(tmp_path / out)]) == 2
        assert named in capsys.readouterr().err
