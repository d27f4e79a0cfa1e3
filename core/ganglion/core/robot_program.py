"""Programs in a robot's API: a small part of Python, read into plain data and never executed.

    distance = distance_ahead()
    if distance < 0.5 and not holds_object():
        move_backward(distance=0.3)
    else:
        for _ in range(3):
            move_forward(0.2, speed="slow")

Calls by name with plain values (numbers, texts, True, False, None, and lists and dicts of them); `name = call()` for
something measured; `if` / `elif` / `else` with `not`, `and`, `or` and one comparison with a plain value; `for _ in
range(n)`. Everything else is refused. ganglion.core.robot_check holds a program against an API.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 8192  # characters; far more than any command needs, far less than what troubles the parser
MOST_REPEATS = 100
_DEEPEST = 16  # blocks, conditions or values inside one another
_LARGEST = 2**63
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


class ProgramError(Exception):
    """A text is no program; says the line and why."""


@dataclass(frozen=True)
class Call:
    """name(*positional, **named), in the order they were written; the values are plain data."""

    line: int
    name: str
    positional: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Kept:
    """What an earlier line measured, by its name."""

    line: int
    name: str


@dataclass(frozen=True)
class Compared:
    """left operator right, the right one a plain value."""

    left: Call | Kept
    operator: str
    right: Any


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    operand: Condition


@dataclass(frozen=True)
class Joined:
    """Conditions joined by one operator, "and" or "or"; none of them is joined by the same."""

    operator: str
    operands: tuple[Condition, ...]


@dataclass(frozen=True)
class Keep:
    """name = call."""

    name: str
    call: Call


@dataclass(frozen=True)
class Branch:
    """if test: body, else: orelse (may be empty)."""

    test: Condition
    body: tuple[Statement, ...]
    orelse: tuple[Statement, ...]


@dataclass(frozen=True)
class Repeat:
    """for variable in range(times): body. Nothing may use the variable."""

    line: int
    variable: str
    times: int
    body: tuple[Statement, ...]


Condition = Call | Kept | Compared | Not | Joined
Statement = Call | Keep | Branch | Repeat


def parse_program(text: str) -> tuple[Statement, ...]:
    """Read a program; at least one statement.

    Raises:
        ProgramError: it is not Python, or more than the part described above; nothing else, whatever the text.
    """
    if len(text) > LONGEST:
        raise ProgramError(f"{len(text)} characters, more than {LONGEST}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as a backslash that escapes nothing
            tree = ast.parse(text.strip())
        program = _block(tree.body, 0)
    except SyntaxError as error:
        raise ProgramError(f"line {error.lineno}: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError) as error:  # NUL bytes, half surrogates, thousands of brackets
        raise ProgramError(f"can't be parsed ({type(error).__name__})") from None
    if not program:
        raise ProgramError("no statement")
    return program


def _block(nodes: Sequence[ast.stmt], depth: int) -> tuple[Statement, ...]:
    _check_depth(depth)
    return tuple(_statement(node, depth + 1) for node in nodes)


def _statement(node: ast.stmt, depth: int) -> Statement:
    match node:
        case ast.Expr(value=ast.Call() as call):
            return _call(call)
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
            return Keep(name, _call(call))
        case ast.If(test=test, body=body, orelse=orelse):
            return Branch(_condition(test, 0), _block(body, depth), _block(orelse, depth))
        case ast.For(target=ast.Name(id=name), orelse=[], body=body) as loop:
            return Repeat(node.lineno, name, _times(loop.iter), _block(body, depth))
    raise ProgramError(f"line {node.lineno}: {type(node).__name__} of this form is no part of a program")


def _times(node: ast.expr) -> int:
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(times))], keywords=[]) if (
            not isinstance(times, bool) and 1 <= times <= MOST_REPEATS
        ):
            return times
    raise ProgramError(f"line {node.lineno}: a loop is over range(n), n from 1 to {MOST_REPEATS}")


def _condition(node: ast.expr, depth: int) -> Condition:
    _check_depth(depth)
    match node:
        case ast.Call():
            return _call(node)
        case ast.Name(id=name):
            return Kept(node.lineno, name)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Not(_condition(operand, depth + 1))
        case ast.BoolOp(op=op, values=values):
            operator = "and" if isinstance(op, ast.And) else "or"
            return Joined(operator, _flat(operator, [_condition(value, depth + 1) for value in values]))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            measured = _condition(left, depth + 1)
            if isinstance(measured, Call | Kept):
                return Compared(measured, _COMPARISONS[type(op)], _value(right, 0))
    raise ProgramError(f"line {node.lineno}: {type(node).__name__} of this form is no condition")


def _flat(operator: str, operands: Sequence[Condition]) -> tuple[Condition, ...]:
    """`(a and b) and c` is `a and b and c`."""
    parts: list[Condition] = []
    for operand in operands:
        same = isinstance(operand, Joined) and operand.operator == operator
        parts.extend(operand.operands if isinstance(operand, Joined) and same else [operand])
    return tuple(parts)


def _call(node: ast.Call) -> Call:
    named = []
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ProgramError(f"line {node.lineno}: ** in a call")
        named.append((keyword.arg, _value(keyword.value, 0)))
    return Call(node.lineno, _name(node.func, 0), tuple(_value(value, 0) for value in node.args), tuple(named))


def _name(node: ast.expr, depth: int) -> str:
    """Of a function: `name` or `part.part`."""
    _check_depth(depth)
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_name(value, depth + 1)}.{name}"
    raise ProgramError(f"line {node.lineno}: {type(node).__name__} where a function's name should be")


def _value(node: ast.expr, depth: int) -> Any:
    """Plain data; a tuple becomes a list, which is what JSON has."""
    _check_depth(depth)
    match node:
        case ast.Constant(value=None | bool() | str() as value):
            return value
        case ast.Constant(value=int() | float() as number) if abs(number) <= _LARGEST:
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)) if (
            not isinstance(number, bool) and abs(number) <= _LARGEST
        ):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, depth + 1) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_key(key, node): _value(value, depth + 1) for key, value in zip(keys, values, strict=True)}
    raise ProgramError(f"line {node.lineno}: {type(node).__name__} of this form is no plain value")


def _key(node: ast.expr | None, within: ast.Dict) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ProgramError(f"line {within.lineno}: a key is no text")


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise ProgramError(f"more than {_DEEPEST} levels inside one another")
