"""What `ganglion evaluate` refuses before any model is loaded: one line, exit 2."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.step_predictor import GuiSession, StepPredictor
from ganglion.training.evaluate.members import ENSEMBLE_FILE

RUN = {"task": "exo_assist", "base": "offline:qwen2_vl?untrained", "base_hash": "0" * 64, "quantization": "none"}
CASE = ["--image", "i.jpg", "--previous", "6"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, changes in {"a": {}, "b": {}, "code": {"task": "juggling"}, "gui": {"task": "gui_step"}}.items():
        Path(name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({**RUN, **changes}))
    Image.new("RGB", (56, 56)).save("i.jpg")
    Path("cut.jpg").write_bytes(Path("i.jpg").read_bytes()[:200])
    return tmp_path


BAD_CASES = {
    "image missing": (["--image", "none.jpg", "--previous", "6"], "none.jpg: no such file; correct --image"),
    "image corrupt": (["--image", "cut.jpg", "--previous", "6"], "cut.jpg: can't be decoded"),
    "image is a folder": (["--image", "a", "--previous", "6"], "a: can't be decoded"),
    "previous above": (["--image", "i.jpg", "--previous", "20.5"], "--previous is 20.5; give 0 to 20"),
    "previous below": (["--image", "i.jpg", "--previous", "-1"], "--previous is -1; give 0 to 20"),
    "previous no number": (["--image", "i.jpg", "--previous", "much"], "previous"),
    "both": ([*CASE, "--data", "x.json"], "both --data and --image given; give a data file or one case"),
    "feedback and data": (["--feedback", "ow", "--data", "x.json"], "both --data and --feedback given"),
    "no previous": (["--image", "i.jpg", "--feedback", "ow"], "add --previous PERCENT"),
    "no image": (["--feedback", "ow", "--previous", "6"], "add --image FILE"),
    "limit": ([*CASE, "--limit", "3"], "--limit means nothing for one case"),
    "out": ([*CASE, "--out", "o"], "--out means nothing for one case"),
    "neither": ([], "add --data FILE.json, or --image, --feedback and --previous"),
}


@pytest.mark.parametrize(("options", "named"), BAD_CASES.values(), ids=BAD_CASES)
def test_a_bad_case_is_named(options: list[str], named: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert named in refused(["--adapter", "a", *options], capsys)


BAD_STEPS = {
    "no goal": (["--memory", "new.json"], "--image alone is no case of gui_step; add --goal TEXT"),
    "feedback": (["--goal", "g", "--feedback", "ow"], "--feedback means nothing for gui_step; leave it out"),
    "other goal": (["--goal", "g", "--memory", "other.json"], "other.json: is of the goal 'buy milk'; give that"),
    "no memory": (["--goal", "g", "--memory", "i.jpg"], "i.jpg: can't be read"),
    "max_tasks": (["--goal", "g", "--max_tasks", "3"], "--max_tasks means nothing for one case"),
    "blank goal": (["--goal", " "], "the goal is empty"),
}


@pytest.mark.parametrize(("options", "named"), BAD_STEPS.values(), ids=BAD_STEPS)
def test_a_bad_step_is_named(options: list[str], named: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GuiSession(StepPredictor(lambda image, prompt: ""), "buy milk").save(Path("other.json"))
    assert named in refused(["--adapter", "gui", "--image", "i.jpg", *options], capsys)


@pytest.mark.parametrize("option", ["goal", "memory"])
def test_an_option_of_another_task_is_refused(option: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["--adapter", "a", *CASE, f"--{option}", "x"], capsys)
    assert f"--{option} means nothing for exo_assist; leave it out" in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--max_tasks", "0"], "--max_tasks is 0; give 1 or more"),
        (["--task_start", "-1"], "--task_start is -1; give 0 or more"),
        (["--task_end", "0"], "--task_end is 0; give 1 or more"),
    ],
)
def test_a_bad_range_of_tasks_is_named(
    options: list[str], named: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(["--adapter", "gui", "--data", "x.json", *options], capsys)


def test_a_case_of_a_task_without_such_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import dataclasses

    from ganglion.core.tasks import EXO_ASSIST, registry

    other = dataclasses.replace(EXO_ASSIST, name="juggling")
    registry._TASKS["juggling"] = other
    try:
        line = refused(["--adapter", "code", *CASE], capsys)
    finally:
        del registry._TASKS["juggling"]
    assert "one case of juggling can't be asked, only of exo_assist and gui_step; use --data" in line


def members(*names: Any) -> str:
    return json.dumps({"members": list(names)})


BAD_ENSEMBLES = {
    "not JSON": ("{", "names no members"),
    "no list": ('{"members": "a"}', "names no members"),
    "other key": ('{"adapters": ["a"]}', "names no members"),
    "empty": (members(), "names no members"),
    "not text": (members("a", 1), "names no members"),
    "twice": (members("a", "b", "a"), "member 'a' is not a free name"),
    "reserved": (members("a", "base"), "member 'base' is not a free name"),
    "outside": (members("../a"), "member '../a' is not a free name"),
    "parent": (members(".."), "member '..' is not a free name"),
    "absent": (members("a", "c"), "c: holds no run.json"),
    "other task": (members("a", "code"), "'code' answers juggling, but 'a' exo_assist"),
}


@pytest.mark.parametrize(("text", "named"), BAD_ENSEMBLES.values(), ids=BAD_ENSEMBLES)
def test_a_bad_ensemble_is_named(text: str, named: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ENSEMBLE_FILE).write_text(text)
    assert named in refused(["--adapter", ".", "--data", "x.json"], capsys)


def test_a_bad_case_is_refused_before_torch_is_imported(folder: Path) -> None:
    code = (
        "import sys; from ganglion.core.cli import main; "
        "code = main(['evaluate', '--adapter', 'a', '--image', 'none.jpg', '--previous', '6']); "
        "sys.exit(code + 10 * ('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


def refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["evaluate", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "; " in lines[0]
    return lines[0]
