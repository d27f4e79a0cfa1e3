"""A thousand answers of a random model within the schema of each task: is every one of them valid?

    OMP_NUM_THREADS=1 python benchmarks/constrained_generations.py [--count 1000] [--backends in-process openai triton]
    python benchmarks/constrained_generations.py --backends openai --url http://127.0.0.1:8000/v1 --model exo_assist
    python benchmarks/constrained_generations.py --count 0 --schemas ../shared/data/jsonschemabench/schemas.jsonl

An untrained VLM answers synthetic prompts of each task that has a schema, its tokens drawn at temperature 1: it says
next to nothing that is valid without one (benchmarks/constrained_decoding.py). Each answer is read as strict JSON by
the schema (`jsonschema`, draft 2020-12), and by the task's own reader, as evaluation counts what is valid. --schemas
adds an answer within each schema of a file, {"schema": ...} a line, such as those of guidance-ai/jsonschemabench: a
backend may refuse one before it writes (refused), and an answer may be cut where the least of it is too long (cut).

    in-process  VlmEngine
    openai      the OpenAI-compatible server around it, on a socket of this machine; with --url another server that
                speaks this protocol and draws at temperature 1 itself, such as vLLM
    triton      `ganglion serve vlm --backend triton`

In the engine, which is greedy, drawing is its own choice of the best of logits with Gumbel noise on them: the same
distribution (Maddison et al., "A* Sampling", 2014). Writes
runs/benchmarks/constrained_generations.json (--out); exit status 1 where an answer is not valid.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import functools
import itertools
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from constrained_decoding import random_bundle, synthetic_examples, tasks
from drawing import draw_at_temperature_1
from policy_server import add_server_options
from report import machine, make_parser, write_report
from serving import HERE, environment, free_port
from tqdm import tqdm

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.tasks import Example
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.limits import ServingLimits
from ganglion.training.quiet import quiet

AT_ONCE = 8  # as many as the engine joins
LIMITS = ServingLimits(running=AT_ONCE, waiting=AT_ONCE)
MODEL = "untrained"
TIMEOUT_S = 300.0
_SCHEMA_TOKENS = 400  # of an answer within one of --schemas
WRITTEN, CUT, REFUSED = "written", "cut", "refused"


@dataclass(frozen=True)
class Case:
    """A question, and what its answer is held to."""

    example: Example
    schema: dict[str, Any]
    max_new_tokens: int


Said = tuple[str, str]
"""The answer's text, and whether it was WRITTEN to its end, CUT, or REFUSED; an error's text where it failed."""
Ask = Callable[[Case], Said]


def main() -> int:
    parser = make_parser(__doc__, "constrained_generations")
    parser.add_argument("--count", type=int, default=1000, help="answers of each task from each backend (default 1000)")
    parser.add_argument("--backends", nargs="+", choices=("in-process", "openai", "triton"), default=["in-process"])
    parser.add_argument("--schemas", type=Path, help="file with further schemas, one answer each")
    parser.add_argument("--base", default="offline:qwen3_vl?untrained", help="the untrained model")
    parser.add_argument("--url", help="of another server's /v1, in the place of our own")
    parser.add_argument("--model", help="name of the model there")
    parser.add_argument("--seed", type=int, default=0)
    add_server_options(parser)
    options = parser.parse_args()
    if options.count < 0 or not (options.count or options.schemas):
        parser.error("--count must be 1 or more, or 0 beside --schemas")
    if (options.url is None) != (options.model is None):
        parser.error("--url and --model belong together")
    hardware = machine("onnxruntime", "llguidance", "jsonschema")
    quiet()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            rows = list(generations(Path(temporary), options))
        except GanglionError as error:
            parser.error(str(error))
    passed = all(row["passed"] for row in rows)
    write_report(options.out, {"hardware": hardware, "base": options.base, "rows": rows, "passed": passed})
    return 0 if passed else 1


def generations(folder: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row of each backend and set of cases, printed as it comes."""
    examples = {task.name: synthetic_examples(task, 40, folder) for task in tasks()}
    bundle = open_bundle(random_bundle(options.base, folder / "bundle"))
    draw_at_temperature_1(options.seed)
    shown = ("answers", "valid", "cut", "refused", "different", "seconds")
    print(f"{'backend':<11} {'of':<16} " + " ".join(f"{name:>9}" for name in shown))
    engine = VlmEngine.open(bundle, limits=LIMITS)
    for backend in options.backends:
        with asking(backend, engine, bundle, folder, options) as ask:
            for row in rows_of(ask, examples, options):
                print(f"{backend:<11} {row['of']:<16} " + " ".join(f"{row[name]:>9.0f}" for name in shown), flush=True)
                for text in row["invalid"]:
                    print(f"  {text!r:.300}")
                yield {"backend": backend, **row}


