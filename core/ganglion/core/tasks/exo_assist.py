"""exo_assist: how much an exoskeleton should help, from an image of the terrain ahead and what the wearer says.

`TERRAINS`, `INITIAL_ASSISTANCE`, `FEEDBACK` and `ASSISTANCE_LIMITS` are the one rule table: data generation, tests and
evaluation all ask `expected_answer`. Assistance is in percent of the wearer's own effort.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.tasks.answers import read_answer, write_answer
from ganglion.core.tasks.registry import register_task
from ganglion.core.tasks.task import Example, RowError, Task


@dataclass(frozen=True)
class Terrain:
    """A kind of ground: how hard it is, and the words for it in an answer's reasoning."""

    difficulty: str
    reason: str


@dataclass(frozen=True)
class Feedback:
    """A kind of spoken feedback.

    delta        change of assistance in percent points: positive for more help
    steep_delta  the same on steep terrain
    """

    delta: int
    steep_delta: int
    reason: str
    phrases: tuple[str, ...]


TERRAINS: Mapping[str, Terrain] = {
    "flat": Terrain("gentle", "level ground ahead"),
    "stairs_up": Terrain("steep", "steps going up ahead"),
    "stairs_down": Terrain("moderate", "steps going down ahead"),
    "uphill_moderate": Terrain("moderate", "moderate slope ahead"),
    "uphill_steep": Terrain("steep", "steep slope ahead"),
}
INITIAL_ASSISTANCE: Mapping[str, int] = {"gentle": 3, "moderate": 6, "steep": 9}
ASSISTANCE_LIMITS = (0, 20)
FEEDBACK: Mapping[str, Feedback] = {
    "more": Feedback(
        2,
        2,
        "user asks for more help",
        ("need more help", "more assistance please", "help me more", "I need more support", "give me more power"),
    ),
    "less": Feedback(
        -2,
        -2,
        "user asks for less help",
        ("less assistance please", "need less help", "help me less", "I need less support", "reduce the power"),
    ),
    "pain": Feedback(3, 5, "user is in pain", ("ow", "ouch", "ow that hurts", "ouch my knee", "my leg hurts")),
    "vague_more": Feedback(1, 1, "user seems to struggle", ("hmm", "hmm not sure", "this is hard", "getting tired")),
    "vague_less": Feedback(-1, -1, "user seems pushed", ("too much", "a bit strong", "it pushes me", "slow down")),
    "none": Feedback(0, 0, "no change asked", ("",)),
}

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "task": {"type": "string", "enum": list(TERRAINS)},
        "terrain_difficulty": {"type": "string", "enum": list(INITIAL_ASSISTANCE)},
        "initial_assistance": {"type": "integer", "enum": list(INITIAL_ASSISTANCE.values())},
        "assistance_delta": {"type": "integer", "minimum": -ASSISTANCE_LIMITS[1], "maximum": ASSISTANCE_LIMITS[1]},
        "reasoning": {"type": "string", "maxLength": 120},
    },
    "required": ["task", "terrain_difficulty", "initial_assistance", "assistance_delta", "reasoning"],
    "additionalProperties": False,
}
_ROW_KEYS = ("image_path", "user_feedback", "previous_assistance", "expected_output")


def feedback_kind(text: str) -> str | None:
    """Which entry of FEEDBACK a known phrase belongs to, ignoring case and outer space and marks; None if unknown."""
    bare = text.strip().strip(".!?").lower()
    for kind, feedback in FEEDBACK.items():
        if bare in (phrase.lower() for phrase in feedback.phrases):
            return kind
    return None


def expected_answer(terrain: str, kind: str, previous: float) -> dict[str, Any]:
    """The answer the rules ask for.

    Args:
        terrain: a key of TERRAINS.
        kind: a key of FEEDBACK.
        previous: assistance so far, in percent; the change is cut so that the sum stays within ASSISTANCE_LIMITS.
    """
    ground, feedback = TERRAINS[terrain], FEEDBACK[kind]
    asked = feedback.steep_delta if ground.difficulty == "steep" else feedback.delta
    low, high = ASSISTANCE_LIMITS
    delta = int(min(max(previous + asked, low), high) - previous)
    reason = f"{ground.reason}; {feedback.reason}"
    return {
        "task": terrain,
        "terrain_difficulty": ground.difficulty,
        "initial_assistance": INITIAL_ASSISTANCE[ground.difficulty],
        "assistance_delta": delta,
        "reasoning": reason if delta == asked else f"{reason}; limit reached",
    }


