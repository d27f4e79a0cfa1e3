"""What several requests at once cost: written together, in turns, and by a thread each, in one run.

    OMP_NUM_THREADS=1 python benchmarks/vlm_batching.py [--quick] [--sizes 3m 120m] [--precisions float32 int8 int4]

Qwen2-VLs with random weights (benchmarks/random_vlm.py) answer text prompts of about 100 tokens with as many tokens as
--tokens says. Three ways, which take turns round by round:
- together: one decoder call a token for all answers; of `VlmEngine`, with `join_quantized` where that is needed.
- in turns: one decoder call a token for each, as many at once as there are cores: `VlmEngine`'s own choice for a
  quantized decoder.
- threads: a thread for each request, on the same sessions.
Tokens per second are of a whole round, its prompts included; time per token is between a token and the one before, as
their reader sees them. `same` is the share of answers that equal those of one request alone. A last table has an answer
that runs while a long prompt comes in: its longest wait for a token beside the time that the prompt takes to read.
Writes runs/benchmarks/vlm_batching.json (--out).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from random_vlm import random_model
from report import machine, make_parser, write_report
from tqdm import tqdm

from ganglion.core.bundle import Bundle, open_bundle, seal_bundle
from ganglion.core.manifest import FORMAT_VERSION, Manifest, VlmPart
from ganglion.serving.vlm.decoder import DecoderState
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.limits import ServingLimits
from ganglion.training.quiet import quiet

REQUESTS = (1, 2, 4, 8)
TOGETHER, IN_TURNS, THREADS = "together", "in turns", "threads"
KV_BYTES = 1 << 30  # so that memory bounds nothing here
LONG_PROMPT = "word " * 700


@dataclass
class Heard:
    """When the tokens of one answer came, in seconds since it was asked for."""

    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def __call__(self, tokens: Sequence[int]) -> None:
        """Tokens have come."""
        self.tokens += tokens
        self.times.append(time.perf_counter() - self.start)


def random_bundle(size: str, precision: str, graphs: Any, processor: Any, config: Any, folder: Path) -> Bundle:
    """A bundle of those graphs, with a tokenizer that has fewer tokens than they."""
    from ganglion.export.onnx_file import OPSET
    from ganglion.export.prompt_files import write_prompt_files
    from ganglion.model.processor import image_settings

    graphs.write(folder / "vlm", language=precision)
    write_prompt_files(processor, folder / "vlm")
    part = VlmPart(
        task="",
        model_type="qwen2_vl",
        base_id=f"random:{size}",
        base_hash="",
        adapter_hash="",
        image_token_id=config.image_token_id,
        eos_token_ids=(processor.tokenizer.eos_token_id,),
        context_tokens=config.get_text_config().max_position_embeddings,
        image_processor=image_settings(processor),
        precision={"language": precision, "vision": "float32"},
        opset=OPSET,
    )
    seal_bundle(folder, Manifest(FORMAT_VERSION, "benchmark", {}, {}, vlm=part))
    return open_bundle(folder)


def bundles(size: str, precisions: Sequence[str], folder: Path) -> dict[str, Bundle]:
    """One of each precision, of the same weights."""
    from ganglion.export.onnx_vlm import VlmGraphs
    from ganglion.model.checkpoint import checkpoint_folder, resolve_base
    from ganglion.model.processor import load_processor

    model = random_model(size)
    processor = load_processor(checkpoint_folder(resolve_base("offline:qwen2_vl?untrained")))
    graphs = VlmGraphs(model)
    return {
        precision: random_bundle(size, precision, graphs, processor, model.config, folder / f"{size}-{precision}")
        for precision in precisions
    }


def prompts(count: int) -> list[str]:
    """Of unequal lengths."""
    return [f"Case {k}: " + "what lies ahead of it? " * (3 + k % 5) for k in range(count)]


def ask_engine(engine: VlmEngine, asked: Sequence[str], tokens: int) -> list[Heard]:
    """All at once; the scheduler's thread writes them."""
    heard = [Heard() for _ in asked]
    for answering in [
        engine.ask([], prompt, max_new_tokens=tokens, on_tokens=one) for prompt, one in zip(asked, heard, strict=True)
    ]:
        answering.result.result()
    return heard