def rows_of(
    ask: Ask, examples: Mapping[str, Sequence[Example]], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """What one backend says to each task's cases, and to those of --schemas."""
    for task in tasks() if options.count else ():
        assert task.schema is not None
        asked = list(itertools.islice(itertools.cycle(examples[task.name]), options.count))
        cases = [Case(example, dict(task.schema), task.max_new_tokens) for example in asked]
        row, texts = row_of(ask, task.name, cases)
        by_task = round(task.metrics(asked, texts)["json_valid_rate"] * options.count)
        yield {**row, "valid_by_task": by_task, "passed": row["valid"] == by_task == options.count}
    if options.schemas:
        schemas = [json.loads(line)["schema"] for line in options.schemas.read_text(encoding="utf-8").splitlines()]
        cases = [
            Case(Example((), f"Case {number}. Reply in JSON.", "", {}), schema, _SCHEMA_TOKENS)
            for number, schema in enumerate(schemas)
        ]
        row, _ = row_of(ask, options.schemas.parent.name, cases)
        yield {**row, "passed": row["valid"] + row["cut"] + row["refused"] == len(cases)}


def row_of(ask: Ask, of: str, cases: Sequence[Case]) -> tuple[dict[str, Any], list[str]]:
    """How many answers there were, how many are valid and different, the first that are not valid; and the answers."""
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(tqdm(pool.map(ask, cases), total=len(cases), desc=of, disable=None, leave=False))
    counts = Counter(how for _, how in said)
    bad = [
        (how, text)
        for case, (text, how) in zip(cases, said, strict=True)
        if how not in (CUT, REFUSED) and not is_valid(text, case.schema)
    ]
    row = {
        "of": of,
        "answers": len(cases),
        "valid": len(cases) - len(bad) - counts[CUT] - counts[REFUSED],
        "cut": counts[CUT],
        "refused": counts[REFUSED],
        "different": len({text for text, _ in said}),
        "seconds": time.perf_counter() - began,
        "invalid": bad[:3],
    }
    return row, [text for text, _ in said]


def is_valid(text: str, schema: dict[str, Any]) -> bool:
    """Strict JSON by the schema, in the draft that it names."""
    try:
        read = json.loads(text)
    except ValueError:
        return False
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return bool(kind(schema, format_checker=kind.FORMAT_CHECKER).is_valid(read))


@contextmanager
def asking(backend: str, engine: VlmEngine, bundle: Bundle, folder: Path, options: argparse.Namespace) -> Iterator[Ask]:
    """How a backend is asked."""
    if backend == "in-process":
        yield functools.partial(ask_engine, engine)
    elif backend == "triton":
        with triton_server(bundle.root, folder, options) as url:
            yield functools.partial(ask_triton, url)
    elif options.url:
        yield functools.partial(ask_openai, options.url, options.model, 1)
    else:
        with openai_server(engine) as url:
            yield functools.partial(ask_openai, url, MODEL, 0)


def ask_engine(engine: VlmEngine, case: Case) -> Said:
    """Here."""
    example = case.example
    try:
        answer = engine.generate(example.images, example.prompt, schema=case.schema, max_new_tokens=case.max_new_tokens)
    except InputError:
        return "", REFUSED
    return answer.text, WRITTEN if answer.complete else CUT


def ask_openai(url: str, model: str, temperature: int, case: Case) -> Said:
    """By OpenAI's protocol."""
    content = [
        *(
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
            for image in in_base64(case.example)
        ),
        {"type": "text", "text": case.example.prompt},
    ]
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": case.schema, "strict": True}}
    body = {"model": model, "messages": [{"role": "user", "content": content}], "temperature": temperature}
    body |= {"max_completion_tokens": case.max_new_tokens, "response_format": form}
    reply = post(f"{url}/chat/completions", body)
    if isinstance(reply, tuple):
        return reply
    choice = reply["choices"][0]
    return choice["message"]["content"] or "", CUT if choice["finish_reason"] == "length" else WRITTEN


def ask_triton(url: str, case: Case) -> Said:
    """By Triton's generate."""
    body = {"text_input": case.example.prompt, "schema": json.dumps(case.schema), "max_tokens": case.max_new_tokens}
    if images := in_base64(case.example):
        body["image"] = images
    reply = post(url, body)
    if isinstance(reply, tuple):
        return reply
    return reply["text_output"], CUT if reply["finish_reason"] == "length" else WRITTEN


def in_base64(example: Example) -> list[str]:
    """Its images."""
    return [base64.b64encode(Path(str(image)).read_bytes()).decode() for image in example.images]


def post(url: str, body: dict[str, Any]) -> Any:
    """What a server answers; as `Said` where that is an error."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        said = error.read()[:200].decode(errors="replace")
        return said, REFUSED if error.code == 400 else f"status {error.code}"


@contextmanager
def triton_server(bundle: Path, folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """`ganglion serve vlm --backend triton`, until left; the URL of its model's generate."""
    http, grpc, metrics = free_port(), free_port(), free_port()
    command = [sys.executable, str(HERE / "drawing.py"), str(options.seed), "serve", "vlm", str(bundle)]
    command += ["--backend", "triton"]
    command += ["--port", str(http), "--triton.grpc_port", str(grpc), "--triton.metrics_port", str(metrics)]
    command += ["--triton.log", str(folder / "triton.log"), "--local.log_json", str(folder / "events.jsonl")]
    command += ["--local.running", str(AT_ONCE), "--local.waiting", str(AT_ONCE)]
    if options.tritonserver:
        command += ["--triton.tritonserver", str(options.tritonserver)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = [process.stdout.readline() for _ in range(7)]
        if not said[-1]:
            raise SystemExit(f"the server did not come up: {''.join(said)}".strip())
        yield f"http://127.0.0.1:{http}/v2/models/vlm/generate"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def openai_server(engine: VlmEngine) -> Iterator[str]:
    """Ours around the engine, until left; its /v1."""
    import uvicorn

    from ganglion.serving.openai.app import make_app
    from ganglion.serving.openai.settings import ServerSettings

    app = make_app(engine, MODEL, limits=LIMITS, settings=ServerSettings(), token=None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
