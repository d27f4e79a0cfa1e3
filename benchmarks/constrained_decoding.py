"""What decoding within a schema costs and gives: every task's answers with its schema and without, in turn, in one run.

    OMP_NUM_THREADS=1 python benchmarks/constrained_decoding.py [--quick] [--bundle my/bundle]

Two speakers answer synthetic prompts of each task that has a schema:
- own: the model says what it says. Without --bundle it is untrained: without a schema nothing valid comes.
- learned: every pass of the decoder is run, but the token it chooses is that of the expected answer. The same text is
  written with the schema and without, so that times compare.
A second table has a vocabulary of 151,936 tokens, that of Qwen-VL, where a mask costs most: a synthetic tokenizer, no
decoder, and random logits in place of a model's own. Times are medians over answers, ratios medians over pairs of
neighboring answers. Grammars are compiled before, and that is told apart. Writes
runs/benchmarks/constrained_decoding.json (--out).
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import random
import string
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from decoding_probe import Probe, Trace
from PIL import Image
from report import machine, make_parser, write_report
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tqdm import tqdm

from ganglion.core.bundle import open_bundle, seal_bundle
from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.manifest import FORMAT_VERSION, Manifest, VlmPart
from ganglion.core.tasks import Example, Task, get_task, read_answer, task_names
from ganglion.serving.vlm.answering import VlmAnswer
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.grammar import GrammarCompiler
from ganglion.training.quiet import quiet

OWN, LEARNED, RANDOM = "own", "learned", "random"
VOCABULARY = 151_936
END = "<|end|>"


def tasks() -> list[Task]:
    """Those whose answers have a schema."""
    return [task for task in map(get_task, task_names()) if task.schema is not None]


def synthetic_examples(task: Task, count: int, folder: Path) -> list[Example]:
    """Rows as `ganglion data synth` makes them; noise and a bare question for a task that it has no rows for."""
    from ganglion.training.data.synth import SynthConfig
    from ganglion.training.data.synth import run as synth

    out = folder / task.name
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            synth(SynthConfig(task.name, out=out, count=count, seed=1))
    except InputError:
        out.mkdir(exist_ok=True)
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8))
        noise.save(out / "noise.png")
        return [Example((out / "noise.png",), f"Case {k}. Reply in JSON.", "", {}) for k in range(count)]
    (data,) = (path for path in out.iterdir() if path.stem == "data")
    return list(read_datafile(data, task))[:count]


def random_bundle(base: str, folder: Path) -> Path:
    """A bundle with the VLM of a base as it is, without an adapter."""
    import torch

    from ganglion.export.onnx_file import OPSET
    from ganglion.export.onnx_vlm import VlmGraphs
    from ganglion.export.prompt_files import write_prompt_files
    from ganglion.model.checkpoint import base_hash, resolve_base
    from ganglion.model.processor import image_settings, load_processor
    from ganglion.model.vlm import load_vlm

    path = resolve_base(base)
    model, processor = load_vlm(path, dtype=torch.float32).eval(), load_processor(path)
    VlmGraphs(model).write(folder / "vlm")
    write_prompt_files(processor, folder / "vlm")
    part = VlmPart(
        task="",
        model_type=model.config.model_type,
        base_id=base,
        base_hash=base_hash(path),
        adapter_hash="",
        image_token_id=model.config.image_token_id,
        eos_token_ids=(processor.tokenizer.eos_token_id,),
        context_tokens=model.config.get_text_config().max_position_embeddings,
        image_processor=image_settings(processor),
        precision={"language": "float32", "vision": "float32"},
        opset=OPSET,
    )
    seal_bundle(folder, Manifest(FORMAT_VERSION, "benchmark", {}, {}, vlm=part))
    return folder


def timed_ms(call: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def median(values: Iterator[float]) -> float:
    """Of at least one value."""
    return float(np.median(list(values)))


class Asker:
    """Asks one engine, with the probe's clocks."""

    def __init__(self, engine: VlmEngine, probe: Probe) -> None:
        self.engine, self._probe = engine, probe

    def ask(self, task: Task, example: Example, speaker: str, constrained: bool) -> tuple[VlmAnswer, Trace]:
        """One answer, and what its parts took."""
        schema = task.schema if constrained else None
        dictated = None
        if speaker == LEARNED:
            tokenizer = self.engine._prompts.tokenizer
            dictated = [*tokenizer.encode(example.answer).ids, self.engine.part.eos_token_ids[0]]
        # What a grammar forces first is read along with the prompt.
        ahead = len(self.engine._grammars.start(schema).forced()) if schema else 0
        self._probe.trace = trace = Trace(dictated, ahead)
        answer = self.engine.generate(
            example.images,
            example.prompt,
            schema=schema,
            max_new_tokens=task.max_new_tokens,
            history=example.history,
        )
        return answer, trace


