"""Answers kept on disk while an evaluation runs, so that one that was interrupted goes on where it was.

answers-NAME.jsonl beside the report: {"key", "text"} a line, the key being a hash of the model and of what it was asked
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ganglion.core.bundle import sha256_file
from ganglion.core.errors import GanglionError
from ganglion.core.tasks import Example


class KeptAnswers:
    """The kept answers of one model to some examples: `known`, index of an example -> answer, as found on the disk.

    Args:
        file: where they are kept; it may be absent, or end in the middle of a line.
        identity: names the model and everything else that decides its answers.
        examples: what it is asked.
    """

    def __init__(self, file: Path, identity: str, examples: Sequence[Example]) -> None:
        self._file = file
        hash_of = functools.lru_cache(maxsize=2**14)(sha256_file)
        self._keys = [_key(identity, example, hash_of) for example in examples]
        texts = _read_whole_lines(file)
        self.known = {index: texts[key] for index, key in enumerate(self._keys) if key in texts}

    def keep(self, texts: Mapping[int, str]) -> None:
        """Add answers by index of their example; they are on the disk when this returns.

        Raises:
            GanglionError: the disk is full or the folder can't be written.
        """
        lines = "".join(json.dumps({"key": self._keys[index], "text": text}) + "\n" for index, text in texts.items())
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise GanglionError(
                f"can't write: {error.strerror}", where=self._file, remedy="free space or choose another --out"
            ) from error

    def remove(self) -> None:
        """Remove the file: the report has the answers now."""
        self._file.unlink(missing_ok=True)


def _read_whole_lines(file: Path) -> dict[str, str]:
    """Text by key; a line cut off by a crash is taken out of the file, so that the next one starts on its own."""
    texts: dict[str, str] = {}
    if not file.is_file():
        return texts
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(file, len(whole))
    for line in whole.splitlines():
        try:
            entry = json.loads(line)
            texts[str(entry["key"])] = str(entry["text"])
        except (ValueError, KeyError, TypeError):
            continue  # damaged: that answer is asked for again
    return texts


def _key(identity: str, example: Example, hash_of: Callable[[Path], str]) -> str:
    """Hash of a model and of all that it sees: prompts, images, and the answers of earlier turns."""
    seen = [[turn.prompt, [hash_of(image) for image in turn.images]] for turn in example.turns]
    said = [turn.answer for turn in example.history]
    return hashlib.sha256(json.dumps([identity, seen, said]).encode()).hexdigest()
