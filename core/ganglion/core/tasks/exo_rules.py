"""The rule table of exo_assist: terrains, feedback, limits, and the answer and the prompt that follow from them.

`TERRAINS`, `INITIAL_ASSISTANCE`, `FEEDBACK` and `ASSISTANCE_LIMITS` are the one place: data generation, tests and
evaluation all ask `expected_answer`. Assistance is in percent of the wearer's own effort.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
