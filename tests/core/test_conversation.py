"""Rows that are conversations, for any task, and the task chat."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.tasks import CHAT, EXO_ASSIST, unrolled
from ganglion.core.tasks.chat import f1
from ganglion.core.tasks.exo_assist import expected_answer


def talk(*said):
    return {"messages": [{"role": role, "content": text} for role, text in said]}


def read(folder, rows, task=CHAT):
    (folder / "data.json").write_text(json.dumps(rows))
    return read_datafile(folder / "data.json", task)


def test_a_conversation_is_an_example_with_its_earlier_turns(tmp_path):
    (example,) = read(tmp_path, [talk(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))])
    assert [(turn.prompt, turn.answer) for turn in example.turns] == [("a", "b"), ("c", "d")]
    assert [(e.prompt, len(e.history)) for e in unrolled([example])] == [("a", 0), ("c", 1)]


def test_an_answer_has_to_satisfy_the_schema_and_is_written_as_the_task_writes(tmp_path):
    answer = expected_answer("flat", "none", 3)
    (example,) = read(tmp_path, [talk(("user", "?"), ("assistant", json.dumps(answer, indent=2)))], EXO_ASSIST)
    assert json.loads(example.answer) == answer and "\n" not in example.answer
    with pytest.raises(InputError, match=r"row 0: column 'messages\[1\].content': is no answer of exo_assist"):
        read(tmp_path, [talk(("user", "?"), ("assistant", json.dumps({**answer, "task": "moon"})))], EXO_ASSIST)


BAD = [
    ({"messages": 5}, "'messages': is 5"),
    ({**talk(("user", "a"), ("assistant", "b")), "mood": 1}, "'mood': is unknown"),
    ({"messages": [{"role": "user", "content": "a", "name": "x"}, {}]}, r"'messages\[0\].name': is unknown"),
    ({"messages": [{"role": "user", "content": "a", "images": "a.png"}, {}]}, r"'messages\[0\].images': is 'a.png'"),
    (
        {"messages": [*talk(("user", "a"))["messages"], {"role": "assistant", "content": "b", "images": ["c.png"]}]},
        "belongs to an answer",
    ),
    (talk(("system", "a"), ("assistant", "b")), r"'messages\[0\].role': is 'system'"),
    ({"prompt": "a", "answer": "b", "images": [5]}, r"'images': is \[5\]"),
]


@pytest.mark.parametrize(("row", "said"), BAD)
def test_a_bad_conversation_is_named(row, said, tmp_path):
    with pytest.raises(InputError, match=said):
        read(tmp_path, [row])


@pytest.mark.parametrize(
    ("want", "got", "score"),
    [
        ("the cat", "A cat!", 1.0),  # articles, case and marks do not count
        ("a red cat", "red dog", 0.5),  # one of two words, both ways
        ("cat cat dog", "cat", 0.5),  # precision 1, recall 1/3
        ("cat", "dog", 0.0),
        ("", "", 1.0),
        ("", "cat", 0.0),
        ("the", "cat", 0.0),
        ("don't", "dont", 1.0),
    ],
)
def test_f1_is_that_of_squad(want, got, score):
    assert f1(want, got) == pytest.approx(score)


def test_metrics_of_chat_count_answers_and_dialogues(tmp_path):
    two = talk(("user", "a"), ("assistant", "b b"), ("user", "c"), ("assistant", "d"))
    examples = unrolled(read(tmp_path, [two, two, {"prompt": "x", "answer": "y"}]))
    found = CHAT.metrics(examples, ["b b", "d", "b", "d", " y\n"])
    assert found == {
        "n": 5,
        "exact_match": 0.8,
        "f1": pytest.approx((1 + 1 + 2 / 3 + 1 + 1) / 5),
        "dialogue_exact_match": 0.5,
    }


def test_without_pyarrow_an_arrow_file_names_what_to_install(tmp_path: Path):
    (tmp_path / "a.arrow").write_bytes(b"x")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from ganglion.core.cli import main\n"
        f"sys.exit(main(['data', 'validate', {str(tmp_path / 'a.arrow')!r}, '--task', 'chat']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "ganglion: pyarrow is not installed; pip install 'ganglion[train]'\n"
