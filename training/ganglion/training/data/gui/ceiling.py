"""What an episode asks of the memory: which steps need it, and how well a player without one can do at best.

A player without memory sees the goal and the screen. Steps of an episode whose screens are the same are one and the
same to it; it gives them all one answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from ganglion.training.data.gui.pages import Episode, Step

Answer = tuple[str, str, str, str]


def needs_memory(episode: Episode) -> list[bool]:
    """Whether goal and screen leave the right answer open, step by step."""
    alike = [list(_alike(episode, step)) for step in episode.steps]
    return [
        len({answer(other) for other in others}) > 1 or step.given < 1
        for step, others in zip(episode.steps, alike, strict=True)
    ]


def memoryless_chances(episode: Episode) -> list[float]:
    """Step by step, the chance that an ideal player without memory is right.

    Of the answers that the steps with one screen have it gives the one that is right most often.
    """
    return [_best(list(_alike(episode, step))) for step in episode.steps]


def answer(step: Step) -> Answer:
    """What is compared."""
    return step.action, step.target, step.text, step.remember


def _alike(episode: Episode, step: Step) -> Iterator[Step]:
    page = episode.pages[step.page]
    return (other for other in episode.steps if episode.pages[other.page] == page)


def _best(alike: list[Step]) -> float:
    right: dict[Answer, float] = {}
    for step in alike:
        right[answer(step)] = right.get(answer(step), 0) + step.given
    return max(right.values()) / len(alike)
