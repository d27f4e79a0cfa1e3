"""The one form of all programs that mean the same: arguments by name, in declared order, defaults written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ganglion.core.robot_api import REQUIRED, Function, RobotApi
from ganglion.core.robot_program import (
    Branch,
    Call,
    Compared,
    Condition,
    Joined,
    Keep,
    Kept,
    Not,
    ProgramError,
    Repeat,
    Statement,
)

_INDENT = "    "


def write_program(program: Sequence[Statement], api: RobotApi) -> str:
    """The normal form of a program that is valid in `api`; reading it again gives the same form."""
    return "\n".join(_written(program, api, {}, ""))


def given_arguments(call: Call, function: Function) -> dict[str, Any]:
    """What a call gives, by name; defaults left out.

    Raises:
        ProgramError: too many arguments, an unknown one, or one twice.
    """
    where, declared = f"line {call.line}: {function.name}", [argument.name for argument in function.arguments]
    if len(call.positional) > len(declared):
        raise ProgramError(f"{where} takes {len(declared)} arguments, got {len(call.positional)}")
    given = dict(zip(declared, call.positional, strict=False))
    for name, value in call.named:
        if name not in declared:
            raise ProgramError(f"{where} has no argument {name!r}")
        if name in given:
            raise ProgramError(f"{where} gets {name} twice")
        given[name] = value
    return given


def measured(part: Call | Kept, api: RobotApi, kept: Mapping[str, Function]) -> Function:
    """The function behind a measured value."""
    return api.functions[part.name] if isinstance(part, Call) else kept[part.name]


def _written(program: Sequence[Statement], api: RobotApi, kept: dict[str, Function], indent: str) -> Iterator[str]:
    """The lines of the normal form of a valid program."""
    for statement in program:
        match statement:
            case Call():
                yield indent + _written_call(statement, api)
            case Keep(name=name, call=call):
                kept[name] = api.functions[call.name]
                yield f"{indent}{name} = {_written_call(call, api)}"
            case Repeat(times=times, body=body):
                yield f"{indent}for _ in range({times}):"
                yield from _written(body, api, kept, indent + _INDENT)
            case Branch():
                yield from _written_branch(statement, api, kept, indent, "if")


def _written_branch(branch: Branch, api: RobotApi, kept: dict[str, Function], indent: str, word: str) -> Iterator[str]:
    yield f"{indent}{word} {_written_condition(branch.test, api, kept)}:"
    yield from _written(branch.body, api, kept, indent + _INDENT)
    match branch.orelse:
        case ():
            pass
        case (Branch() as only,):
            yield from _written_branch(only, api, kept, indent, "elif")
        case _:
            yield f"{indent}else:"
            yield from _written(branch.orelse, api, kept, indent + _INDENT)


def _written_condition(condition: Condition, api: RobotApi, kept: Mapping[str, Function]) -> str:
    match condition:
        case Call():
            return _written_call(condition, api)
        case Kept(name=name):
            return name
        case Not(operand=operand):
            inner = _written_condition(operand, api, kept)
            return f"not ({inner})" if isinstance(operand, Joined | Compared) else f"not {inner}"
        case Joined(operator=operator, operands=operands):
            parts = [_written_condition(operand, api, kept) for operand in operands]
            marked = [f"({text})" if isinstance(o, Joined) else text for o, text in zip(operands, parts, strict=True)]
            return f" {operator} ".join(marked)
        case Compared(left=left, operator=operator, right=right):
            if measured(left, api, kept).returns in ("float", "int"):
                right = float(right) + 0.0
            return f"{_written_condition(left, api, kept)} {operator} {right!r}"


def _written_call(call: Call, api: RobotApi) -> str:
    function = api.functions[call.name]
    given = given_arguments(call, function)
    arguments = []
    for argument in function.arguments:
        value = given.get(argument.name, argument.default)
        if value is not REQUIRED:
            arguments.append(f"{argument.name}={argument.settled(value)!r}")
    return f"{call.name}({', '.join(arguments)})"
