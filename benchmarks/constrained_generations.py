"""A thousand answers of a random model within the schema of each task: is every one of them valid?

    OMP_NUM_THREADS=1 python benchmarks/constrained_generations.py [--count 1000] [--backends in-process openai]
    python benchmarks/constrained_generations.py --backends openai --url http://127.0.0.1:8000/v1 --model exo_assist

An untrained VLM answers synthetic prompts of each task that has a schema, its tokens drawn at temperature 1: it says
next to nothing that is valid without one (benchmarks/constrained_decoding.py). Each answer is read as strict JSON by
the schema (`jsonschema`, draft 2020-12), and by the task's own reader, as evaluation counts what is valid.

    in-process  VlmEngine
    openai      the OpenAI-compatible server around it, on a socket of this machine; with --url another server that
                speaks this protocol and draws at temperature 1 itself, such as vLLM or a VLM in Triton

Here, where the engine is greedy, drawing is the engine's own choice of the best of logits with Gumbel noise on them:
the same distribution (Maddison et al., "A* Sampling", 2014). Writes runs/benchmarks/constrained_generations.json
(--out); exit status 1 where an answer is not valid.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import functools
import itertools
import json
import logging
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from constrained_decoding import random_bundle, synthetic_examples, tasks
from report import machine, make_parser, write_report
from tqdm import tqdm

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import GanglionError
from ganglion.core.tasks import Example, Task, read_answer
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.grammar import Constraint
from ganglion.serving.vlm.limits import ServingLimits
from ganglion.training.quiet import quiet

AT_ONCE = 8  # as many as the engine joins
LIMITS = ServingLimits(running=AT_ONCE, waiting=AT_ONCE)
MODEL = "untrained"
TIMEOUT_S = 300.0
Ask = Callable[[Task, Example], str]


def main() -> int:
    parser = make_parser(__doc__, "constrained_generations")
    parser.add_argument("--count", type=int, default=1000, help="answers of each task from each backend (default 1000)")
    parser.add_argument("--backends", nargs="+", choices=("in-process", "openai"), default=["in-process", "openai"])
    parser.add_argument("--base", default="offline:qwen3_vl?untrained", help="the untrained model")
    parser.add_argument("--url", help="of another server's /v1, in the place of our own")
    parser.add_argument("--model", help="name of the model there")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.count < 1:
        parser.error("--count must be 1 or more")
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
    passed = all(row["valid"] == row["valid_by_task"] == row["answers"] for row in rows)
    write_report(options.out, {"hardware": hardware, "base": options.base, "rows": rows, "passed": passed})
    return 0 if passed else 1


def generations(folder: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row of each backend and task, printed as it comes."""
    examples = {task.name: synthetic_examples(task, 40, folder) for task in tasks()}
    bundle = open_bundle(random_bundle(options.base, folder / "bundle"))
    draw_at_temperature_1(options.seed)
    print(f"{'backend':<11} {'task':<12} {'answers':>7} {'valid':>6} {'by task':>7} {'different':>9} {'seconds':>8}")
    engine = VlmEngine.open(bundle, limits=LIMITS)
    for backend in options.backends:
        with asking(backend, engine, options) as ask:
            for task in tasks():
                row = {"backend": backend, **row_of(ask, task, examples[task.name], options.count)}
                print(
                    f"{backend:<11} {task.name:<12} {row['answers']:>7} {row['valid']:>6} {row['valid_by_task']:>7} "
                    f"{row['different']:>9} {row['seconds']:>8.0f}",
                    flush=True,
                )
                for text in row["invalid"]:
                    print(f"  {text!r:.300}")
                yield row


def row_of(ask: Ask, task: Task, examples: Sequence[Example], count: int) -> dict[str, Any]:
    """How many answers there were, how many are valid and different, and the first that are not valid."""
    assert task.schema is not None
    began = time.perf_counter()
    asked = list(itertools.islice(itertools.cycle(examples), count))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        texts = list(
            tqdm(pool.map(functools.partial(ask, task), asked), total=count, desc=task.name, disable=None, leave=False)
        )
    bad = [text for text in texts if read_answer(text, task.schema) is None]
    by_task = task.metrics(asked, texts)["json_valid_rate"]
    return {
        "task": task.name,
        "answers": count,
        "valid": count - len(bad),
        "different": len({*texts}),
        "valid_by_task": round(by_task * count),
        "seconds": time.perf_counter() - began,
        "invalid": bad[:3],
    }


def draw_at_temperature_1(seed: int) -> None:
    """Have the engine's choice of a token draw it: the best of logits with Gumbel noise on them."""
    best, random, lock = Constraint.choose, np.random.default_rng(seed), threading.Lock()

    def drawn(self: Constraint, logits: Any, closing: bool) -> int:
        with lock:
            noise = random.gumbel(size=len(logits)).astype(np.float32)
        return best(self, logits + noise, closing)

    Constraint.choose = drawn  # type: ignore[method-assign]


@contextmanager
def asking(backend: str, engine: VlmEngine, options: argparse.Namespace) -> Iterator[Ask]:
    """How a backend is asked."""
    if backend == "in-process":
        yield functools.partial(ask_engine, engine)
    elif options.url:
        yield functools.partial(ask_server, options.url, options.model, 1)
    else:
        with openai_server(engine) as url:
            yield functools.partial(ask_server, url, MODEL, 0)


def ask_engine(engine: VlmEngine, task: Task, example: Example) -> str:
    """The answer's text."""
    return engine.generate(example.images, example.prompt, schema=task.schema, max_new_tokens=task.max_new_tokens).text


def ask_server(url: str, model: str, temperature: int, task: Task, example: Example) -> str:
    """The answer's text, by OpenAI's protocol; an error of the server's is no answer, and so not valid."""
    images = [base64.b64encode(Path(str(image)).read_bytes()).decode() for image in example.images]
    content = [
        *({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}} for image in images),
        {"type": "text", "text": example.prompt},
    ]
    form = {"type": "json_schema", "json_schema": {"name": task.name, "schema": task.schema, "strict": True}}
    body = {"model": model, "messages": [{"role": "user", "content": content}], "temperature": temperature}
    body |= {"max_completion_tokens": task.max_new_tokens, "response_format": form}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            said: str = json.load(reply)["choices"][0]["message"]["content"]
            return said
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read()[:200]!r}"


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
