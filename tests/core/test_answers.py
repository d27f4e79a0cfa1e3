"""Answers are read strictly: what the JSON library lets pass in silence is no answer."""

import pytest

from ganglion.core.tasks import read_answer, write_answer
from ganglion.core.tasks.answers import strict_json

SCHEMA = {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "object"}}, "required": ["x"]}


def test_what_is_written_is_read_back():
    answer = {"x": 0.5, "y": {"ä": [1, "{", None, True]}}
    assert read_answer(write_answer(answer), SCHEMA) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        '{"x": 1',
        'Sure: {"x": 1}',
        '{"x": 1} That is it.',
        '```json\n{"x": 1}\n```',
        '{"x": 1}{"x": 1}',
        '{"x": 1, "x": 1}',
        '{"x": 1, "x": 2}',
        '{"x": 1, "y": {"a": 1, "a": 2}}',
        '{"x": NaN}',
        '{"x": Infinity}',
        '{"x": -Infinity}',
        '{"x": 1e999}',
        '{"x": 1, "y": {"z": [NaN]}}',
        "{'x': 1}",
        '{"x": 1,}',
        '{"x": "1"}',
        "[1]",
        "null",
        "[" * 100000,
        '{"x": ' + "9" * 5000 + "}",
    ],
)
def test_no_answer_is_read_from_anything_else(text):
    assert read_answer(text, SCHEMA) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"a": {"b": 1, "b": 1}}', "key 'b' is given twice"),
        ("[NaN]", "NaN is no finite number"),
        ("[-1e400]", "-1e400 is no finite number"),
        ("[" * 100000, "nested too deep"),
    ],
)
def test_the_reason_is_given(text, named):
    with pytest.raises(ValueError, match=named):
        strict_json(text)
