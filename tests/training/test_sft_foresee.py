"""`train sft --estimate`: what a run would take, told from config and data, with nothing loaded and nothing trained."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("torch")

from ganglion.core.chess_fen import SQUARES
from ganglion.core.cli import main
from ganglion.core.gui_memory import FACT_CHARACTERS, FACTS_KEPT, TARGET_CHARACTERS, TEXT_CHARACTERS
from ganglion.core.tasks import write_answer
from ganglion.core.tasks.chess_schema import board_row
from ganglion.core.tasks.gui_rows import COLUMNS, GOAL_CHARACTERS, from_table
from ganglion.training.sft.config import SftConfig
from ganglion.training.sft.foresee import _rows

Runner = Callable[..., int]
RECIPES = Path(__file__).resolve().parents[2] / "recipes"
REAL = json.loads((Path(__file__).parent / "real_configs.json").read_text())["models"]
OF_REAL_SIZE = {
    "exo_assist_qwen2_vl_2b": "Qwen2-VL-2B",
    "exo_assist_qwen2_5_vl_3b": "Qwen2.5-VL-3B",
    "exo_assist_qwen3_vl_8b": "Qwen3-VL-8B",
    "gui_step_qwen2_vl_2b": "Qwen2-VL-2B",
    "gui_step_qwen2_5_vl_3b": "Qwen2.5-VL-3B",
    "chess_board_qwen2_vl_2b": "Qwen2-VL-2B",
    "chess_board_qwen2_5_vl_7b": "Qwen2.5-VL-7B",
    "robot_code_codellama_7b": "CodeLlama-7b-Python",
    "robot_code_qwen2_5_coder_7b": "Qwen2.5-Coder-7B",
}


def base_of(recipe: str, tmp_path: Path) -> Path:
    """The config of the recipe's base, in a folder of its own."""
    (folder := tmp_path / "base").mkdir()
    (folder / "config.json").write_text(json.dumps(REAL[OF_REAL_SIZE[recipe]]["config"]))
    return folder


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """The folder of a checkpoint of real size, of which only the config is there."""
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "config.json").write_text(json.dumps(REAL["Qwen3-VL-8B"]["config"]))
    return tmp_path / "big"


def estimate(out: Path, *options: str) -> list[dict]:
    assert main(["train", "sft", *options, "--estimate", "--out", str(out)]) == 0
    return json.loads(out.with_name(f"{out.name}.estimate.json").read_text())


