"""Programs are parsed and compared, never executed: one form for the same meaning, a fault for everything else."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.robot_api import Function, RobotApi, read_robot_api, robot_api_from_dict
from ganglion.core.robot_check import check_program
from ganglion.core.tasks.robot_code import DEFAULT_API

API = read_robot_api(DEFAULT_API)
# Beside the mobile arm: dotted names, and values of every kind.
WIDE = robot_api_from_dict(
    {
        "functions": [
            {
                "name": "arm.move",
                "arguments": [
                    {"name": "joints", "kind": "list"},
                    {"name": "limits", "kind": "dict", "default": {"a": 1}},
                    {"name": "count", "kind": "int", "default": 3},
                    {"name": "careful", "kind": "bool", "default": True},
                    {"name": "note", "kind": "str", "optional": True},
                ],
            },
            {"name": "mode", "returns": "str"},
        ]
    },
    "wide",
)
NUMBERS = st.floats(0.05, 10).map(lambda value: round(value, 3))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


def value_for(argument: Any) -> st.SearchStrategy[Any]:
    if argument.choices:
        return st.sampled_from(argument.choices)
    if argument.kind == "str":
        return TEXTS
    low, high = argument.low or 0, argument.high if argument.high is not None else 100
    return st.floats(low, high) | st.integers(-int(-low // 1), int(high // 1))


@st.composite
def given_calls(draw: st.DrawFn) -> tuple[Function, dict[str, Any]]:
    function = draw(st.sampled_from(list(API.functions.values())))
    arguments = {a.name: draw(value_for(a)) for a in function.arguments if a.required or draw(st.booleans())}
    return function, arguments


def written(function: Function, arguments: dict[str, Any], rng: random.Random) -> str:
    """The call in one of all forms it has: how many by position, in which order, which defaults spelled out."""
    values = dict(arguments)
    for argument in function.arguments:
        if argument.name not in values and rng.random() < 0.5:
            values[argument.name] = argument.default
    names = [argument.name for argument in function.arguments]
    positional = 0
    while positional < len(names) and names[positional] in values and rng.random() < 0.5:
        positional += 1
    named = [name for name in names[positional:] if name in values]
    rng.shuffle(named)
    parts = [repr(values[name]) for name in names[:positional]] + [f"{name} = {values[name]!r}" for name in named]
    return f"{function.name}({', '.join(parts)})"


@st.composite
def programs(draw: st.DrawFn, depth: int = 2) -> str:
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        form = draw(st.sampled_from(["call", "keep", "if", "for"] if depth else ["call"]))
        if form == "if":
            test = draw(st.sampled_from(TESTS))
            lines += [f"if {test}:", indented(draw(programs(depth - 1)))]
            if draw(st.booleans()):
                lines += ["else:", indented(draw(programs(depth - 1)))]
        elif form == "for":
            lines += [f"for _ in range({draw(st.integers(1, 9))}):", indented(draw(programs(depth - 1)))]
        elif form == "keep":
            lines += ["level = battery_level()", "if level >= 20:", indented(draw(programs(depth - 1)))]
        else:
            lines.append(written(*draw(given_calls()), draw(st.randoms(use_true_random=False))))
    return "\n".join(lines)


TESTS = [
    "holds_object()",
    "not sees('cup')",
    "distance_ahead() < 2",
    "not battery_level() != 50",
    "sees('a') and (holds_object() or not (sees('b') or holds_object())) and distance_ahead() > 1",
    "(sees('a') and sees('b')) and sees('c')",
    "sees('a') or sees('b') and sees('c')",
]


def indented(text: str) -> str:
    return "\n".join("  " + line for line in text.split("\n"))


@given(programs())
def test_normal_form_is_valid_and_its_own_normal_form(text: str) -> None:
    checked = check_program(text, API)
    assert checked.fault is None and checked.normal
    again = check_program(checked.normal, API)
    assert again.valid and again.normal == checked.normal


@given(given_calls(), st.randoms(use_true_random=False))
def test_order_position_and_spelled_out_defaults_make_no_difference(call: Any, rng: random.Random) -> None:
    function, arguments = call
    forms = {check_program(written(function, arguments, rng), API).normal for _ in range(4)}
    assert len(forms) == 1 and None not in forms


@given(given_calls(), st.data())
def test_another_value_is_another_program(call: Any, data: st.DataObject) -> None:
    function, arguments = call
    if not arguments:
        return
    name = data.draw(st.sampled_from(sorted(arguments)))
    argument = next(a for a in function.arguments if a.name == name)
    other = data.draw(value_for(argument).filter(lambda value: value != arguments[name]))
    rng = random.Random(0)
    before = check_program(written(function, arguments, rng), API).normal
    after = check_program(written(function, {**arguments, name: other}, rng), API).normal
    assert before and after and before != after


@given(st.text() | st.text("()[]{}:=,.'\"\\ \n\tabif not1e-+*", max_size=60))
def test_any_text_is_checked_without_an_exception(text: str) -> None:
    assert check_program(text, API).normal is None or check_program(text, API).fault is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "stop",
        "'stop()'",
        "stop()\0",
        "pick_up('\ud800')",
        "import os",
        "__import__('os').system('true')",
        "pick_up(object=open('/etc/passwd').read())",
        "pick_up(lambda: 1)",
        "pick_up(f'{1}')",
        "pick_up(b'cup')",
        "pick_up(*['cup'])",
        "pick_up(**{'object': 'cup'})",
        "pick_up(x := 'cup')",
        "(x := stop())",
        "pick_up('a' + 'b')",
        "pick_up('a' if 1 else 'b')",
        "pick_up(['a' for _ in 'b'])",
        "pick_up(...)",
        "pick_up({1: 2})",
        "pick_up({**{}})",
        "wait(1j)",
        "wait(1e400)",
        "wait(-True)",
        "wait(nan)",
        "wait(float('nan'))",
        "wait(0x" + "f" * 5000 + ")",
        "wait(" + "9" * 5000 + ")",
        "wait(" + "(" * 4000 + "1" + ")" * 4000 + ")",
        "wait(" + "-" * 8000 + "1)",
        "wait(" + "[" * 150 + "]" * 150 + ")",
        "if " + "not " * 2000 + "holds_object(): stop()",
        "if holds_object(): stop()\n" + "elif holds_object(): stop()\n" * 250,
        "stop" + ".x" * 2000 + "()",
        "stop()\n" * 2000,
        "stop()()",
        "[stop()]",
        "stop(), stop()",
        "await stop()",
        "x: int = distance_ahead()",
        "x = y = distance_ahead()",
        "x, y = distance_ahead()",
        "x.y = distance_ahead()",
        "x += distance_ahead()",
        "x = 5",
        "while holds_object(): stop()",
        "for _ in range(0): stop()",
        "for _ in range(101): stop()",
        "for _ in range(True): stop()",
        "for _ in range(1, 3): stop()",
        "for _ in [1, 2]: stop()",
        "for _ in range(2): stop()\nelse: stop()",
        "def f(): stop()",
        "if 1 < distance_ahead() < 2: stop()",
        "if distance_ahead() < battery_level(): stop()",
        "if distance_ahead() in [1]: stop()",
        "if True: stop()",
        "if sees('a') == sees('b'): stop()",
        "match holds_object():\n  case True: stop()",
        "try: stop()\nfinally: stop()",
        "with stop(): stop()",
        "return stop()",
        "if holds_object(): pass",
    ],
)
def test_what_is_no_program_does_not_parse(text: str) -> None:
    checked = check_program(text, API)
    assert not checked.parses and checked.fault and checked.normal is None


@pytest.mark.parametrize(
    ("text", "reached", "fault"),
    [
        ("print('x')", "parses", "no function 'print'"),
        ("arm.stop()", "parses", "no function 'arm.stop'"),
        ("if x > 1: stop()", "parses", "'x' was not assigned before"),
        ("for i in range(2):\n  if i: stop()", "parses", "'i' was not assigned before"),
        ("stop = distance_ahead()", "parses", "stop is a function"),
        ("d = distance_ahead()\nfor d in range(2): stop()", "parses", "d is something else already"),
        ("wait()", "known", "wait needs duration"),
        ("wait(1, 2)", "known", "takes 1 arguments, got 2"),
        ("wait(1, duration=2)", "known", "gets duration twice"),
        ("wait(seconds=1)", "known", "has no argument 'seconds'"),
        ("wait('1')", "complete", "duration is '1', not float"),
        ("wait(True)", "complete", "duration is True, not float"),
        ("wait(None)", "complete", "duration is None, not float"),
        ("move_forward(11)", "complete", "distance is 11 m, above 10"),
        ("move_forward(-1)", "complete", "distance is -1 m, below 0.05"),
        ("move_forward(1, speed='furious')", "complete", "not one of slow, normal, fast"),
        ("x = stop()", "complete", "stop measures nothing"),
        ("if stop(): stop()", "complete", "stop measures nothing"),
        ("if not battery_level(): stop()", "complete", "battery_level gives float, no yes or no"),
        ("if battery_level() < 'low': stop()", "complete", "compares 'low' with float"),
        ("if sees('cup') < True: stop()", "complete", "bool has no order"),
        ("if distance_ahead() < True: stop()", "complete", "compares True with float"),
    ],
)
def test_each_step_says_what_is_wrong(text: str, reached: str, fault: str) -> None:
    checked = check_program(text, API)
    steps = ["parses", "known", "complete", "valid"]
    assert [getattr(checked, step) for step in steps] == [k <= steps.index(reached) for k in range(4)]
    assert checked.fault and fault in checked.fault and checked.normal is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("wait(2)", "wait(duration=2.0)"),
        ("set_arm_height(-0.0)", "set_arm_height(0)"),
        ("pick_up('cup')", 'pick_up(object="cup", force=10) # gently'),
        ("stop(); wait(1)", "stop()\n\nwait(1)"),
        ("for _ in range(2): stop()", "for i in range(2):\n        stop()"),
        ("if sees('a'): stop()\nelif sees('b'): stop()", "if sees('a'): stop()\nelse:\n  if sees('b'): stop()"),
        ("if (distance_ahead()) < 1: stop()", "if distance_ahead() < 1.0:\n    stop()"),
        ("if (sees('a') and sees('b')) and sees('c'): stop()", "if sees('a') and sees('b') and sees('c'): stop()"),
    ],
)
def test_other_spellings_of_the_same_are_equal(one: str, other: str) -> None:
    assert check_program(one, API).normal == check_program(other, API).normal is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stop()\nwait(1)", "wait(1)\nstop()"),
        ("turn_left(90)", "turn_right(90)"),
        ("for _ in range(2): stop()", "stop()\nstop()"),
        ("if distance_ahead() < 1: stop()", "if distance_ahead() <= 1: stop()"),
        ("if distance_ahead() < 1: stop()", "if not distance_ahead() < 1: stop()"),
        ("if sees('a'): stop()\nwait(1)", "if sees('a'):\n  stop()\n  wait(1)"),
        ("if not (sees('a') and sees('b')): stop()", "if not sees('a') and sees('b'): stop()"),
        ("if sees('a') and (sees('b') or sees('c')): stop()", "if sees('a') and sees('b') or sees('c'): stop()"),
    ],
)
def test_what_differs_in_meaning_differs_in_form(one: str, other: str) -> None:
    forms = [check_program(text, API).normal for text in (one, other)]
    assert None not in forms and forms[0] != forms[1]


def test_dotted_names_lists_and_dicts_are_values_too() -> None:
    short = check_program("arm.move((1, -2.5))", WIDE)
    assert short.normal == "arm.move(joints=[1, -2.5], limits={'a': 1}, count=3, careful=True)"
    full = "arm.move(note=None, careful=True, limits={'a': 1}, joints=[1, -2.5])"
    assert check_program(full, WIDE).valid and check_program(full, WIDE).normal != short.normal
    assert check_program("arm.move([[1], {'b': ['c', None]}])", WIDE).valid
    assert check_program("arm.move([1], count=2.0)", WIDE).fault == "line 1: arm.move: count is 2.0, not int"
    assert check_program("if mode() == 'manual': arm.move([])", WIDE).valid


def test_nothing_is_executed(tmp_path: Any) -> None:
    check_program(f"pick_up(object=open({str(tmp_path / 'x')!r}, 'w'))", API)
    assert not list(tmp_path.iterdir())


def test_a_value_declared_by_no_range_of_float_is_refused_not_raised() -> None:
    api = RobotApi("r", {"f": Function("f", arguments=(WIDE.functions["arm.move"].arguments[2],))})
    assert check_program("f(9223372036854775808)", api).valid
    assert not check_program("f(9223372036854775809)", api).parses
