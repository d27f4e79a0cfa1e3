"""`ganglion data import conversations|messages`: malformed rows, each one line and nothing written."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Refused = Callable[..., str]


def talk(*said: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    return {"id": "a", **more, "conversations": [{"from": role, "value": text} for role, text in said]}


ASK, SAY = ("human", "What is this?"), ("gpt", "A cat.")
SHOWN = ("human", "<image>\nWhat is this?")

CONVERSATIONS: dict[str, tuple[Any, str]] = {
    "no object": (5, "row is 5"),
    "a list": ([talk(ASK, SAY)], "row is [{"),
    "no conversations": ({"id": "a"}, "column 'conversations': is missing"),
    "no turns": (talk(), "column 'conversations': is []"),
    "a text for turns": ({"conversations": "hello"}, "is 'hello'; give a list of turns"),
    "an object for turns": ({"conversations": {"from": "human"}}, "give a list of turns"),
    "null for turns": ({"conversations": None}, "is None; give a list"),
    "a turn that is text": ({"conversations": ["hello", "you"]}, "column 'conversations[0]': is 'hello'"),
    "a turn that is null": ({"conversations": [None]}, "column 'conversations[0]': is None"),
    "no role": ({"conversations": [{"value": "x"}]}, "column 'conversations[0].from': is None"),
    "an unknown role": (talk(("martian", "x"), SAY), "column 'conversations[0].from': is 'martian'"),
    "a tool's role": (talk(ASK, ("function_call", "{}")), "is 'function_call'"),
    "a role that is a list": (talk((["human"], "x"), SAY), "from': is ['human']"),
    "no text": ({"conversations": [{"from": "human"}]}, "column 'conversations[0].value': is None"),
    "a number for text": (talk(("human", 5), SAY), "column 'conversations[0].value': is 5"),
    "an object for text": (talk(ASK, ("gpt", {"a": 1})), "column 'conversations[1].value': is {'a': 1}"),
    "no answer": (talk(ASK), "has 1 messages; end with an answer"),
    "no answer at the end": (talk(ASK, SAY, ASK), "has 3 messages; end with an answer"),
    "the assistant first": (talk(SAY, ASK), "column 'messages[0].role': is 'assistant'"),
    "the user twice": (talk(ASK, ASK, SAY, SAY), "column 'messages[1].role': is 'user'"),
    "the assistant twice": (talk(ASK, SAY, SAY, ASK), "column 'messages[2].role': is 'assistant'"),
    "the system alone": (talk(("system", "Be kind.")), "nobody answers"),
    "the system last": (talk(ASK, SAY, ("system", "Be kind.")), "nobody answers"),
    "the system before the assistant": (talk(ASK, ("system", "Be kind."), SAY), "right after the system"),
    "a mark without an image": (talk(SHOWN, SAY), "has 1 <image>, but the row 0 images"),
    "two marks for one image": (talk(SHOWN, SAY, SHOWN, SAY, image="a.png"), "has 2 <image>, but the row 1 images"),
    "one mark for two images": (talk(SHOWN, SAY, images=["a.png", "a.png"]), "has 1 <image>, but the row 2 images"),
    "a mark in an answer": (talk(ASK, ("gpt", "<image>"), image="a.png"), "holds <image>, but is not by the user"),
    "image and images": (talk(SHOWN, SAY, image="a.png", images=["a.png"]), "stands beside 'image'"),
    "an image that is a number": (talk(SHOWN, SAY, image=5), "column 'image': is 5"),
    "an image without a name": (talk(SHOWN, SAY, image=""), "column 'image': is ''"),
    "an image that is an object": (talk(SHOWN, SAY, image={"path": "a.png"}), "column 'image': is {'path'"),
    "an image that is not there": (talk(SHOWN, SAY, image="b.png"), "b.png does not exist"),
    "an image that is none": (talk(SHOWN, SAY, image="data.json"), "data.json can't be decoded"),
    "an image on the net": (talk(SHOWN, SAY, image="https://example.org/a.png"), "nothing is fetched"),
    "an image in a bucket": (talk(SHOWN, SAY, image="s3://bucket/a.png"), "nothing is fetched"),
    "half a character": (talk(ASK, ("gpt", "\ud83d")), "holds half of a character"),
}  # fmt: skip


def chat(*said: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    return {**more, "messages": [{"role": role, "content": content} for role, content in said]}


USER, ANSWER = ("user", "What is this?"), ("assistant", "A cat.")


def picture(url: Any, kind: str = "image_url") -> tuple[str, Any]:
    return "user", [{"type": "text", "text": "What?"}, {"type": kind, kind: url}]


MESSAGES: dict[str, tuple[Any, str]] = {
    "no object": ("hello", "row is 'hello'"),
    "no messages": ({"prompt": "x"}, "column 'messages': is missing"),
    "none at all": (chat(), "column 'messages': is []"),
    "null": ({"messages": None}, "column 'messages': is None"),
    "a text": ({"messages": "hi"}, "column 'messages': is 'hi'"),
    "a message that is text": ({"messages": ["hi"]}, "column 'messages[0]': is 'hi'"),
    "no role": ({"messages": [{"content": "hi"}]}, "column 'messages[0].role': is None"),
    "an unknown role": (chat(("human", "hi"), ANSWER), "column 'messages[0].role': is 'human'"),
    "a tool": (chat(USER, ANSWER, ("tool", "5")), "column 'messages[2].role': is 'tool'"),
    "no content": ({"messages": [{"role": "user"}]}, "column 'messages[0].content': is None"),
    "a call of a tool": (chat(USER, ("assistant", None)), "column 'messages[1].content': is None"),
    "a number": (chat(("user", 5), ANSWER), "column 'messages[0].content': is 5"),
    "an object": (chat(("user", {"type": "text"}), ANSWER), "column 'messages[0].content': is {'type'"),
    "a part that is text": (chat(("user", ["hi"]), ANSWER), "column 'messages[0].content[0]': is 'hi'"),
    "a part without a type": (chat(("user", [{"text": "hi"}]), ANSWER), "column 'messages[0].content[0]'"),
    "a part of sound": (chat(("user", [{"type": "input_audio"}]), ANSWER), "is {'type': 'input_audio'}"),
    "a text part without text": (chat(("user", [{"type": "text"}]), ANSWER), "is {'type': 'text'}"),
    "a text part that is a list": (chat(("user", [{"type": "text", "text": []}]), ANSWER), "content[0]'"),
    "no answer": (chat(USER), "has 1 messages; end with an answer"),
    "the assistant first": (chat(ANSWER, USER), "column 'messages[0].role': is 'assistant'"),
    "the user twice": (chat(USER, USER, ANSWER, ANSWER), "column 'messages[1].role': is 'user'"),
    "the system alone": (chat(("system", "Be kind.")), "nobody answers"),
    "the developer last": (chat(USER, ANSWER, ("developer", "Be kind.")), "nobody answers"),
    "an image on the net": (chat(picture({"url": "https://example.org/a.png"}), ANSWER), "nothing is fetched"),
    "plain http": (chat(picture({"url": "http://example.org/a.png"}), ANSWER), "nothing is fetched"),
    "ftp": (chat(picture("ftp://example.org/a.png"), ANSWER), "nothing is fetched"),
    "a url that is a number": (chat(picture({"url": 5}), ANSWER), "column 'messages[0].content[1]': is 5"),
    "a url left out": (chat(picture({"detail": "low"}), ANSWER), "column 'messages[0].content[1]': is None"),
    "a path that is empty": (chat(picture({"url": ""}), ANSWER), "is ''; give a file path"),
    "no such image": (chat(picture("b.png", "image"), ANSWER), "b.png does not exist"),
    "an image that the row lacks": (chat(("user", [{"type": "image"}]), ANSWER), "that the row does not have"),
    "images that none shows": (chat(USER, ANSWER, images=["a.png"]), "has 1 that no message shows"),
    "an image by the assistant": (
        chat(USER, ("assistant", [{"type": "image", "image": "a.png"}])), "an image by the assistant"
    ),
    "data without base64": (chat(picture("data:image/png,abc"), ANSWER), "give data:image/TYPE;base64,DATA"),
    "data without a comma": (chat(picture("data:image/png;base64"), ANSWER), "give data:image/TYPE;base64,DATA"),
    "data that is no base64": (chat(picture("data:image/png;base64,@@@"), ANSWER), "is no base64"),
    "data cut within base64": (chat(picture("data:image/png;base64,abcde"), ANSWER), "is no base64"),
    "data that is no picture": (
        chat(picture("data:image/png;base64," + base64.b64encode(b"hello").decode()), ANSWER), "5 bytes that are no"
    ),
    "images beside a text that are none": (
        {"messages": [{"role": "user", "content": "x", "images": "a.png"}, {"role": "assistant", "content": "y"}]},
        "stands beside images 'a.png'",
    ),
    "half a character": (chat(("user", "\udc00"), ANSWER), "holds half of a character"),
}  # fmt: skip

GOOD = {"conversations": talk(SHOWN, SAY, image="a.png"), "messages": chat(picture("a.png"), ANSWER)}
CASES = [("conversations", name) for name in CONVERSATIONS] + [("messages", name) for name in MESSAGES]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize(("kind", "case"), CASES)
def test_a_malformed_row_is_one_line(kind: str, case: str, ending: str, tmp_path: Path, refused: Refused) -> None:
    row, what = (CONVERSATIONS if kind == "conversations" else MESSAGES)[case]
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    rows = [GOOD[kind], GOOD[kind], row]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line = refused(kind, tmp_path / f"data.{ending}")
    assert what in line and f"data.{ending}: row 2: " in line


FILES = {
    "empty": b"",
    "an object": b'{"messages": []}',
    "cut off": b'[{"messages": [',
    "not UTF-8": b'["\xff"]',
    "nothing in it": b"[]",
    "a key twice": b'[{"messages": 1, "messages": 2}]',
    "nested too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("case", FILES)
def test_a_malformed_file_is_one_line(kind: str, case: str, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "data.json").write_bytes(FILES[case])
    assert "data.json: " in refused(kind, tmp_path / "data.json")


@pytest.mark.parametrize("kind", GOOD)
def test_a_task_that_needs_more_or_other_answers_says_so(kind: str, tmp_path: Path, refused: Refused) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "data.json").write_text(json.dumps([GOOD[kind]]))
    path = tmp_path / "data.json"
    assert "needs more than a conversation" in refused(kind, path, "--task", "robot_code")
    assert "is no answer of exo_assist: 'A cat.'" in refused(kind, path, "--task", "exo_assist")