def row_of_answers(asker: Asker, task: Task, speaker: str, examples: Sequence[Example]) -> dict[str, Any]:
    """Answers with and without the schema, taking turns; which comes first takes turns too."""
    assert task.schema is not None
    pairs = []
    for number, example in enumerate(tqdm(examples, desc=f"{task.name}, {speaker}", disable=None, leave=False)):
        order = (False, True) if number % 2 else (True, False)
        found = {constrained: asker.ask(task, example, speaker, constrained) for constrained in order}
        if number:  # the first pair warms up
            pairs.append((*found[False], *found[True]))

    def per_token(answer: VlmAnswer) -> float:
        return answer.timings_ms["decode"] / len(answer.tokens)

    def valid(answer: VlmAnswer) -> bool:
        return read_answer(answer.text, task.schema or {}) is not None

    return {
        "task": task.name,
        "speaker": speaker,
        "answers": len(pairs),
        "json_valid_rate_free": sum(valid(free) for free, *_ in pairs) / len(pairs),
        "json_valid_rate": sum(valid(bound) for *_, bound, _ in pairs) / len(pairs),
        "tokens_free": median(len(free.tokens) for free, *_ in pairs),
        "tokens": median(len(bound.tokens) for *_, bound, _ in pairs),
        "forced_share": 1 - sum(trace.chosen for *_, trace in pairs) / sum(len(bound.tokens) for *_, bound, _ in pairs),
        "grammar_ms_per_token": median(trace.grammar_ms / len(bound.tokens) for *_, bound, trace in pairs),
        "decoder_ms_per_token": median(trace.decoder_ms / len(bound.tokens) for *_, bound, trace in pairs),
        "decoder_ms_per_token_free": median(trace.decoder_ms / len(free.tokens) for free, trace, *_ in pairs),
        "ratio_per_token": median(per_token(bound) / per_token(free) for free, _, bound, _ in pairs),
        "ratio_of_answers": median(bound.timings_ms["total"] / free.timings_ms["total"] for free, _, bound, _ in pairs),
    }


def large_tokenizer(size: int = VOCABULARY) -> Tokenizer:
    """Byte-level BPE of `size` tokens: bytes, marks of JSON, words of up to four letters with and without a space."""
    vocabulary = {sign: index for index, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []

    def add(left: str, right: str) -> None:
        if left + right not in vocabulary:
            vocabulary[left + right] = len(vocabulary)
            merges.append((left, right))

    for marks in ('":', '",', '{"', '"}', "},", "]}", "],", "}}", '"]', 'Ġ"', "Ġ{", "Ġ["):
        add(*marks)
    add('"', "}}")
    letters = string.ascii_lowercase
    words = ["", "Ġ"]
    for _ in range(3):
        words = [word + letter for word in words for letter in letters]
        for word in words:
            if len(word) > 1:
                add(word[:-1], word[-1])
    longer = [word + letter for word in words for letter in letters]
    for word in random.Random(0).sample(longer, size - 1 - len(vocabulary)):
        add(word[:-1], word[-1])
    vocabulary[END] = size - 1
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.add_special_tokens([END])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def row_of_vocabulary(
    grammars: GrammarCompiler, tokenizer: Tokenizer, probe: Probe, task: Task, speaker: str, examples: Sequence[Example]
) -> dict[str, Any]:
    """The grammar alone, step by step as the engine takes it; logits are random or say the expected answer."""
    assert task.schema is not None
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(grammars.vocabulary).astype(np.float32) for _ in range(16)]
    found, free_ms, valid = [], [], 0
    for example in examples:
        dictated = tokenizer.encode(example.answer).ids if speaker == LEARNED else None
        probe.trace = trace = Trace()
        constraint, tokens = grammars.start(task.schema), list[int]()
        for step in itertools.count():
            tokens += constraint.forced()
            if constraint.complete:
                break
            logits = noise[step % len(noise)]
            if dictated:
                logits = np.zeros(grammars.vocabulary, np.float32)
                logits[dictated[len(tokens)]] = 1
            free_ms.append(timed_ms(logits.argmax))
            token = constraint.choose(logits, closing=len(tokens) >= task.max_new_tokens)
            constraint.take([token])
            tokens.append(token)
        found.append((trace, len(tokens)))
        valid += read_answer(tokenizer.decode(tokens), task.schema) is not None
    return {
        "task": task.name,
        "speaker": speaker,
        "answers": len(found),
        "json_valid_rate": valid / len(found),
        "tokens": median(tokens for _, tokens in found),
        "forced_share": 1 - sum(trace.chosen for trace, _ in found) / sum(tokens for _, tokens in found),
        "grammar_ms_per_token": median(trace.grammar_ms / tokens for trace, tokens in found),
        "grammar_ms_per_choice": median(trace.grammar_ms / trace.chosen for trace, _ in found),
        "mask_ms_per_choice": median(trace.mask_ms / trace.chosen for trace, _ in found),
        "argmax_ms": median(iter(free_ms)),
    }


