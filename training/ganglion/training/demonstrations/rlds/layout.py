"""Which features of RLDS steps are the actions, the state, the instruction, and the cameras of an episode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.core.specs import ActionSpec, CameraSpec, RobotSpec, StateSpec
from ganglion.training.demonstrations.rlds.features import STEPS, Feature

_ACTIONS, _STATE, _INSTRUCTION = "actions", "state", "instruction"
_USUAL_STATES = ("observation/state", "observation/proprio")
_USUAL_INSTRUCTIONS = ("language_instruction", "observation/natural_language_instruction")
_UNKNOWN = "unknown"  # RLDS names no units


@dataclass(frozen=True)
class Layout:
    """Features of a step by what they are, without steps/.

    actions      end to end
    state        end to end; none for a robot without
    instruction  None where there is none
    cameras      camera -> feature
    """

    actions: tuple[str, ...]
    state: tuple[str, ...]
    instruction: str | None
    cameras: Mapping[str, str]


def usual_columns(features: Mapping[str, Feature]) -> dict[str, str]:
    """What most data sets call these things: feature of a step -> what an episode calls it.

    A camera is called by the last part of its feature's name, by all of it where that would not tell two apart.
    """
    steps = {name.removeprefix(STEPS): feature for name, feature in features.items() if name.startswith(STEPS)}
    numbers = [name for name, feature in steps.items() if feature.kind == "numbers" and -1 not in feature.shape]
    images = [name for name, feature in steps.items() if feature.kind == "image"]
    short = [name.rpartition("/")[2] for name in images]
    cameras = short if len(set(short)) == len(short) else [name.replace("/", "_") for name in images]
    states = [name for name in _USUAL_STATES if name in numbers][:1]
    said = [name for name in _USUAL_INSTRUCTIONS if name in steps and steps[name].kind == "text"][:1]
    return {
        **{name: _ACTIONS for name in sorted(numbers) if name == "action" or name.startswith("action/")},
        **dict.fromkeys(states, _STATE),
        **dict.fromkeys(said, _INSTRUCTION),
        **dict(sorted(zip(images, cameras, strict=True))),
    }


def layout_of(features: Mapping[str, Feature], columns: Mapping[str, str], where: Path) -> Layout:
    """The features that `columns` names, as what it calls them.

    Raises:
        InputError: there is no such feature, one is not of the kind, or none is the actions.
    """
    for name, called in columns.items():
        feature = features.get(STEPS + name)
        if feature is None:
            known = ", ".join(sorted(name.removeprefix(STEPS) for name in features if name.startswith(STEPS)))
            raise InputError(f"has no feature {name!r} of a step", where=where, remedy=f"it has {known}")
        kind = {_ACTIONS: "numbers", _STATE: "numbers", _INSTRUCTION: "text"}.get(called, "image")
        if feature.kind != kind or (kind == "numbers" and -1 in feature.shape):
            held = f"{feature.kind} of shape {feature.shape}"
            remedy = "call numbers actions or state, text instruction, and images what their cameras are called"
            raise InputError(f"{name!r} holds {held} and can't be {called!r}", where=where, remedy=remedy)
    features_of = {called: tuple(n for n, other in columns.items() if other == called) for called in columns.values()}
    actions, state = features_of.pop(_ACTIONS, ()), features_of.pop(_STATE, ())
    instruction = features_of.pop(_INSTRUCTION, (None,))
    if not actions:
        raise InputError("has no actions", where=where, remedy='add --columns \'{"FEATURE": "actions", ...}\'')
    for called, names in {_INSTRUCTION: instruction, **features_of}.items():
        if len(names) > 1:
            raise InputError(
                f"{' and '.join(map(str, names))} are both {called!r}", where=where, remedy="leave one out"
            )
    return Layout(actions, state, instruction[0], {camera: names[0] for camera, names in features_of.items()})


def robot_of(layout: Layout, features: Mapping[str, Feature], name: str, rate_hz: float) -> RobotSpec:
    """A robot that fits; what RLDS doesn't tell is said to be unknown, and limits are not limits yet.

    Raises:
        InputError: the size of a camera is not told.
    """
    moves, knows = (dimension_names(names, features) for names in (layout.actions, layout.state))
    count = len(moves)
    return RobotSpec(
        name=name,
        cameras=tuple(
            _camera(camera, features[STEPS + feature].shape, rate_hz) for camera, feature in layout.cameras.items()
        ),
        sensors=(),
        actions=ActionSpec(moves, (_UNKNOWN,) * count, (-1.0,) * count, (1.0,) * count, (1.0,) * count, rate_hz),
        state=StateSpec(knows, (_UNKNOWN,) * len(knows), rate_hz) if knows else None,
    )


def dimension_names(names: tuple[str, ...], features: Mapping[str, Feature]) -> tuple[str, ...]:
    """A name for each number that these features of a step hold."""
    made = []
    for name in names:
        shape, own = features[STEPS + name].shape, name.rpartition("/")[2]
        made += [f"{own}_{k}" for k in range(math.prod(shape))] if shape else [own]
    return tuple(made)


def _camera(name: str, shape: tuple[int, ...], rate_hz: float) -> CameraSpec:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"has shape {shape}", where=f"camera {name}", remedy="declare its size in a file for --robot")
    return CameraSpec(name, shape[0], shape[1], rate_hz)
