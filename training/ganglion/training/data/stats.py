"""`ganglion data stats FILE --task TASK [--against OTHER]`: what a data file holds, and what it shares with another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.paths import write_json
from ganglion.core.tasks import get_task
from ganglion.training.data.measures import KeyMaker, balance, duplicates, leakage, lengths

_BAR = 40  # characters of the longest bar


@dataclass(frozen=True)
class StatsConfig:
    """Options of `ganglion data stats`."""

    file: Path
    """JSON list of rows."""
    task: str = "exo_assist"
    """Task whose rows they are."""
    against: Path | None = None
    """Another data file of the task, such as what was trained on: which rows does it have too?"""
    base: str | None = None
    """Model whose tokenizer counts tokens: a hub name, a checkpoint folder, or offline:qwen2_vl; default none."""
    out: Path | None = None
    """JSON file for all that is printed; default none."""


def run(config: StatsConfig) -> None:
    """Count, print and, if asked to, write.

    Raises:
        InputError: a file can't be read or has bad rows.
    """
    found = stats(config)
    print(_text(config, found))
    if config.out:
        write_json(config.out, found)


def stats(config: StatsConfig) -> dict[str, Any]:
    """All counts: rows, characters, tokens (with a base), balance, duplicates, leakage (with another file).

    Raises:
        InputError: as `run`.
    """
    task = get_task(config.task)
    examples = read_datafile(config.file, task)
    make_key = KeyMaker(task)
    keys = [make_key(example) for example in examples]
    found: dict[str, Any] = {"rows": len(examples), "characters": lengths(examples, len)}
    if config.base:
        found["tokens"] = lengths(examples, _token_counter(config.base))
    found |= {"balance": balance(examples, task), "duplicates": duplicates(keys)}
    if config.against:
        other = [make_key(example) for example in read_datafile(config.against, task)]
        found["leakage"] = leakage(keys, other)
    return found


def _token_counter(base: str) -> Callable[[str], int]:
    """Counts the text's own tokens, without those of the chat template and of images."""
    from ganglion.model.checkpoint import resolve_base
    from ganglion.model.processor import load_processor
    from ganglion.training.quiet import quiet

    quiet()
    tokenizer = load_processor(resolve_base(base), None).tokenizer
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(config: StatsConfig, found: Mapping[str, Any]) -> str:
    lines = [f"{config.file}: {found['rows']} rows of {config.task}"]
    for unit in ("characters", "tokens"):
        for part, measured in found.get(unit, {}).items():
            lines += ["", *_histogram(f"{part}, {unit}", measured)]
    for key, counts in found["balance"].items():
        lines += ["", key, *(f"  {count:>7}  {name}" for name, count in counts.items())]
    for title in ("duplicates", "leakage"):
        if title in found:
            lines += ["", f"{title} of {config.against}" if title == "leakage" else title]
            lines += [_rows(name.replace("_", " "), rows) for name, rows in found[title].items()]
    return "\n".join(lines)


def _histogram(title: str, measured: Mapping[str, Any]) -> list[str]:
    least, median, mean, largest = (measured[key] for key in ("least", "median", "mean", "largest"))
    most = max(count for _, _, count in measured["bins"])
    lines = [f"{title}: {least} to {largest}, median {median}, mean {mean:.1f}"]
    for low, high, count in measured["bins"]:
        lines.append(f"  {low:>6} to {high - 1:<6} {count:>7}  {'#' * round(_BAR * count / most)}".rstrip())
    return lines


def _rows(name: str, found: Mapping[str, Any]) -> str:
    shown = ", ".join(map(str, found["rows"])) + (", ..." if found["count"] > len(found["rows"]) else "")
    return f"  {found['count']:>7}  {name}" + (f" (row {shown})" if found["count"] else "")
