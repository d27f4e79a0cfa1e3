"""Wrong requests to the OpenAI-compatible server of an untrained VLM: `python benchmarks/fuzz.py --vlm`."""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from constrained_decoding import random_bundle
from constrained_generations import LIMITS, MODEL, openai_server
from PIL import Image
from tqdm import tqdm

from ganglion.core.bundle import open_bundle
from ganglion.serving.vlm.engine import VlmEngine

BASE = "offline:qwen2_vl?untrained"
MOST_GROWTH = 0.05
_TOKENS = 4
_ODD = (None, True, -1, 0, 1e308, 2**70, "", "x" * 100_000, "\ud800", [], {}, [[]] * 100, "auto", 1.5, "\0")
_SCHEMAS: tuple[Callable[[], Any], ...] = (
    lambda: nested(400),
    lambda: {"$ref": "#"},
    lambda: {"$ref": "http://127.0.0.1:1/x"},
    lambda: {"type": "string", "pattern": "(a+)+$"},
    lambda: {"type": "string", "pattern": "[" * 50},
    lambda: {"type": "string", "minLength": 10**9},
    lambda: {"type": "array", "minItems": 10**6, "items": {"type": "integer"}},
    lambda: {"enum": [str(number) for number in range(20_000)]},
    lambda: {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(5_000)}},
    lambda: {"anyOf": [{"anyOf": [{"const": number}] * 50} for number in range(50)]},
    lambda: {"type": "nothing"},
    lambda: False,
)


def nested(depth: int) -> Any:
    """Objects in objects."""
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def good() -> dict[str, Any]:
    """A request that nothing is wrong with."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "go"}], "max_completion_tokens": _TOKENS}


def wrong(seed: int, number: int, picture: bytes) -> tuple[str, bytes]:
    """What is wrong with the request of that number, and its body."""
    dice = random.Random(seed * 1_000_003 + number)
    kind = ("field", "schema", "picture", "text", "bytes", "messages")[number % 6]
    body: Any = good()
    if kind == "field":
        names = ("model", "messages", "temperature", "max_completion_tokens", "stop", "n", "stream", "response_format")
        body[dice.choice((*names, "tools", "logit_bias", "made_up"))] = dice.choice(_ODD)
    elif kind == "schema":
        schema = {"name": "x", "schema": dice.choice(_SCHEMAS)()}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "picture":
        body["messages"][0]["content"] = [{"type": "image_url", "image_url": {"url": url(dice, picture)}}]
    elif kind == "text":
        words = ("word ", "<|image_pad|>", "<|im_end|>", "ä", "\0", "\ud800", "{{ x }}", "\u202e")
        body["messages"][0]["content"] = dice.choice(words) * dice.choice((1, 500, 100_000))
    elif kind == "messages":
        message = {dice.choice(("role", "content", "name", "tool_calls")): dice.choice(_ODD)}
        body["messages"] = [{**body["messages"][0], **message}] * dice.choice((0, 1, 2, 2_000))
    if kind != "bytes":
        return kind, json.dumps(body).encode()
    raw = bytearray(json.dumps(body).encode())
    for _ in range(dice.choice((1, 5, 40))):
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return kind, dice.choice((bytes(raw), bytes(raw), b"[" * 100_000, b'{"a":' * 50_000, b"", b"null", b"\xff\xfe{"))


def url(dice: random.Random, picture: bytes) -> str:
    """Of no picture, a broken one, one whose header claims 60,000 x 60,000 pixels, or of another place."""
    at = picture.index(b"\xff\xc0") + 5
    bomb = picture[:at] + b"\xea\x60\xea\x60" + picture[at + 4 :]
    data = dice.choice((bomb, picture[: dice.randrange(len(picture))], b"", b"GIF89a", picture[::-1]))
    text = base64.b64encode(data).decode()
    places = ("http://127.0.0.1:1/x.png", "file:///etc/hostname", "data:image/png;base64,%%%", "data:,", "x" * 10_000)
    return dice.choice((f"data:image/jpeg;base64,{text}", f"data:image/jpeg;base64,{text}", *places))


def fuzz_vlm(folder: Path, given: Path | None, messages: int, seed: int, bound_s: float) -> dict[str, Any]:
    """Send them all, and see what came: counts by kind and status, and verdicts as benchmarks/fuzz.py has them."""
    engine = VlmEngine.open(open_bundle(given or random_bundle(BASE, folder / "vlm")), limits=LIMITS)
    out = io.BytesIO()
    Image.effect_noise((56, 56), 60).convert("RGB").save(out, "JPEG")
    answers: dict[str, Counter[str]] = {}
    slow, odd, slowest, memory = list[str](), set[str](), 0.0, list[float]()
    with openai_server(engine) as base:
        read_longest_prompt(base, engine.part.context_tokens)
        expected = ask(base, json.dumps(good()).encode(), 300.0)[1]["choices"]
        for number in tqdm(range(messages), disable=None):
            kind, body = wrong(seed, number, out.getvalue())
            began = time.perf_counter()
            status, said = ask(base, body, 2 * bound_s)
            seconds = time.perf_counter() - began
            slowest = max(slowest, seconds)
            if seconds > bound_s:
                slow.append(f"{kind} {seconds:.1f} s")
            if status >= 500 or (status >= 400 and set(said.get("error", {})) != {"message", "type", "param", "code"}):
                odd.add(f"{kind}: {status} {said!s:.200}")
            answers.setdefault(kind, Counter())["ok" if status == 200 else f"error {status}"] += 1
            if number % max(1, messages // 10) == 0:
                memory.append(resident_mb())
        same = ask(base, json.dumps(good()).encode(), 300.0)[1]["choices"] == expected
    verdicts = {
        "alive": (same, f"the same answer as before: {same}"),
        "answered": (not slow, f"slowest {slowest:.2f} s {slow[:5] or ''}"),
        "words": (not odd, f"{len(odd)} not foreseen {sorted(odd)[:3] or ''}"),
        "memory": (
            max(memory) / memory[0] - 1 <= MOST_GROWTH,
            f"{memory[0]:.0f} MB, then at most {max(memory):.0f}",
        ),
    }
    counts = {kind: dict(count) for kind, count in answers.items()}
    return {"messages": messages, "answers": counts, "memory_mb": memory, "verdicts": verdicts}


def read_longest_prompt(base: str, context_tokens: int) -> None:
    """What the longest prompt that is valid takes stays with ONNX Runtime, and is no leak: take it first."""
    body, word = good(), "{{ x }}"

    def used(times: int) -> int:
        body["messages"][0]["content"] = word * times
        return int(ask(base, json.dumps(body).encode(), 300.0)[1]["usage"]["prompt_tokens"])

    few, more = used(10), used(20)
    used(int((context_tokens - _TOKENS - few) / (more - few) * 10))


def resident_mb() -> float:
    """Of this process, which holds the server (proc(5))."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024


def ask(base: str, body: bytes, timeout_s: float) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a reply; {} for one that is no JSON object, such as a stream."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=timeout_s)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        found = json.loads(text) if text.startswith(b"{") else {}
        return reply.status, found
    except TimeoutError:
        return 599, {}
    finally:
        connection.close()
