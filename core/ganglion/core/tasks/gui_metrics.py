"""How answers of gui_step are judged: words, place, single steps, whole tasks.

Texts are equal where they are after case folding, with white space made single. An invalid answer is wrong in all.

n                     steps
json_valid_rate       answers that are JSON and what the schema asks for
action_accuracy       right action
argument_accuracy     right text, and right target where one is expected
remember_accuracy     of steps that have something to remember: the right fact
point_rate            of steps that act somewhere: answers that give a point
grounding_hit         of steps with a box: the answered pixel is in it, at the original resolution
point_distance_px_*   median and mean over the points given: pixels to the box's center or the expected point
step_success          right action, text and place. The place is right where the point hits the box; where it is given
                      at all, if no box is known; and where it is null, if the step acts nowhere
task_success          of tasks: all their steps are successes

What a wrong fact or target leads to shows in later steps, where memory is propagated. Figures without any step to take
them on are absent. `action.NAME.*` are those of _BY_ACTION for the steps whose expected action is NAME.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from ganglion.core.tasks.answers import read_answer
from ganglion.core.tasks.gui_grounding import Screen
from ganglion.core.tasks.gui_schema import ACTIONS, SCHEMA
from ganglion.core.tasks.task import Example

_BY_ACTION = (
    "n",
    "action_accuracy",
    "grounding_hit",
    "point_distance_px_median",
    "point_distance_px_mean",
    "step_success",
)


@dataclass(frozen=True)
class Judged:
    """One step; None where there is nothing to judge.

    name      the expected action
    task      the task it belongs to
    valid, action, arguments, remember, point, hit, success  as the metrics of like names
    distance  pixels
    """

    name: str
    task: Any
    valid: bool
    action: bool
    arguments: bool
    remember: bool | None
    point: bool | None
    hit: bool | None
    distance: float | None
    success: bool


def metrics(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    """Figures over all steps, then by expected action; see the module."""
    judged = [judge(example, answer) for example, answer in zip(examples, answers, strict=True)]
    figures = _figures(judged) | _share("task_success", _tasks(judged))
    for name in ACTIONS:
        if own := [one for one in judged if one.name == name]:
            found = _figures(own)
            figures |= {f"action.{name}.{figure}": found[figure] for figure in _BY_ACTION if figure in found}
    return figures


def judge(example: Example, answer: str) -> Judged:
    """One answer held against what the step expects."""
    screen: Screen = example.context
    want = read_answer(example.answer, SCHEMA) or {}
    got = read_answer(answer, SCHEMA)
    said: Mapping[str, Any] = got or {key: None for key in want}
    action = said["action"] == want["action"]
    text = _same(said["text"], want["text"])
    hit, grounded = screen.hit(said["point"]), screen.point is not None
    placed = hit if hit is not None else (said["point"] is not None) == grounded
    return Judged(
        name=want["action"],
        task=example.row["task_id"],
        valid=got is not None,
        action=action,
        arguments=text and (not want["target"] or _same(said["target"], want["target"])),
        remember=_same(said["remember"], want["remember"]) if want["remember"] else None,
        point=said["point"] is not None if grounded else None,
        hit=hit,
        distance=screen.distance(said["point"]),
        success=got is not None and action and text and placed,
    )


def _same(said: str | None, wanted: str) -> bool:
    return said is not None and _folded(said) == _folded(wanted)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _figures(judged: Sequence[Judged]) -> dict[str, float]:
    figures = {"n": float(len(judged))}
    figures |= _share("json_valid_rate", (one.valid for one in judged))
    figures |= _share("action_accuracy", (one.action for one in judged))
    figures |= _share("argument_accuracy", (one.arguments for one in judged))
    figures |= _share("remember_accuracy", (one.remember for one in judged))
    figures |= _share("point_rate", (one.point for one in judged))
    figures |= _share("grounding_hit", (one.hit for one in judged))
    if distances := [one.distance for one in judged if one.distance is not None]:
        figures |= {"point_distance_px_median": median(distances), "point_distance_px_mean": fmean(distances)}
    return figures | _share("step_success", (one.success for one in judged))


def _share(name: str, found: Iterable[bool | None]) -> dict[str, float]:
    known = [one for one in found if one is not None]
    return {name: sum(known) / len(known)} if known else {}


def _tasks(judged: Sequence[Judged]) -> list[bool]:
    tasks: dict[Any, bool] = {}
    for one in judged:
        tasks[one.task] = tasks.get(one.task, True) and one.success
    return list(tasks.values())