def ask_threads(engine: VlmEngine, asked: Sequence[str], tokens: int) -> list[Heard]:
    """All at once, each written by a thread of its own: greedy, on one token after the other."""
    heard = [Heard() for _ in asked]

    def write(prompt: str, one: Heard) -> None:
        ids, positions = engine._prompts.encode(prompt, np.zeros((0, 3), np.int64))
        state = DecoderState(engine._decoder)
        logits = state.read_prompt(ids, positions, None)
        while (token := int(logits.argmax())) not in engine.part.eos_token_ids:
            one([token])
            if len(one.tokens) == tokens:
                return
            logits = state.read([token])

    threads = [threading.Thread(target=write, args=pair) for pair in zip(asked, heard, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


def ways(bundle: Bundle, precision: str) -> dict[str, Callable[[Sequence[str], int], list[Heard]]]:
    """How requests can be answered, by name."""

    def asking(**options: Any) -> Callable[[Sequence[str], int], list[Heard]]:
        engine = VlmEngine.open(bundle, limits=ServingLimits(kv_bytes=KV_BYTES, **options))
        return lambda asked, tokens: ask_engine(engine, asked, tokens)

    plain = VlmEngine.open(bundle)
    made = {TOGETHER: asking(join_quantized=True), THREADS: lambda asked, tokens: ask_threads(plain, asked, tokens)}
    return made if precision == "float32" else {**made, IN_TURNS: asking()}


def rows_of(bundle: Bundle, precision: str, tokens: int, rounds: int) -> list[dict[str, Any]]:
    """Each way at each number of requests."""
    asked = prompts(max(REQUESTS))
    known = ways(bundle, precision)
    alone = [known[TOGETHER]([prompt], tokens)[0].tokens for prompt in asked]  # also warms up
    rows = []
    for count in REQUESTS:
        heard: dict[str, list[list[Heard]]] = {way: [] for way in known}
        for _ in tqdm(range(rounds), desc=f"{precision}, {count} requests", disable=None, leave=False):
            for way, ask in known.items():
                heard[way].append(ask(asked[:count], tokens))
        rows += [{"precision": precision, "way": way, "requests": count, **figures(heard[way], alone)} for way in known]
    return rows


def figures(rounds: Sequence[Sequence[Heard]], alone: Sequence[Sequence[int]]) -> dict[str, float]:
    """Median over rounds of tokens per second; of all tokens the quantiles."""
    rates = []
    for heard in rounds:
        begun, ended = min(one.start for one in heard), max(one.start + one.times[-1] for one in heard)
        rates.append(sum(len(one.tokens) for one in heard) / (ended - begun))
    gaps = np.concatenate([np.diff(one.times) for heard in rounds for one in heard]) * 1e3
    firsts = [one.times[0] * 1e3 for heard in rounds for one in heard]
    same = [one.tokens == alone[k] for heard in rounds for k, one in enumerate(heard)]
    return {
        "tokens_per_s": float(np.median(rates)),
        "token_p50_ms": float(np.quantile(gaps, 0.5)),
        "token_p99_ms": float(np.quantile(gaps, 0.99)),
        "first_token_p50_ms": float(np.median(firsts)),
        "same": float(np.mean(same)),
    }


def long_prompt(bundle: Bundle, precision: str, rounds: int) -> dict[str, Any]:
    """An answer that runs while a long prompt comes in."""
    engine = VlmEngine.open(bundle, limits=ServingLimits(kv_bytes=KV_BYTES))
    waits, reads, usual, length = [], [], [], 0
    for _ in range(rounds):
        heard = Heard()
        running = engine.ask([], "go", max_new_tokens=40, on_tokens=heard)
        while len(heard.times) < 5 and not running.result.done():
            time.sleep(0.001)
        late = engine.ask([], LONG_PROMPT, max_new_tokens=1)
        length = late.prompt_tokens
        reads.append(late.result.result().timings_ms["prompt"])
        running.result.result()
        gaps = np.diff(heard.times) * 1e3
        waits.append(gaps.max())
        usual.append(float(np.median(gaps)))
    return {
        "precision": precision,
        "prompt_tokens": length,
        "prompt_ms": float(np.median(reads)),
        "longest_wait_ms": float(np.median(waits)),
        "usual_wait_ms": float(np.median(usual)),
    }


def main() -> None:
    parser = make_parser(__doc__, "vlm_batching")
    parser.add_argument("--sizes", nargs="+", default=["3m", "120m"], help="of benchmarks/random_vlm.py")
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8", "int4"])
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of 16 tokens")
    options = parser.parse_args()
    tokens, rounds = (16, 1) if options.quick else (options.tokens, options.rounds)
    hardware = machine("onnxruntime")
    quiet()
    print("  ".join(f"{name} {value}" for name, value in hardware.items()))
    rows, prompts_read = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for size in options.sizes:
            print(f"\n{size:<6} {'precision':<9} {'way':<9} requests tokens/s   p50 ms   p99 ms first ms  same")
            for precision, bundle in bundles(size, options.precisions, Path(temporary)).items():
                for row in rows_of(bundle, precision, tokens, rounds):
                    rows.append({"size": size, **row})
                    cells = (
                        row[name] for name in ("tokens_per_s", "token_p50_ms", "token_p99_ms", "first_token_p50_ms")
                    )
                    numbers = " ".join(f"{cell:8.1f}" for cell in cells)
                    print(f"{'':<6} {precision:<9} {row['way']:<9} {row['requests']:>8} {numbers} {row['same']:5.2f}")
                prompts_read.append({"size": size, **long_prompt(bundle, precision, rounds)})
        print("\nan answer that runs while a long prompt comes in")
        for row in prompts_read:
            print(
                "  ".join(
                    f"{name} {value:.1f}" if isinstance(value, float) else f"{value}" for name, value in row.items()
                )
            )
    write_report(
        options.out,
        {"hardware": hardware, "tokens": tokens, "rounds": rounds, "rows": rows, "long_prompt": prompts_read},
    )


if __name__ == "__main__":
    main()