def test_a_recipe_of_real_size_is_told_without_its_weights(
    big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(RECIPES / "exo_assist_qwen3_vl_8b.yaml")
    (found,) = estimate(tmp_path / "run", "--config", recipe, "--base", str(big), "--estimate_on", "a100-40gb")
    assert found["parameters"] == 8_767_123_696 and found["fits"] and 5e9 < found["total_bytes"] < 40e9
    said = capsys.readouterr().out
    assert "fits NVIDIA A100 40 GB" in said and "no data given" in said and "an assumption" in said


@pytest.mark.parametrize("recipe", OF_REAL_SIZE)
def test_every_recipe_of_real_size_fits_one_gpu_of_40_gb(recipe: str, tmp_path: Path) -> None:
    base = str(base_of(recipe, tmp_path))
    options = ("--config", str(RECIPES / f"{recipe}.yaml"), "--base", base, "--estimate_on", "a100-40gb")
    (found,) = estimate(tmp_path / "run", *options)
    assert found["fits"] and found["parameters"] == REAL[OF_REAL_SIZE[recipe]]["parameters"]


def hardest_rows(task: str, folder: Path) -> Path:
    """A data file with the longest prompt and answer that its task takes, and a picture larger than any limit."""
    Image.new("RGB", (2560, 1440)).save(folder / "a.png")
    longest = {"action": "type", "target": "x" * TARGET_CHARACTERS, "text": "y" * TEXT_CHARACTERS}
    facts = [write_answer({**longest, "remember": f"{k}: ".ljust(FACT_CHARACTERS, "z")}) for k in range(FACTS_KEPT + 1)]
    made = {
        "gui_step": lambda: from_table(
            dict(zip(COLUMNS, ("one", "a.png", "g" * GOAL_CHARACTERS, fact, ""), strict=True)) for fact in facts
        ),
        "chess_board": lambda: [board_row("0", "a.png", dict.fromkeys(SQUARES, "Q"), "white", False)],
    }
    (folder / "data.json").write_text(json.dumps(list(made[task]())))
    return folder / "data.json"


@pytest.mark.parametrize("recipe", [name for name in OF_REAL_SIZE if name.startswith(("gui_", "chess_"))])
def test_the_hardest_rows_fit_the_gpu_that_the_recipe_names(recipe: str, tmp_path: Path) -> None:
    path = RECIPES / f"{recipe}.yaml"
    named = re.search(r"one GPU of (\d+) GB", path.read_text())
    data = hardest_rows(recipe[: recipe.index("_qwen")], tmp_path)
    options = ("--config", str(path), "--base", str(base_of(recipe, tmp_path)), "--data", str(data))
    (found,) = estimate(tmp_path / "run", *options, "--estimate_on", "rtx-4090")
    assert named and found["fits"] and found["total_bytes"] < int(named[1]) * 1e9
    (without,) = estimate(tmp_path / "run", *options[:4], "--estimate_on", "rtx-4090")
    assert without["total_bytes"] < found["total_bytes"]


def test_what_does_not_fit_comes_with_what_to_change(
    big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--task", "exo_assist", "--base", str(big), "--quantization", "none", "--batch_size", "16")
    (found,) = estimate(tmp_path / "run", *options, "--estimate_on", "rtx-3090")
    assert not found["fits"]
    assert "fits with" in capsys.readouterr().out.splitlines()[-2]


@pytest.mark.slow
def test_rows_are_counted_where_there_are_data(exo_data: Path, tmp_path: Path) -> None:
    base = "offline:qwen2_vl?untrained"
    rows = _rows(SftConfig(task="exo_assist", data=exo_data, base=base))
    assert (rows.count, rows.images, rows.size) == (16, 1, (56, 56)) and "(counted)" in rows.note
    options = ("--task", "exo_assist", "--base", base, "--data", str(exo_data), "--batch_size", "4", "--epochs", "2")
    (found,) = estimate(tmp_path / "run", *options)
    assert found["steps"] == 8 and found["tokens_per_row"] == rows.text_tokens + 4
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_a_tokenizer_lengths_are_guessed_and_said_to_be(big: Path, exo_data: Path) -> None:
    rows = _rows(SftConfig(task="exo_assist", data=exo_data, base=str(big)))
    assert "guessed" in rows.note and 60 < rows.text_tokens < 200


@pytest.mark.slow
def test_each_stage_that_differs_is_told(exo_data: Path, tmp_path: Path) -> None:
    stages = "[{name: a, steps: 3}, {name: b, steps: 3, batch_size: 2}]"
    base = ("--task", "exo_assist", "--base", "offline:qwen2_vl?untrained", "--data", str(exo_data))
    first, second = estimate(tmp_path / "run", *base, "--stages", stages)
    assert second["step_flops"] < first["step_flops"]


def test_an_unknown_device_is_named(big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--task", "exo_assist", "--base", str(big), "--estimate", "--estimate_on", "abacus"]
    assert main(["train", "sft", *options, "--out", str(tmp_path / "run")]) == 2
    assert "unknown device 'abacus'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch_size", "0"), "--batch_size is 0"),
        (("--task", "chess"), "chess"),
        (("--data", "rows.json"), "add --task"),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_is_estimated(
    options: tuple[str, ...], said: str, big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "sft", "--base", str(big), "--estimate", "--out", str(tmp_path / "run"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run.estimate.json").exists()


def test_without_a_task_it_is_named_after_its_base(big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "sft", "--base", str(big), "--estimate", "--estimate_on", "a100-40gb"]) == 0
    assert (tmp_path / "runs" / "big.estimate.json").is_file()
