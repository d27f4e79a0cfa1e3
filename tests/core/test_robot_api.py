"""A declared API is checked whole: what makes no sense is named, and nothing else is raised whatever the data."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.errors import InputError
from ganglion.core.robot_api import Argument, read_robot_api, robot_api_from_dict, signatures
from ganglion.core.tasks.robot_code import DEFAULT_API

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["name", "kind", "summary", "unit", "low", "high", "choices", "default", "optional", "returns"])
WORDS = st.sampled_from(
    ["go", "a.b", "float", "int", "str", "bool", "list", "1", 5, 0.5, True, None, ["x"], float("nan")]
)
ARGUMENT = st.dictionaries(KEYS, WORDS | PLAIN)
FUNCTION = st.fixed_dictionaries({"name": WORDS}, optional={"arguments": st.lists(ARGUMENT, max_size=3) | PLAIN})


def api(*arguments: dict[str, Any], **more: Any) -> Any:
    return robot_api_from_dict({"functions": [{"name": "go", "arguments": list(arguments), **more}]}, "api.yaml")


@given(st.lists(FUNCTION | PLAIN, max_size=3) | PLAIN)
def test_any_data_is_an_api_or_an_input_error(functions: Any) -> None:
    try:
        signatures(robot_api_from_dict({"functions": functions}, "api.yaml"))
    except InputError as error:
        assert str(error).startswith("api.yaml") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"name": "x"}, "kind is missing"),
        ({"kind": "int"}, "name is missing"),
        ({"name": "x y", "kind": "int"}, "'x y'"),
        ({"name": "if", "kind": "int"}, "'if'"),
        ({"name": "x", "kind": "double"}, "'double'"),
        ({"name": "x", "kind": "float", "low": 5, "high": 1}, "from 5 to 1"),
        ({"name": "x", "kind": "float", "low": "5e-1"}, "low '5e-1'"),
        ({"name": "x", "kind": "float", "high": 10**400}, "high 1000"),
        ({"name": "x", "kind": "str", "low": 5}, "low but is str"),
        ({"name": "x", "kind": "int", "choices": ["a"]}, "choices but is int"),
        ({"name": "x", "kind": "str", "choices": "ab"}, "choices 'ab'"),
        ({"name": "x", "kind": "str", "choices": ["a"], "default": "b"}, "default is 'b', not one of a"),
        ({"name": "x", "kind": "float", "high": 1, "unit": "m", "default": 2}, "default is 2 m, above 1"),
        ({"name": "x", "kind": "int", "units": "m"}, "unknown key 'units'"),
        ({"name": "x", "kind": "int", "optional": "yes"}, "optional 'yes'"),
    ],
)
def test_a_bad_argument_is_named_with_file_and_function(argument: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=r"^api\.yaml: go") as caught:
        api(argument)
    assert named in str(caught.value)


def test_what_is_there_twice_is_refused() -> None:
    with pytest.raises(InputError, match="argument twice"):
        api({"name": "x", "kind": "int"}, {"name": "x", "kind": "int"})
    with pytest.raises(InputError, match="go: is declared twice"):
        robot_api_from_dict({"functions": [{"name": "go"}, {"name": "go"}]}, "api.yaml")


@pytest.mark.parametrize(
    "text", ["", "functions: []", "[1, 2", "functions: &a [*a]", "\0", "functions:\n- name: [" + "[" * 999]
)
def test_a_file_that_is_no_declaration_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "api.yaml").write_text(text)
    with pytest.raises(InputError, match=r"api\.yaml"):
        read_robot_api(tmp_path / "api.yaml")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("float", [1, 0.5, -2], [True, "1", float("nan"), float("inf"), 10**400, None, [1]]),
        ("int", [1, -5], [1.0, True, "1", None]),
        ("bool", [True, False], [0, 1, "true", None]),
        ("str", ["", "a"], [1, None, ["a"]]),
        ("list", [[], [1, "a"]], ["a", {}, None]),
        ("dict", [{}, {"a": 1}], [[], "a", None]),
        ("any", [1, "a", [], None, True], []),
    ],
)
def test_kinds_take_what_they_say(kind: str, good: list[Any], bad: list[Any]) -> None:
    argument = Argument("x", kind)
    assert [argument.fault(value) for value in good] == [None] * len(good)
    assert all(argument.fault(value) for value in bad)


def test_limits_are_included_and_an_optional_argument_may_be_none() -> None:
    argument = Argument("x", "float", unit="m", low=0.5, high=2)
    assert [argument.fault(value) for value in (0.5, 2, 0.49, 2.01)] == [
        None,
        None,
        "is 0.49 m, below 0.5",
        "is 2.01 m, above 2",
    ]
    assert argument.fault(None) and Argument("x", "float", optional=True).fault(None) is None


def test_the_mobile_arm_reads_as_text_for_a_model() -> None:
    text = signatures(read_robot_api(DEFAULT_API))
    assert "move_forward(distance: float, speed: str = 'normal'): drive straight ahead" in text
    assert "  distance: m from 0.05 to 10" in text
    assert "distance_ahead() -> float m: distance to the next obstacle" in text