def compile_times(grammars: GrammarCompiler, task: Task) -> dict[str, float]:
    """Milliseconds of a grammar's first use, and of later ones, which copy it."""
    assert task.schema is not None
    grammars.start({"const": 0})  # the library warms up
    start = functools.partial(grammars.start, task.schema)
    return {"compile_ms": timed_ms(start), "start_ms": median(timed_ms(start) for _ in range(20))}


def print_table(rows: Sequence[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> None:
    """One line a row; columns: key -> title and format."""
    wide = {key: max(len(title), 8) for key, (title, _) in columns.items()}
    print(f"\n{'task':<12} {'speaker':<8} " + " ".join(f"{columns[key][0]:>{wide[key]}}" for key in columns))
    for row in rows:
        cells = (f"{row[key]:>{wide[key]}{form}}" for key, (_, form) in columns.items())
        print(f"{row['task']:<12} {row['speaker']:<8} " + " ".join(cells))


ANSWERS = {
    "json_valid_rate_free": ("valid, free", ".2f"),
    "json_valid_rate": ("valid", ".2f"),
    "tokens_free": ("tokens, free", ".0f"),
    "tokens": ("tokens", ".0f"),
    "forced_share": ("forced", ".2f"),
    "grammar_ms_per_token": ("grammar ms/token", ".3f"),
    "decoder_ms_per_token": ("decoder ms/token", ".3f"),
    "decoder_ms_per_token_free": ("free", ".3f"),
    "ratio_per_token": ("ratio, token", ".2f"),
    "ratio_of_answers": ("ratio, answer", ".2f"),
    "compile_ms": ("compile ms", ".1f"),
    "start_ms": ("start ms", ".3f"),
}
LARGE = {
    "json_valid_rate": ("valid", ".2f"),
    "tokens": ("tokens", ".0f"),
    "forced_share": ("forced", ".2f"),
    "grammar_ms_per_token": ("grammar ms/token", ".3f"),
    "grammar_ms_per_choice": ("ms/choice", ".3f"),
    "mask_ms_per_choice": ("of it mask", ".3f"),
    "argmax_ms": ("argmax ms", ".3f"),
    "compile_ms": ("compile ms", ".1f"),
    "start_ms": ("start ms", ".3f"),
}


def main() -> None:
    parser = make_parser(__doc__, "constrained_decoding")
    parser.add_argument("--bundle", type=Path, help="a bundle with a VLM; default: --base, without an adapter")
    parser.add_argument("--base", default="offline:qwen3_vl?untrained", help="exported where no bundle is given")
    parser.add_argument("--count", type=int, default=40, help="prompts of each task, each answered four times")
    parser.add_argument("--quick", action="store_true", help="six prompts of each task")
    options = parser.parse_args()
    hardware = machine("onnxruntime", "llguidance")
    quiet()
    logging.disable(logging.WARNING)
    count = 6 if options.quick else options.count
    probe = Probe()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        examples = {task.name: synthetic_examples(task, count, folder) for task in tasks()}
        bundle = open_bundle(options.bundle or random_bundle(options.base, folder / "bundle"))
        asker = Asker(VlmEngine.open(bundle), probe)
        times = {task.name: compile_times(asker.engine._grammars, task) for task in tasks()}
        rows = [
            {**row_of_answers(asker, task, speaker, examples[task.name]), **times[task.name]}
            for task in tasks()
            for speaker in (OWN, LEARNED)
            if speaker == OWN or examples[task.name][0].answer
        ]
    tokenizer = large_tokenizer()
    start = time.perf_counter()
    grammars = GrammarCompiler(tokenizer, VOCABULARY, [VOCABULARY - 1])
    open_ms = (time.perf_counter() - start) * 1e3
    times = {task.name: compile_times(grammars, task) for task in tasks()}
    large = [
        {**row_of_vocabulary(grammars, tokenizer, probe, task, speaker, examples[task.name]), **times[task.name]}
        for task in tasks()
        for speaker in (RANDOM, LEARNED)
        if speaker == RANDOM or examples[task.name][0].answer
    ]
    part = bundle.manifest.vlm
    assert part is not None
    facts = {
        "model": part.base_id,
        "vocabulary": asker.engine._grammars.vocabulary,
        "hardware": hardware,
    }
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    print_table(rows, ANSWERS)
    print(f"\n{VOCABULARY:,} tokens, no decoder; reading the tokenizer took {open_ms:.0f} ms")
    print_table(large, LARGE)
    large_facts = {"vocabulary": VOCABULARY, "open_ms": open_ms, "rows": large}
    write_report(options.out, {**facts, "rows": rows, "large_vocabulary": large_facts})


if __name__ == "__main__":
    main()
