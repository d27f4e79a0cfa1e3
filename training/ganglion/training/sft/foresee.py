"""`ganglion train sft --estimate`: what a run would take, from its options and the config of its base alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.images import upright_size
from ganglion.core.paths import write_json
from ganglion.core.tasks import Example, get_task
from ganglion.training.data.episodes import chosen
from ganglion.training.estimate import config_place, device_name, get_device, read_config, weights_dtype
from ganglion.training.processes import process_count
from ganglion.training.sft.config import SftConfig, singles
from ganglion.training.sft.estimate import Plan, estimate, estimate_lines, remedy


@dataclass(frozen=True)
class Rows:
    """What of the rows decides memory and time; the defaults stand in where there are no data yet.

    count   rows, None where that is not known
    images  of one row
    size    width and height of the largest image, pixels
    """

    count: int | None = None
    text_tokens: int = 256
    answer_tokens: int = 64
    images: int = 1
    size: tuple[int, int] = (640, 480)
    note: str = (
        "no data given: rows are taken to have 256 tokens of text, 64 of them the answer, and one 640 x 480 image"
    )


def foresee(config: SftConfig, out: Path) -> list[str]:
    """Lines for the terminal; the same as data goes to `out`.estimate.json.

    Raises:
        InputError: an option, a row or the base's config can't be used.
    """
    lines: list[str] = []
    found: list[dict[str, Any]] = []
    seen: list[tuple[str, Plan, Rows]] = []
    for single in singles(config):
        base = read_config(config_place(single.base))
        rows = _rows(single)
        plan = _plan(single, base, rows)
        if (single.base, plan, rows) in seen:
            continue
        seen.append((single.base, plan, rows))
        device = get_device(device_name(config.estimate_on), plan.dtype)
        made = estimate(base, plan, device)
        lines += [f"{single.base} on {device.name}: {rows.note}", *estimate_lines(made, remedy(base, made))]
        steps = _steps(single, rows)
        if steps:
            lines.append(f"{steps:,} steps: {steps * made.step_seconds / 3600:.2f} h without loading data")
        found.append({"base": single.base, "steps": steps, "rows": rows.count, "note": rows.note, **made.as_json()})
    path = out.with_name(f"{out.name}.estimate.json")
    write_json(path, found)
    return [*lines, f"written to {path}"]


def _plan(config: SftConfig, base: Any, rows: Rows) -> Plan:
    on_gpu = device_name(config.estimate_on) != "cpu"
    dtype = weights_dtype(base, on_gpu) if config.precision == "auto" else config.precision
    targets = config.lora.target_modules
    return Plan(
        quantization=config.quantization,
        dtype=dtype,
        autocast=on_gpu,
        lora_r=config.lora.r,
        lora_dropout=config.lora.dropout,
        target_modules=targets if isinstance(targets, str) else tuple(targets),
        adapt_vision=config.lora.vision,
        batch_size=config.batch_size,
        accumulation=config.accumulation,
        text_tokens=rows.text_tokens,
        answer_tokens=rows.answer_tokens,
        images=rows.images,
        image_size=rows.size,
        max_pixels=config.max_pixels,
        gradient_checkpointing=config.gradient_checkpointing,
        optimizer=config.optim.name,
        padded=not config.packing,
        world_size=process_count(),
    )


def _rows(config: SftConfig) -> Rows:
    if config.data is None:
        packed = Rows()
        if config.packing and config.max_length:
            return replace(packed, text_tokens=config.max_length, answer_tokens=config.max_length, images=0)
        return packed
    if config.task is None:
        raise InputError("no task given", remedy="add --task, e.g. --task exo_assist: it says how to read --data")
    task = get_task(config.task)
    examples = chosen(task, read_datafile(config.data, task), config.task_start, config.task_end)
    most, largest = _images(examples)
    text, answer, how = _lengths(config, examples)
    if config.packing and config.max_length:
        text = answer = config.max_length
    note = f"{len(examples)} rows of at most {text} tokens of text {how} and {most} images"
    return Rows(len(examples), text, answer, most, largest if most else (640, 480), note)


def _images(examples: Sequence[Example]) -> tuple[int, tuple[int, int]]:
    """Most images of a row, and the largest one's width and height."""
    most, largest = 0, (0, 0)
    size_of = functools.lru_cache(maxsize=2**14)(_size)
    for example in examples:
        paths = [path for turn in example.turns for path in turn.images]
        most = max(most, len(paths))
        largest = max(largest, *map(size_of, paths), key=lambda size: size[0] * size[1]) if paths else largest
    return most, largest


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return upright_size(image)


def _lengths(config: SftConfig, examples: Sequence[Example]) -> tuple[int, int, str]:
    """Tokens of the longest text, those from its first answer on, and how they are known."""
    from ganglion.model.dialogue.encoding import encode_text
    from ganglion.model.dialogue.images import ImageEncoder
    from ganglion.model.processor import load_processor
    from ganglion.training.quiet import quiet

    quiet()
    try:
        processor = load_processor(config_place(config.base), config.max_pixels)
    except GanglionError:
        text = max(sum(len(turn.prompt) + len(turn.answer) for turn in e.turns) for e in examples)
        answer = max(sum(len(turn.answer) for turn in e.turns) for e in examples)
        return text // 3 + 16, answer // 3 + 1, "(guessed at three letters a token: there is no tokenizer here)"
    reader = ImageEncoder(processor) if processor.image_token else None
    text = answer = 0
    for example in examples:
        found = encode_text(processor, example, reader, with_answer=True)
        text = max(text, len(found) - int(found.token_types.sum()))
        answer = max(answer, len(found) - found.answers[0][0])
    return text, answer, "(counted)"


def _steps(config: SftConfig, rows: Rows) -> int | None:
    if config.steps:
        return config.steps
    if rows.count is None:
        return None
    return int(config.epochs * -(-rows.count // (config.batch_size * config.accumulation * process_count())))
