"""A program held against a robot's API, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganglion.core.robot_api import Function, RobotApi, is_number
from ganglion.core.robot_normal import given_arguments, measured, write_program
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
    parse_program,
)

Given = tuple[str, Mapping[str, Any]]  # a function's name, and arguments by name


@dataclass(frozen=True)
class Checked:
    """What was found in a program; each step counts only where the ones before it hold.

    parses    it is of the form that ganglion.core.robot_program describes
    known     it calls declared functions, and uses names that it assigned before, only
    complete  each call gives all required arguments, no unknown one and none twice
    valid     each argument has its kind and lies in its range, and only what was measured is kept or compared
    fault     the first thing wrong, None if nothing is
    normal    the program with every argument by name, in declared order, defaults written out; None unless valid
    calls     each call's function and the arguments it gives, by name; None unless valid and calls are all there is
    """

    parses: bool = False
    known: bool = False
    complete: bool = False
    valid: bool = False
    fault: str | None = None
    normal: str | None = None
    calls: tuple[Given, ...] | None = None


class _Fault(Exception):
    """Something is wrong at this step."""


def check_program(text: str, api: RobotApi) -> Checked:
    """Check a program against an API, step by step; never raises for what a model might write."""
    try:
        program = parse_program(text)
    except ProgramError as error:
        return Checked(fault=str(error))
    checked, checking = Checked(parses=True), _Checking(api)
    try:
        checking.known(program)
        checked = replace(checked, known=True)
        checking.complete(program)
        checked = replace(checked, complete=True)
        checking.valid(program)
    except _Fault as fault:
        return replace(checked, fault=str(fault))
    return replace(checked, valid=True, normal=write_program(program, api), calls=_plain_calls(program, api))


def _plain_calls(program: Sequence[Statement], api: RobotApi) -> tuple[Given, ...] | None:
    calls = [statement for statement in program if isinstance(statement, Call)]
    if len(calls) < len(program):
        return None
    return tuple((call.name, given_arguments(call, api.functions[call.name])) for call in calls)


@dataclass(frozen=True)
class _Checking:
    """The steps after parsing; each raises _Fault."""

    api: RobotApi

    def known(self, program: Sequence[Statement]) -> None:
        kept: set[str] = set()
        for part in _parts(program):
            if isinstance(part, Call) and part.name not in self.api.functions:
                raise _Fault(f"line {part.line}: no function {part.name!r}")
            if isinstance(part, Keep):
                if part.name in self.api.functions:
                    raise _Fault(f"line {part.call.line}: {part.name} is a function")
                kept.add(part.name)
            if isinstance(part, Repeat) and (part.variable in kept or part.variable in self.api.functions):
                raise _Fault(f"line {part.line}: {part.variable} is something else already")
            if isinstance(part, Kept) and part.name not in kept:
                raise _Fault(f"line {part.line}: {part.name!r} was not assigned before")

    def complete(self, program: Sequence[Statement]) -> None:
        for call in (part for part in _parts(program) if isinstance(part, Call)):
            function = self.api.functions[call.name]
            try:
                given = given_arguments(call, function)
            except ProgramError as error:
                raise _Fault(str(error)) from None
            for argument in function.arguments:
                if argument.required and argument.name not in given:
                    raise _Fault(f"line {call.line}: {call.name} needs {argument.name}")

    def valid(self, program: Sequence[Statement]) -> None:
        kept: dict[str, Function] = {}
        for part in _parts(program):
            if isinstance(part, Call):
                self._check_values(part)
            elif isinstance(part, Keep):
                kept[part.name] = self._measuring(part.call)
            elif isinstance(part, Compared):
                self._check_comparison(part, kept)
            elif isinstance(part, Branch):
                self._check_truths(part.test, kept)

    def _check_values(self, call: Call) -> None:
        function = self.api.functions[call.name]
        given = given_arguments(call, function)
        for argument in function.arguments:
            if argument.name in given and (fault := argument.fault(given[argument.name])):
                raise _Fault(f"line {call.line}: {call.name}: {argument.name} {fault}")

    def _check_comparison(self, compared: Compared, kept: Mapping[str, Function]) -> None:
        function = measured(compared.left, self.api, kept)
        kind, value = self._measuring(compared.left, function).returns, compared.right
        fits = {"float": is_number(value), "int": is_number(value), "bool": isinstance(value, bool)}
        if not fits.get(str(kind), isinstance(value, str)) and kind != "any":
            raise _Fault(f"line {compared.left.line}: compares {value!r:.40} with {kind}")
        if compared.operator not in ("==", "!=") and kind not in ("float", "int", "any"):
            raise _Fault(f"line {compared.left.line}: {kind} has no order")

    def _check_truths(self, condition: Condition, kept: Mapping[str, Function]) -> None:
        """What stands alone in a condition must be a yes or no."""
        match condition:
            case Call() | Kept():
                function = measured(condition, self.api, kept)
                if self._measuring(condition, function).returns not in ("bool", "any"):
                    raise _Fault(f"line {condition.line}: {function.name} gives {function.returns}, no yes or no")
            case Not(operand=operand):
                self._check_truths(operand, kept)
            case Joined(operands=operands):
                for operand in operands:
                    self._check_truths(operand, kept)

    def _measuring(self, part: Call | Kept, function: Function | None = None) -> Function:
        function = function or self.api.functions[part.name]
        if function.returns is None:
            raise _Fault(f"line {part.line}: {function.name} measures nothing")
        return function


def _parts(program: Sequence[Statement]) -> Iterator[Statement | Condition]:
    """Every statement and condition in the order of the text, what is inside a part before the part itself.

    A branch comes right after its test, so that its body is met with what was assigned before it.
    """
    for statement in program:
        if isinstance(statement, Keep):
            yield statement.call
            yield statement
        elif isinstance(statement, Branch):
            yield from _inside(statement.test)
            yield statement
            yield from _parts(statement.body)
            yield from _parts(statement.orelse)
        elif isinstance(statement, Repeat):
            yield statement
            yield from _parts(statement.body)
        else:
            yield statement


def _inside(condition: Condition) -> Iterator[Condition]:
    match condition:
        case Compared(left=left):
            yield left
        case Not(operand=operand):
            yield from _inside(operand)
        case Joined(operands=operands):
            for operand in operands:
                yield from _inside(operand)
    yield condition
