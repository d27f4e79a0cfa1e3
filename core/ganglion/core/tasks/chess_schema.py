"""What a chess_board answer looks like, and what it says: a board in two frames, and how two answers compare.

    {"metadata": {"view": "white", "coordinates": true}, "pieces": {"a8": "r", "b8": "n", ...}}

view: whose side is at the bottom of the picture. coordinates: whether files and ranks are printed. pieces: the occupied
squares, with the letters of FEN. The metadata comes first, since the names of the squares depend on it.

Squares have a name, and a place in the picture. In the frame of names, a board whose side was mistaken is all wrong; as
shown (pieces put back into the picture by the answer's own view), it is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ganglion.core.chess_fen import PIECES, SQUARES, in_order, turned
from ganglion.core.tasks.answers import write_answer

VIEWS = ("white", "black")
_SQUARE = {"type": "string", "enum": list(PIECES)}

# The grammar of constrained decoding lets optional properties come in the schema's order only, each at most once.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "metadata": {
            "type": "object",
            "properties": {"view": {"type": "string", "enum": list(VIEWS)}, "coordinates": {"type": "boolean"}},
            "required": ["view", "coordinates"],
            "additionalProperties": False,
        },
        "pieces": {
            "type": "object",
            "properties": dict.fromkeys(SQUARES, _SQUARE),
            "additionalProperties": False,
        },
    },
    "required": ["metadata", "pieces"],
    "additionalProperties": False,
}

PROMPT = (
    "Which piece stands on which square of this chess board? Answer in JSON: metadata with view (white or black: whose "
    "side is at the bottom) and coordinates (true if files and ranks are printed), then pieces by square, a8 to h1, "
    "with the letters of FEN."
)


def board_answer(pieces: Mapping[str, str], view: str, coordinates: bool) -> str:
    """The answer as a model must write it; pieces go by the names of their squares."""
    return write_answer({"metadata": {"view": view, "coordinates": coordinates}, "pieces": in_order(pieces)})


def board_row(
    name: str, image: str, pieces: Mapping[str, str], view: str, coordinates: bool, source: str | None = None
) -> dict[str, Any]:
    """A row of a data file: its id, the image's path from that file, and the question with its answer."""
    said = [("user", f"<image>\n{PROMPT}"), ("assistant", board_answer(pieces, view, coordinates))]
    row = {"id": name, "image": image, "conversations": [{"from": who, "value": value} for who, value in said]}
    return row if source is None else {**row, "source": source}


def as_shown(answer: Mapping[str, Any]) -> dict[str, str]:
    """The pieces by place in the picture, where a8 means the upper left square."""
    pieces: Mapping[str, str] = answer["pieces"]
    return dict(pieces) if answer["metadata"]["view"] == VIEWS[0] else turned(pieces)


def schema_fault(value: Any) -> tuple[str, str] | None:
    """The first thing in a parsed answer that the schema does not allow, and the remedy; None where it is valid."""
    if not isinstance(value, dict):
        return f"is {json.dumps(value):.40}, no object", "give metadata and pieces"
    if fault := _keys_fault(value, SCHEMA, ""):
        return fault
    for key in SCHEMA["required"]:
        if not isinstance(value[key], dict):
            return f"{key} is {json.dumps(value[key]):.40}", "give an object"
    metadata, pieces = value["metadata"], value["pieces"]
    if fault := _keys_fault(metadata, SCHEMA["properties"]["metadata"], "metadata."):
        return fault
    if metadata["view"] not in VIEWS:
        return f"metadata.view is {json.dumps(metadata['view']):.40}", f"use one of {list(VIEWS)}"
    if not isinstance(metadata["coordinates"], bool):
        return f"metadata.coordinates is {json.dumps(metadata['coordinates']):.40}", "give true or false"
    for square, piece in pieces.items():
        if square not in SQUARES:
            return f"pieces has square {square!r:.40}", "name squares a1 to h8"
        if not (isinstance(piece, str) and piece and piece in _SQUARE["enum"]):
            return f"pieces.{square} is {json.dumps(piece):.40}", f"use a letter of {PIECES}"
    return None


def _keys_fault(value: Mapping[str, Any], schema: Mapping[str, Any], prefix: str) -> tuple[str, str] | None:
    for key in schema["required"]:
        if key not in value:
            return f"{prefix}{key} is missing", "add it"
    for key in value:
        if key not in schema["properties"]:
            return f"{prefix}{key:.40} is unknown", f"use {schema['required']}"
    return None
