"""What is wrong with the answer of a chess_board data file, in words, with a remedy.

A data file may spell the pieces by rank, as a model must ({"8": "r n b q k b n r", ...}, all eight), or as a mapping of
the occupied squares ({"a8": "r", ...}). One rank among the keys makes it the former.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ganglion.core.chess_fen import PIECES, SQUARES
from ganglion.core.tasks.chess_schema import EMPTY, RANKS, SCHEMA, VIEWS, by_rank

Fault = tuple[str, str]
"""What is wrong, and the remedy."""
_SPELLING = f"write it like 'r n b q k b n r', {EMPTY} for an empty square"


def answer_fault(value: Any) -> Fault | None:
    """The first thing in a parsed answer that neither spelling allows; None where it is valid."""
    if not isinstance(value, dict):
        return f"is {json.dumps(value):.40}, no object", "give metadata and pieces"
    if fault := _keys_fault(value, SCHEMA, ""):
        return fault
    for key in SCHEMA["required"]:
        if not isinstance(value[key], dict):
            return f"{key} is {json.dumps(value[key]):.40}", "give an object"
    pieces = value["pieces"]
    return _metadata_fault(value["metadata"]) or (_ranks_fault(pieces) if by_rank(pieces) else _squares_fault(pieces))


def _metadata_fault(metadata: Mapping[str, Any]) -> Fault | None:
    if fault := _keys_fault(metadata, SCHEMA["properties"]["metadata"], "metadata."):
        return fault
    if metadata["view"] not in VIEWS:
        return f"metadata.view is {json.dumps(metadata['view']):.40}", f"use one of {list(VIEWS)}"
    if not isinstance(metadata["coordinates"], bool):
        return f"metadata.coordinates is {json.dumps(metadata['coordinates']):.40}", "give true or false"
    return None


def _ranks_fault(pieces: Mapping[str, Any]) -> Fault | None:
    for key in pieces:
        if key not in RANKS:
            return f"pieces has {key!r:.40} beside ranks", "name ranks 8 to 1 and nothing else"
    for rank in RANKS:
        if rank not in pieces:
            return f"pieces has no rank {rank}", "give all ranks, 8 to 1"
    for rank, row in pieces.items():
        if not isinstance(row, str):
            return f"pieces.{rank} is {json.dumps(row):.40}", _SPELLING
        signs = row.split(" ")
        if len(signs) != 8:
            count = f"{len(signs)} sign{'s' * (len(signs) > 1)}"
            return f"pieces.{rank} is {row!r:.40}: {count} by spaces, not 8", _SPELLING
        for sign in signs:
            if not (len(sign) == 1 and sign in PIECES + EMPTY):
                return f"pieces.{rank} has {sign!r:.40}", f"use letters of {PIECES}, {EMPTY} for an empty square"
    return None


def _squares_fault(pieces: Mapping[str, Any]) -> Fault | None:
    for square, piece in pieces.items():
        if square not in SQUARES:
            return f"pieces has {square!r:.40}", "name ranks 8 to 1, or squares a1 to h8"
        if not (isinstance(piece, str) and len(piece) == 1 and piece in PIECES):
            return f"pieces.{square} is {json.dumps(piece):.40}", f"use a letter of {PIECES}; leave out empty squares"
    return None


def _keys_fault(value: Mapping[str, Any], schema: Mapping[str, Any], prefix: str) -> Fault | None:
    for key in schema["required"]:
        if key not in value:
            return f"{prefix}{key} is missing", "add it"
    for key in value:
        if key not in schema["properties"]:
            return f"{prefix}{key:.40} is unknown", f"use {schema['required']}"
    return None
