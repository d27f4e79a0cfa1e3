"""Fields that every server's requests have: JSON, lengths, stop texts, and what greedy decoding leaves open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ganglion.serving.vlm_request.wrong import WrongField

# How tokens are drawn: fields that are accepted with these values only, and fields that change nothing where the
# likeliest token is always taken.
GREEDY: Mapping[str, Sequence[Any]] = {"temperature": (0,)}
CHANGES_NOTHING = frozenset({"seed", "top_p"})
SHOWN = 60  # characters of what a client wrote that an error repeats
_STOPS, _STOP_LENGTH = 4, 256


def read_json(data: bytes, param: str | None = None) -> Any:
    """JSON in UTF-8, strictly.

    Args:
        data: from a client.
        param: the field that it is; None for the whole body.

    Raises:
        WrongField: it is no text, no JSON, nested too deep, or names something twice in an object.
    """
    subject = "" if param else "the body "

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Which of two counts is another choice in every reader.
        found = dict(pairs)
        if len(found) < len(pairs):
            raise WrongField(f"{subject}names something twice in an object", param)
        return found

    try:
        read = json.loads(data.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=once)
        json.dumps(read, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except UnicodeError:
        raise WrongField(f"{subject}is not UTF-8", param) from None
    except (ValueError, RecursionError):
        raise WrongField(f"{subject}is no JSON, or nested too deep", param) from None
    return read


def read_text(data: bytes, param: str) -> str:
    """Text in UTF-8.

    Raises:
        WrongField: it is none.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise WrongField("is not UTF-8", param) from None


def check_only(name: str, value: Any, served: Sequence[Any]) -> None:
    """See that a field has one of the values that are served.

    Raises:
        WrongField: it has not.
    """
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in served):
        raise WrongField(
            f"is not served with this value: decoding is greedy, leave it out or give {json.dumps(served[0])}", name
        )


def check_length(name: str, length: int) -> int:
    """The most tokens of an answer.

    Raises:
        WrongField: there are none.
    """
    if length < 1:
        raise WrongField("is less than 1", name)
    return length


def check_stops(stops: Any) -> tuple[str, ...]:
    """Texts that end an answer.

    Raises:
        WrongField: they are no texts, too many, or too long.
    """
    if not isinstance(stops, list) or len(stops) > _STOPS or not all(isinstance(one, str) and one for one in stops):
        raise WrongField(f"is no text, and no list of at most {_STOPS} texts", "stop")
    if any(len(one) > _STOP_LENGTH for one in stops):
        raise WrongField(f"has more than {_STOP_LENGTH} characters", "stop")
    return tuple(stops)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
