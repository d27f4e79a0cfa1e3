"""Which layers of a model are held in fewer bits, which are left as they are, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_VISION, _HEAD, _DECODER = r".*visual\..*", r".*lm_head$", r".*layers\.\d+\."


@dataclass(frozen=True)
class LayerPlan:
    """Names are those of the modules in transformers.

    chosen    Linear layers to be held in fewer bits
    left      those left as they are, each with the reason
    patterns  what a checkpoint's `ignore` says of `left`: regular expressions, as transformers and vLLM call one
              module by two names
    """

    chosen: tuple[str, ...]
    left: Mapping[str, str]
    patterns: tuple[str, ...]


def plan_layers(model: Any, group: int | None = None) -> LayerPlan:
    """Every Linear of the decoder, but those whose inputs can't be cut into whole groups.

    Args:
        model: may be a skeleton.
        group: how many weights in a row share a scale; None where a whole row does.
    """
    from torch import nn

    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    reasons = {name: _reason(name, module.in_features, group) for name, module in linear.items()}
    chosen = tuple(name for name, (why, _) in reasons.items() if not why)
    left = {name: why for name, (why, _) in reasons.items() if why}
    patterns = tuple(dict.fromkeys(pattern for why, pattern in reasons.values() if why))
    for name in linear:
        ignored = any(re.match(pattern.removeprefix("re:"), name) for pattern in patterns)
        assert ignored == (name in left), f"{patterns} say otherwise of {name}"
    return LayerPlan(chosen, left, patterns)


def _reason(name: str, width: int, group: int | None) -> tuple[str, str]:
    """Why a layer is left as it is, "" if it is not, and the pattern that says so."""
    if re.match(_VISION, name):
        return "part of the vision tower", f"re:{_VISION}"
    if re.match(_HEAD, name):
        return "the output head", f"re:{_HEAD}"
    if not re.match(_DECODER, name):
        return "no part of the decoder", f"re:.*{re.escape(name)}$"
    if group and width % group:
        kind = re.sub(_DECODER, "", name)
        return f"its {width} inputs are no multiple of {group}", f"re:{_DECODER}{re.escape(kind)}$"
    return "", ""
