"""exo_assist: how much an exoskeleton should help, from an image of the terrain ahead and what the wearer says.

A row is one question, or a dialogue: `{image_path, previous_assistance, turns: [{user_feedback, expected_output,
image_path?}, ...]}`, in which each turn starts from what the turns before it left. The rules are in `exo_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganglion.core.tasks.answers import read_answer, write_answer
from ganglion.core.tasks.dialogues import dialogues_in
from ganglion.core.tasks.exo_rules import (
    ASSISTANCE_LIMITS,
    FEEDBACK,
    INITIAL_ASSISTANCE,
    SCHEMA,
    TERRAINS,
    Feedback,
    Terrain,
    expected_answer,
    feedback_kind,
    prompt,
)
from ganglion.core.tasks.registry import register_task
from ganglion.core.tasks.task import Example, RowError, Task, Turn, is_number

__all__ = [
    "ASSISTANCE_LIMITS",
    "EXO_ASSIST",
    "FEEDBACK",
    "INITIAL_ASSISTANCE",
    "SCHEMA",
    "TERRAINS",
    "Feedback",
    "Terrain",
    "expected_answer",
    "feedback_kind",
    "metrics",
    "prompt",
    "read_row",
]

_ROW_KEYS = ("image_path", "user_feedback", "previous_assistance", "expected_output")
_DIALOGUE_KEYS = ("image_path", "previous_assistance", "turns")
_TURN_KEYS = ("user_feedback", "expected_output")


def read_row(row: Mapping[str, Any], folder: Path) -> Example:
    """Turn `{image_path, user_feedback, previous_assistance, expected_output}`, or a dialogue, into an Example.

    A dialogue's Example is its last turn, with the others as its history.

    Raises:
        RowError: a key is missing or unknown, or a value is not what the task allows; also where the assistance that
            a dialogue's answers add up to leaves the limits.
    """
    if "turns" in row:
        return _read_dialogue(row, folder)
    _check_keys(row, _ROW_KEYS, "")
    image = _read_image(row["image_path"], "image_path", folder)
    said = _read_feedback(row["user_feedback"], "user_feedback")
    previous = _read_previous(row["previous_assistance"])
    return Example((image,), prompt(said, previous), _read_expected(row["expected_output"]), row)


def _read_dialogue(row: Mapping[str, Any], folder: Path) -> Example:
    _check_keys(row, _DIALOGUE_KEYS, "")
    first_image = _read_image(row["image_path"], "image_path", folder)
    level = _read_previous(row["previous_assistance"])
    if not (isinstance(row["turns"], list) and row["turns"]):
        raise RowError("turns", f"is {row['turns']!r:.40}", "give a list of at least one turn")
    turns: list[Turn] = []
    for index, turn in enumerate(row["turns"]):
        column = f"turns[{index}]"
        if not isinstance(turn, Mapping):
            raise RowError(column, f"is {turn!r:.40}", "give an object")
        _check_keys(turn, _TURN_KEYS, f"{column}.", optional=("image_path",))
        if "image_path" not in turn:
            images: tuple[Path, ...] = () if turns else (first_image,)
        elif turns:
            images = (_read_image(turn["image_path"], f"{column}.image_path", folder),)
        else:
            raise RowError(f"{column}.image_path", "is a second image for the first turn", "leave it out")
        said = _read_feedback(turn["user_feedback"], f"{column}.user_feedback")
        answer = _read_expected(turn["expected_output"], f"{column}.")
        turns.append(Turn(images, prompt(said, level), answer))
        level = _after(level, turn["expected_output"]["assistance_delta"], column)
    *history, last = turns
    return Example(last.images, last.prompt, last.answer, row, tuple(history))


def _after(level: float, delta: float, column: str) -> float:
    low, high = ASSISTANCE_LIMITS
    if not low <= level + delta <= high:
        raise RowError(
            f"{column}.expected_output.assistance_delta",
            f"is {delta!r}, which takes the assistance from {level:g} to {level + delta:g}",
            f"stay within {low} to {high} (percent)",
        )
    return level + delta


def _read_image(value: Any, column: str, folder: Path) -> Path:
    if not (isinstance(value, str) and value):
        raise RowError(column, f"is {value!r}", "give a file path")
    return folder / value


def _read_feedback(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise RowError(column, f"is {value!r}", 'give a string, "" for none')
    return value


def _read_previous(value: Any) -> float:
    low, high = ASSISTANCE_LIMITS
    if not is_number(value) or not low <= value <= high:
        raise RowError("previous_assistance", f"is {value!r}", f"give a number from {low} to {high} (percent)")
    number: float = value
    return number


def _read_expected(expected: Any, prefix: str = "") -> str:
    prefix += "expected_output"
    if not isinstance(expected, Mapping):
        raise RowError(prefix, f"is {expected!r}", "give an object")
    _check_keys(expected, SCHEMA["required"], f"{prefix}.")
    for key, rule in SCHEMA["properties"].items():
        column, value = f"{prefix}.{key}", expected[key]
        if "enum" in rule and (value not in rule["enum"] or isinstance(value, bool)):
            raise RowError(column, f"is {value!r}", f"use one of {rule['enum']}")
        if rule["type"] == "integer" and not (is_number(value) and value == int(value)):
            raise RowError(column, f"is {value!r}", "give a whole number (percent points)")
        if "minimum" in rule and not rule["minimum"] <= value <= rule["maximum"]:
            raise RowError(column, f"is {value!r}", f"give {rule['minimum']} to {rule['maximum']} (percent points)")
        if "maxLength" in rule and not (isinstance(value, str) and 0 < len(value) <= rule["maxLength"]):
            raise RowError(column, f"is {value!r:.40}", f"give a sentence of at most {rule['maxLength']} characters")
    whole = {k: int(v) if SCHEMA["properties"][k]["type"] == "integer" else v for k, v in expected.items()}
    return write_answer({key: whole[key] for key in SCHEMA["required"]})


def _check_keys(row: Mapping[str, Any], keys: Sequence[str], prefix: str, optional: Sequence[str] = ()) -> None:
    for key in row:
        if key not in keys and key not in optional:
            raise RowError(prefix + str(key), "is unknown", f"use {[*keys, *optional]}")
    for key in keys:
        if key not in row:
            raise RowError(prefix + key, "is missing", "add it")


def metrics(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    """Shares of all examples, except delta_mae: mean absolute error in percent points over the valid answers.

    dialogue_exact_match is the share of dialogues all of whose answers are exactly right; it is there only where the
    examples are dialogues, unrolled.
    """
    pairs = [
        (read_answer(e.answer, SCHEMA) or {}, read_answer(a, SCHEMA)) for e, a in zip(examples, answers, strict=True)
    ]
    valid = [(want, got) for want, got in pairs if got is not None]
    n = max(len(pairs), 1)

    def share(key: str) -> float:
        return sum(bool(want[key] == got[key]) for want, got in valid) / n

    def sign(value: int) -> int:
        return (value > 0) - (value < 0)

    errors = [abs(want["assistance_delta"] - got["assistance_delta"]) for want, got in valid]
    found = {
        "n": float(len(pairs)),
        "json_valid_rate": len(valid) / n,
        "terrain_accuracy": share("task"),
        "difficulty_accuracy": share("terrain_difficulty"),
        "initial_assistance_accuracy": share("initial_assistance"),
        "delta_sign_accuracy": sum(sign(w["assistance_delta"]) == sign(g["assistance_delta"]) for w, g in valid) / n,
        "delta_mae": sum(errors) / len(errors) if errors else float(ASSISTANCE_LIMITS[1]),
        "exact_match": sum(want == got for want, got in valid) / n,
    }
    if dialogues := dialogues_in(examples):
        right = [all(pairs[k][0] == pairs[k][1] for k in dialogue) for dialogue in dialogues]
        found["dialogue_exact_match"] = sum(right) / len(right)
    return found


EXO_ASSIST = register_task(
    Task(
        name="exo_assist",
        summary="exoskeleton assistance from a terrain image and spoken feedback",
        schema=SCHEMA,
        max_new_tokens=160,
        headline="exact_match",
        read_row=read_row,
        metrics=metrics,
    )
)
