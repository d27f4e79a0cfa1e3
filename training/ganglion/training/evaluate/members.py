"""What is evaluated: one adapter, or an ensemble of them, a folder whose ensemble.json names the adapters in it.

ensemble.json: {"members": ["name", ...]}, each a subfolder that 'ganglion train sft' wrote
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.core.bundle import sha256_file
from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, Task, vote
from ganglion.training.evaluate.adapter import read_run

ENSEMBLE_FILE = "ensemble.json"
ADAPTER, VOTE, BASE = "adapter", "vote", "base"
# Names that a report gives to other columns and keys.
RESERVED = {ADAPTER, VOTE, BASE, "row", "turn", "images", "input", "prompt", "expected"}


@dataclass(frozen=True)
class Member:
    """One adapter.

    name    its column in a report
    folder  what 'train sft' wrote
    run     its run.json
    """

    name: str
    folder: Path
    run: dict[str, Any]

    @property
    def basis(self) -> tuple[Any, ...]:
        """Members for which this is equal can be put on one model in memory."""
        return tuple(self.run.get(key) for key in ("base", "base_hash", "quantization", "dtype", "max_pixels"))

    def identity(self, *, tuned: bool = True) -> str:
        """Sha256 (hex) over what decides the answers of this adapter, or of its untuned base.

        Raises:
            InputError: a file of the adapter is missing.
        """
        try:
            files = ("adapter_model.safetensors", "adapter_config.json") if tuned else ()
            hashes = [sha256_file(self.folder / name) for name in files]
        except OSError as error:
            raise InputError(f"can't be read ({error})", where=self.folder, remedy="train again") from None
        return hashlib.sha256(json.dumps([self.basis, hashes]).encode()).hexdigest()


def read_members(adapter: Path) -> list[Member]:
    """The adapter in that folder, named "adapter", or the members of the ensemble in it.

    Raises:
        InputError: it is neither, or the members do not answer the same task.
    """
    if not (adapter / ENSEMBLE_FILE).is_file():
        return [Member(ADAPTER, adapter, read_run(adapter))]
    members = [Member(name, adapter / name, read_run(adapter / name)) for name in _names(adapter / ENSEMBLE_FILE)]
    first = members[0]
    for member in members:
        if member.run["task"] != first.run["task"]:
            raise InputError(
                f"{member.name!r} answers {member.run['task']}, but {first.name!r} {first.run['task']}",
                where=adapter / ENSEMBLE_FILE,
                remedy="leave one out",
            )
    return members


def _names(file: Path) -> list[str]:
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["members"]
        fit = isinstance(names, list) and bool(names) and all(isinstance(name, str) and name for name in names)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        fit = False
    if not fit:
        raise InputError("names no members", where=file, remedy='write {"members": ["subfolder", ...]}')
    for index, name in enumerate(names):
        if name in RESERVED or name in names[:index] or Path(name).name != name or name == "..":
            raise InputError(
                f"member {name!r} is not a free name", where=file, remedy="rename it: one subfolder, named once"
            )
    return list(names)


def with_vote(
    task: Task, members: Sequence[Member], examples: Sequence[Example], answers: dict[str, list[str]]
) -> dict[str, list[str]]:
    """The answers by column in a report's order: members, their vote where it is an ensemble, the base."""
    names = [member.name for member in members]
    ordered = {name: answers[name] for name in names}
    if names != [ADAPTER]:
        said = zip(*ordered.values(), strict=True)
        ordered[VOTE] = [vote(task, example, texts) for example, texts in zip(examples, said, strict=True)]
    return ordered | {BASE: answers[BASE]} if BASE in answers else ordered
