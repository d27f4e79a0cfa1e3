"""Matching calls against all accepted values, as BFCL does."""

from typing import Any

import pytest

from ganglion.core.robot_api import robot_api_from_dict
from ganglion.core.robot_check import check_program
from ganglion.core.robot_match import check_accepted, matches

API = robot_api_from_dict(
    {
        "functions": [
            {
                "name": "music.play",
                "arguments": [
                    {"name": "artist", "kind": "str"},
                    {"name": "minutes", "kind": "float", "optional": True},
                    {"name": "loud", "kind": "bool", "optional": True},
                    {"name": "tags", "kind": "list", "optional": True},
                    {"name": "where", "kind": "dict", "optional": True},
                ],
            }
        ]
    },
    "here",
)


def call(**arguments: list[Any]) -> dict[str, Any]:
    return {"music.play": arguments}


def match(text: str, *accepted: dict[str, Any]) -> bool:
    assert check_accepted(list(accepted), API) is None
    return matches(check_program(text, API).calls, list(accepted))


@pytest.mark.parametrize(
    ("text", "accepted", "right"),
    [
        ("music.play('ABBA')", call(artist=["ABBA"]), True),
        ("music.play(artist='abba')", call(artist=["ABBA"]), True),
        ("music.play('Maroon-5')", call(artist=["maroon 5"]), True),
        ("music.play('Maroon 6')", call(artist=["maroon 5"]), False),
        ("music.play('B')", call(artist=["A", "B"]), True),
        ("music.play('A', 5)", call(artist=["A"], minutes=[5.0]), True),
        ("music.play('A', 5.0)", call(artist=["A"], minutes=[5]), True),
        ("music.play('A', 6)", call(artist=["A"], minutes=[5]), False),
        ("music.play('A')", call(artist=["A"], minutes=[5]), False),
        ("music.play('A')", call(artist=["A"], minutes=[5, ""]), True),
        ("music.play('A', loud=True)", call(artist=["A"]), False),
        ("music.play('A', 1)", call(artist=["A"], minutes=[True]), False),
        ("music.play('A', loud=True)", call(artist=["A"], loud=[True]), True),
        ("music.play('A', loud=False)", call(artist=["A"], loud=[True]), False),
        ("music.play('A', tags=['X y', 1])", call(artist=["A"], tags=[["xy", 1]]), True),
        ("music.play('A', tags=[1, 'x'])", call(artist=["A"], tags=[["x", 1]]), False),
        ("music.play('A', tags=['x'])", call(artist=["A"], tags=[["x", "x"]]), False),
        ("music.play('A', where={'room': 'Hall'})", call(artist=["A"], where=[{"room": ["hall", "lobby"]}]), True),
        ("music.play('A', where={'room': 'bar'})", call(artist=["A"], where=[{"room": ["hall", "lobby"]}]), False),
        ("music.play('A', where={})", call(artist=["A"], where=[{"room": ["hall", ""]}]), True),
        ("music.play('A', where={'x': 1})", call(artist=["A"], where=[{"room": ["hall", ""]}]), False),
        ("music.play('A', 5, 5)", call(artist=["A"], minutes=[5], loud=[5]), False),
        ("music.play(5)", call(artist=[5]), False),
        ("music.stop()", call(artist=["A"]), False),
        ("music.play('A')\nmusic.play('A')", call(artist=["A"]), False),
        ("for _ in range(2): music.play('A')", call(artist=["A"]), False),
        ("nonsense", call(artist=["A"]), False),
    ],
)
def test_one_call(text: str, accepted: dict[str, Any], right: bool) -> None:
    assert match(text, accepted) is right


def test_parallel_calls_match_in_any_order_each_once() -> None:
    wanted = call(artist=["A", "B"]), call(artist=["A"])
    assert match("music.play('A')\nmusic.play('B')", *wanted)  # the first call must leave "A" to the other
    assert match("music.play('B')\nmusic.play('A')", *wanted)
    assert not match("music.play('B')\nmusic.play('B')", *wanted)
    assert not match("music.play('A')", *wanted)
    assert not match("music.play('A')\nmusic.play('B')\nmusic.play('B')", *wanted)


@pytest.mark.parametrize(
    ("accepted", "fault"),
    [
        ("x", "no list"),
        ([], "no list"),
        ([5], "not one function"),
        ([{"a": {}, "b": {}}], "not one function"),
        ([{"stop": {}}], "'stop', which is not declared"),
        ([{"music.play": {"artist": "A"}}], "no list of values"),
        ([{"music.play": {"artist": []}}], "no list of values"),
        ([{"music.play": {"title": ["A"]}}], "no argument 'title'"),
    ],
)
def test_a_bad_accepted_column_is_named(accepted: Any, fault: str) -> None:
    assert fault in str(check_accepted(accepted, API))
