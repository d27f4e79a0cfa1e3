"""`ganglion data stats FILE --task TASK [--against OTHER] [--html PAGE.html]`: what a data file holds.

Lengths, balance, image sizes, rows and images that are there twice, and what the file shares with another. Of a set of
episodes (FOLDER instead of FILE): rates, gaps, ranges, sessions, what is wrong with it, what it shares with another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.findings import Finding, as_lines
from ganglion.core.paths import write_json
from ganglion.core.tasks import Example, Task, get_task
from ganglion.training.data.description.looks import Looks, Pairs, near, rows_with, same_before, same_in
from ganglion.training.data.description.measures import KeyMaker, balance, duplicates, found, leakage, lengths
from ganglion.training.data.description.text import as_text
from ganglion.training.demonstrations import summary
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.faults import find_faults, find_overlap
from ganglion.training.demonstrations.measures import measure_set

_OF_SETS = ("file", "against", "out")


@dataclass(frozen=True)
class StatsConfig:
    """Options of `ganglion data stats`."""

    file: Path
    """Data file: JSON, JSON Lines, CSV, or Arrow as an import writes it; or the folder of a set of episodes."""
    task: str | None = None
    """Task whose rows they are; default exo_assist. A set of episodes takes none."""
    against: Path | None = None
    """Another data file of the task, such as what was trained on: which rows does it have too? Of a set, another."""
    base: str | None = None
    """Model whose tokenizer counts tokens: a hub name, a checkpoint folder, or offline:qwen2_vl; default none."""
    out: Path | None = None
    """JSON file for all that is printed; default none."""
    html: Path | None = None
    """HTML page with all that is printed, sample rows and pictures; default none."""
    samples: int = 24
    """Rows that the page shows."""
    seed: int = 0
    """Decides which rows the page shows."""


def run(config: StatsConfig) -> None:
    """Count, print and, if asked to, write.

    Raises:
        InputError: an option is bad, or a file can't be read or has bad rows.
    """
    if config.file.is_dir():
        return _describe_set(config)
    if config.samples < 0:
        raise InputError(f"--samples is {config.samples}", remedy="give 0 or more")
    task = get_task(config.task or "exo_assist")
    rows = read_datafile(config.file, task)
    other = read_datafile(config.against, task) if config.against else None
    figures = _figures(config, task, rows, other)
    pairs = _compared(figures, rows, other)
    print(as_text(str(config.file), task.name, str(config.against), figures))
    if config.out:
        write_json(config.out, figures)
    if config.html:
        from ganglion.training.data.description.page import write_page

        title = {"file": config.file, "task": task.name, "against": config.against}
        write_page(config.html, title, figures, rows, pairs, samples=config.samples, seed=config.seed)
        print(f"page in {config.html}")


def _describe_set(config: StatsConfig) -> None:
    for field in fields(config):
        if field.name not in _OF_SETS and getattr(config, field.name) != field.default:
            raise InputError(f"--{field.name} means nothing for a set of episodes", remedy="leave it out")
    episodes = EpisodeSet(config.file)
    other = EpisodeSet(config.against) if config.against else None
    measured = measure_set(episodes)
    figures = summary.summarize(episodes.robot, measured)
    findings = find_faults(episodes.robot, measured)
    if other:
        findings += find_overlap(measured, measure_set(other, images=False))
    print("\n".join([f"{config.file}:", *summary.as_lines(figures), "", *_told(findings)]))
    if config.out:
        write_json(config.out, {**figures, "findings": [asdict(finding) for finding in findings]})


def _told(findings: Sequence[Finding]) -> list[str]:
    return list(as_lines(findings)) or ["nothing found wrong"]


def _figures(
    config: StatsConfig, task: Task, rows: Sequence[Example], other: Sequence[Example] | None
) -> dict[str, Any]:
    """Rows, characters, tokens (with a base), balance, duplicates, leakage (with another file)."""
    make_key = KeyMaker(task)
    keys = [make_key(example) for example in rows]
    figures: dict[str, Any] = {"rows": len(rows), "characters": lengths(rows, len)}
    if config.base:
        figures["tokens"] = lengths(rows, _token_counter(config.base))
    figures |= {"balance": balance(rows, task), "duplicates": duplicates(keys)}
    if other is not None:
        figures["leakage"] = leakage(keys, [make_key(example) for example in other])
    return figures


def _compared(figures: dict[str, Any], rows: Sequence[Example], other: Sequence[Example] | None) -> list[Pairs]:
    """Add what images tell, where there are some; returns the pairs of them that are alike."""
    own = Looks(rows)
    if not len(own):
        return []
    figures["images"] = own.summary()
    pairs = [
        Pairs("Images shown again", own, own, same_before(own), rows),
        Pairs("Images that look alike", own, own, near(own, own), rows),
    ]
    for name, pair in zip(("same_image", "near_image"), pairs, strict=True):
        figures["duplicates"][name] = found(rows_with(own, pair.found))
    if other is not None:
        there = Looks(other)
        like = near(own, there)
        figures["leakage"]["near_image"] = found(rows_with(own, like))
        pairs += [
            Pairs("Images that the other file has too", own, there, same_in(own, there), other),
            Pairs("Images that look like one of the other file", own, there, like, other),
        ]
    return pairs


def _token_counter(base: str) -> Callable[[str], int]:
    """Counts the text's own tokens, without those of the chat template and of images."""
    from ganglion.model.checkpoint import resolve_base
    from ganglion.model.processor import load_processor
    from ganglion.training.quiet import quiet

    quiet()
    tokenizer = load_processor(resolve_base(base), None).tokenizer
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
