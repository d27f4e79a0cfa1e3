"""gui_step for real on small models: three kinds of memory, whole tasks, going on, single steps and sessions."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from ganglion.core.cli import main  # noqa: E402
from ganglion.core.datafile import read_datafile  # noqa: E402
from ganglion.core.errors import InputError  # noqa: E402
from ganglion.core.paths import write_json  # noqa: E402
from ganglion.core.step_predictor import GuiSession  # noqa: E402
from ganglion.core.tasks import GUI_STEP  # noqa: E402
from ganglion.core.tasks.gui_rows import COLUMNS  # noqa: E402
from ganglion.training.evaluate.kept_answers import KeptAnswers  # noqa: E402
from ganglion.training.evaluate.predictor import adapter_predictor  # noqa: E402

pytestmark = pytest.mark.slow
BASE = "offline:qwen2_vl?untrained"
SHORT = ["--max_new_tokens", "6", "--threads", "1"]
STEPS = {
    "one": ['{"action": "click", "target": "A", "remember": "n: 3"}', '{"action": "type", "text": "3"}'],
    "two": ['{"action": "wait"}', '{"action": "press", "text": "Tab"}', '{"action": "done"}'],
    "three": ['{"action": "done"}'],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks of two, three and one step."""
    folder = tmp_path_factory.mktemp("gui")
    table = []
    for number, (task, outputs) in enumerate(STEPS.items()):
        for k, output in enumerate(outputs):
            name = f"{task}{k}.png"
            Image.new("RGB", (112, 112), (80 * number, 80 * k, 90)).save(folder / name)
            box = '{"box": [20, 20, 60, 40]}' if "click" in output else ""
            table.append(dict(zip(COLUMNS, (task, name, f"do {task}", output, box), strict=True)))
    assert GUI_STEP.from_table
    write_json(folder / "data.json", list(GUI_STEP.from_table(table)))
    return folder / "data.json"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: whatever it says is no valid answer."""
    from peft import LoraConfig, get_peft_model

    from ganglion.model.checkpoint import base_hash, resolve_base
    from ganglion.model.vlm import load_vlm

    folder, base = tmp_path_factory.mktemp("random") / "adapter", resolve_base(BASE)
    torch.manual_seed(0)
    options = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    get_peft_model(load_vlm(base), options).save_pretrained(folder)
    write_json(
        folder / "run.json", {"task": "gui_step", "base": BASE, "base_hash": base_hash(base), "quantization": "none"}
    )
    return folder


@pytest.fixture(scope="module")
def memorized(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learned the first of the tasks by heart."""
    out = tmp_path_factory.mktemp("run") / "memorized"
    options: Mapping[str, object] = {
        "task": "gui_step",
        "base": BASE,
        "data": data,
        "task_end": 1,
        "out": out,
        "steps": 60,
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
    assert main(["evaluate", *places, *more]) == 0
    found: dict[str, dict[str, float]] = json.loads((out / "metrics.json").read_text())
    return found


def predictions(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def details(out: Path) -> list[dict[str, dict[str, str]]]:
    return [json.loads(line) for line in (out / "details.jsonl").read_text().splitlines()]


COLUMN_NAMES = [f"{name}{kind}" for name in ("adapter", "base") for kind in ("", "_true_memory", "_no_memory")]


def test_each_model_has_three_columns_and_invalid_answers_are_carried_on(
    adapter: Path, data: Path, tmp_path: Path
) -> None:
    metrics = evaluate(adapter, data, tmp_path, *SHORT)
    assert list(metrics) == COLUMN_NAMES
    assert all(one["n"] == 6 and one["step_success"] == one["task_success"] == 0 for one in metrics.values())
    steps = details(tmp_path)
    assert [(one["task"], one["step"]) for one in steps] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]
    last = steps[4]
    for name in ("adapter", "base"):
        assert "Done: 1. (no valid step); 2. (no valid step)\nRemembered: none" in last[name]["prompt"]
        assert 'Done: 1. wait; 2. press "Tab"\n' in last[f"{name}_true_memory"]["prompt"]
        assert "Done: none\nRemembered: none" in last[f"{name}_no_memory"]["prompt"]
    assert not list(tmp_path.glob("answers-*"))


def test_tasks_are_limited_as_wholes_and_the_base_by_rows(adapter: Path, data: Path, tmp_path: Path) -> None:
    metrics = evaluate(adapter, data, tmp_path / "a", *SHORT, "--max_tasks", "2", "--base_limit", "4")
    assert (metrics["adapter"]["n"], metrics["base"]["n"], metrics["base_no_memory"]["n"]) == (5, 2, 2)
    assert [row["base"] != "" for row in predictions(tmp_path / "a")][2:] == [False] * 3
    later = evaluate(
        adapter, data, tmp_path / "b", *SHORT, "--task_start", "1", "--task_end", "2", "--with_base", "false"
    )
    assert list(later) == COLUMN_NAMES[:3] and later["adapter"]["n"] == 3


@pytest.mark.parametrize("after", [1, 3, 5])
def test_an_interrupted_evaluation_goes_on_to_the_same_report(
    after: int, adapter: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*SHORT, "--batch_size", "2", "--with_base", "false"]
    evaluate(adapter, data, tmp_path / "whole", *options)
    kept = KeptAnswers.keep
    batches: list[int] = []

    def keep(self: KeptAnswers, texts: Mapping[int, str]) -> None:
        if len(batches) == after:
            raise KeyboardInterrupt
        kept(self, texts)
        batches.append(len(texts))

    monkeypatch.setattr(KeptAnswers, "keep", keep)
    places = ["--adapter", str(adapter), "--data", str(data), "--out", str(tmp_path / "cut")]
    assert main(["evaluate", *places, *options]) == 1
    written = sum(len(file.read_text().splitlines()) for file in (tmp_path / "cut").glob("answers-*.jsonl"))
    assert written == sum(batches) > 0
    after = 100
    before, batches = batches, []
    evaluate(adapter, data, tmp_path / "cut", *options)
    for name in ("predictions.csv", "metrics.json", "details.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    whole = len(
        {(one[name]["prompt"], k) for k, one in enumerate(details(tmp_path / "whole")) for name in COLUMN_NAMES[:3]}
    )
    assert sum(before) + sum(batches) == whole


def test_an_ensemble_is_refused(adapter: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(adapter)
    write_json(tmp_path / "ensemble.json", {"members": ["a", "b"]})
    assert main(["evaluate", "--adapter", str(tmp_path), "--data", str(data)]) == 2
    assert "an ensemble can't be scored on gui_step" in capsys.readouterr().err


def test_rows_of_half_a_task_are_refused(
    adapter: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(data.read_text())[1:]
    write_json(tmp_path / "half.json", [{**row, "image_path": str(data.parent / row["image_path"])} for row in rows])
    assert main(["evaluate", "--adapter", str(adapter), "--data", str(tmp_path / "half.json")]) == 2
    assert "half.json: row 0: its memory is not what the 0 steps" in capsys.readouterr().err


def test_a_session_asks_and_answers_what_evaluation_does(memorized: Path, data: Path, tmp_path: Path) -> None:
    metrics = evaluate(memorized, data, tmp_path / "e", "--max_tasks", "1", "--with_base", "false", "--threads", "1")
    assert metrics["adapter"]["task_success"] == metrics["adapter_true_memory"]["task_success"] == 1
    assert metrics["adapter_no_memory"]["task_success"] == 0
    steps = read_datafile(data, GUI_STEP)[:2]
    predictor = adapter_predictor(memorized)
    session = GuiSession(predictor, "do one")
    first = session.step(steps[0].images[0])
    assert first.point_pixels == (40, 30)  # 360 and 270 thousandths of 112
    session.save(tmp_path / "session.json")
    with Image.open(steps[1].images[0]) as image:
        second = GuiSession.load(tmp_path / "session.json", predictor).step(image)
    for said, step, detail in zip((first, second), steps, details(tmp_path / "e"), strict=True):
        assert said.answer == json.loads(step.answer) == detail["adapter"]["answer"]
        assert said.prompt == step.prompt == detail["adapter"]["prompt"]
    assert second.long_term_memory.facts == ("n: 3",)
    with pytest.raises(InputError, match="is too long for this model"):
        GuiSession(predictor, "far " * 5000).step(steps[0].images[0])


def test_one_step_from_the_command_line_reads_and_writes_the_memory(
    memorized: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = read_datafile(data, GUI_STEP)[:2]
    file = tmp_path / "memory.json"
    for count, step in enumerate(steps, 1):
        options = ["--image", str(step.images[0]), "--goal", "do one", "--memory", str(file), "--with_base", "false"]
        assert main(["evaluate", "--adapter", str(memorized), *options, "--threads", "1"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["prompt"] == step.prompt
        assert found["adapter"]["answer"] == json.loads(step.answer)
        kept = json.loads(file.read_text())
        assert (kept["goal"], kept["steps"]) == ("do one", count)
        assert kept["short_term_memory"] == found["adapter"]["short_term_memory"]
    assert kept["long_term_memory"] == ["n: 3"]
    capsys.readouterr()
    options = ["--image", str(steps[0].images[0]), "--goal", "do one", *SHORT]
    assert main(["evaluate", "--adapter", str(memorized), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["adapter"]["answer"], found["base"]["answer"]) == (None, None)
    assert found["base"]["short_term_memory"] == ["1. (no valid step)"]
    assert json.loads(file.read_text())["steps"] == 2


def test_training_takes_a_range_of_tasks(
    memorized: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads((memorized / "run.json").read_text())["rows"] == 2
    given = ["train", "sft", "--task", "gui_step", "--base", BASE, "--data", str(data), "--out", str(tmp_path / "r")]
    assert main([*given, "--task_start", "3"]) == 2
    assert "tasks 3 to None of 3 are none" in capsys.readouterr().err
    assert main([*given, "--task_start", "-1"]) == 2
    assert "--task_start is -1; give 0 or more" in capsys.readouterr().err
