"""Every recipe is one that its command takes as it stands."""

from pathlib import Path

import pytest
import yaml

from ganglion.core.cli import COMMANDS, _parse
from ganglion.training.sft.config import checked, singles

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


def command_of(recipe: Path) -> str:
    """What the recipe's first comment shows it with."""
    text = recipe.read_text()
    names = [name for name in ("train sft", "train policy", "export") if f"ganglion {name} --config" in text]
    return min(names, key=lambda name: text.index(f"ganglion {name} --config"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_its_keys_are_known_and_its_values_in_range(recipe: Path) -> None:
    name = command_of(recipe)
    config = _parse(name, COMMANDS[name], ["--config", str(recipe)])
    if name == "train sft":
        given = (
            config
            if singles(config)[0].data
            else _parse(name, COMMANDS[name], ["--config", str(recipe), "--data", "x"])
        )
        checked(given)


def test_there_are_recipes_of_real_size_for_every_task() -> None:
    made = [yaml.safe_load(recipe.read_text()) for recipe in RECIPES]
    for task, names in {
        "exo_assist": ("Qwen2-VL-2B", "Qwen2.5-VL-3B", "Qwen3-VL-8B"),
        "gui_step": ("Qwen2-VL-2B", "Qwen2.5-VL-3B"),
        "chess_board": ("Qwen2-VL-2B", "Qwen2.5-VL-7B"),
        "robot_code": ("CodeLlama-7b-Python", "Qwen2.5-Coder"),
    }.items():
        bases = [recipe["base"] for recipe in made if recipe.get("task") == task]
        for name in names:
            assert any(name in base for base in bases), (task, name)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_it_shows_a_command_with_its_own_path(recipe: Path) -> None:
    assert f"--config recipes/{recipe.name}" in recipe.read_text()
