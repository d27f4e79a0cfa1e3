"""The answer of gui_step: which steps there are, and what is said of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganglion.core.gui_memory import FACT_CHARACTERS, TARGET_CHARACTERS, TEXT_CHARACTERS

POINTING = ("click", "double_click", "right_click", "move", "drag", "mouse_down", "mouse_up")
"""Steps that need a point; a drag's is where it ends, and begins where the pointer was moved to before."""
WORDED = ("scroll", "press", "type", "plan")
"""Steps that need a text."""
ACTIONS = (*POINTING, "scroll", "press", "type", "wait", "plan", "evaluate", "done")
PARTS = 1000
"""A point's coordinates run from 0 to this, over the screen's width and height."""

_COORDINATE = {"type": "integer", "minimum": 0, "maximum": PARTS}
_POINT = {"type": "array", "items": _COORDINATE, "minItems": 2, "maxItems": 2}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": list(ACTIONS)},
        "target": {"type": "string", "maxLength": TARGET_CHARACTERS},
        "point": {"anyOf": [_POINT, {"type": "null"}]},
        "text": {"type": "string", "maxLength": TEXT_CHARACTERS},
        "remember": {"type": "string", "maxLength": FACT_CHARACTERS},
    },
    "required": ["action", "target", "point", "text", "remember"],
    "additionalProperties": False,
}