def prompt(user_feedback: str, previous_assistance: float) -> str:
    """The user's turn for one case; the image goes before it."""
    said = f'"{user_feedback}"' if user_feedback else "none"
    return f"User feedback: {said}. Previous assistance: {previous_assistance:g}%. Assess the terrain. Reply in JSON."


def read_row(row: Mapping[str, Any], folder: Path) -> Example:
    """Turn `{image_path, user_feedback, previous_assistance, expected_output}` into an Example.

    Raises:
        RowError: a key is missing or unknown, or a value is not what the task allows.
    """
    _check_keys(row, _ROW_KEYS, "")
    image = row["image_path"]
    if not (isinstance(image, str) and image):
        raise RowError("image_path", f"is {image!r}", "give a file path")
    if not isinstance(row["user_feedback"], str):
        raise RowError("user_feedback", f"is {row['user_feedback']!r}", 'give a string, "" for none')
    low, high = ASSISTANCE_LIMITS
    previous = row["previous_assistance"]
    if not _is_number(previous) or not low <= previous <= high:
        raise RowError("previous_assistance", f"is {previous!r}", f"give a number from {low} to {high} (percent)")
    return Example(
        (folder / image,), prompt(row["user_feedback"], previous), _read_expected(row["expected_output"]), row
    )


def _read_expected(expected: Any) -> str:
    if not isinstance(expected, Mapping):
        raise RowError("expected_output", f"is {expected!r}", "give an object")
    _check_keys(expected, SCHEMA["required"], "expected_output.")
    for key, rule in SCHEMA["properties"].items():
        column, value = f"expected_output.{key}", expected[key]
        if "enum" in rule and (value not in rule["enum"] or isinstance(value, bool)):
            raise RowError(column, f"is {value!r}", f"use one of {rule['enum']}")
        if rule["type"] == "integer" and not (_is_number(value) and value == int(value)):
            raise RowError(column, f"is {value!r}", "give a whole number (percent points)")
        if "minimum" in rule and not rule["minimum"] <= value <= rule["maximum"]:
            raise RowError(column, f"is {value!r}", f"give {rule['minimum']} to {rule['maximum']} (percent points)")
        if "maxLength" in rule and not (isinstance(value, str) and 0 < len(value) <= rule["maxLength"]):
            raise RowError(column, f"is {value!r:.40}", f"give a sentence of at most {rule['maxLength']} characters")
    whole = {k: int(v) if SCHEMA["properties"][k]["type"] == "integer" else v for k, v in expected.items()}
    return write_answer({key: whole[key] for key in SCHEMA["required"]})


def _check_keys(row: Mapping[str, Any], keys: Sequence[str], prefix: str) -> None:
    for key in row:
        if key not in keys:
            raise RowError(prefix + str(key), "is unknown", f"use {list(keys)}")
    for key in keys:
        if key not in row:
            raise RowError(prefix + key, "is missing", "add it")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def metrics(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    """Shares of all examples, except delta_mae: mean absolute error in percent points over the valid answers."""
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
    return {
        "n": float(len(pairs)),
        "json_valid_rate": len(valid) / n,
        "terrain_accuracy": share("task"),
        "difficulty_accuracy": share("terrain_difficulty"),
        "initial_assistance_accuracy": share("initial_assistance"),
        "delta_sign_accuracy": sum(sign(w["assistance_delta"]) == sign(g["assistance_delta"]) for w, g in valid) / n,
        "delta_mae": sum(errors) / len(errors) if errors else float(ASSISTANCE_LIMITS[1]),
        "exact_match": sum(want == got for want, got in valid) / n,
    }


EXO_ASSIST = register_task(
    Task(
        name="exo_assist",
        summary="exoskeleton assistance from a terrain image and spoken feedback",
        schema=SCHEMA,
        max_new_tokens=160,
        read_row=read_row,
        metrics=metrics,
    )
)
