"""A row's image paths as they are to be read from the folder of another data file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ganglion.core.tasks import Example, RowError

_MOST_PATH = 4096  # PATH_MAX of Linux; a longer text is no path


class Relocator:
    """Rewrites the texts of a row that name its images; what a task makes of other texts is copied beside the new file.

    Args:
        folder: what the row's image paths are relative to now.
        out: the folder that the row is to be read from.
        aside: where that folder is being made; images in it stay where they are.
    """

    def __init__(self, folder: Path, out: Path, aside: Path) -> None:
        self._folder, self._aside = folder, aside
        self._out = os.path.join(os.path.realpath(out.parent), out.name)

    def __call__(self, example: Example) -> tuple[dict[str, Any], list[str]]:
        """The row rewritten, and its images' paths relative to the new folder, in order.

        Raises:
            RowError: an embedded picture stands for a text, or the task looks for an image in a place of its own,
                outside of the row's folder.
        """
        if any(f"{self._aside}/" in turn.prompt + turn.answer for turn in example.turns):
            raise RowError("", "holds a picture where the task takes text", "name the columns to take")
        images = [path for turn in example.turns for path in turn.images]
        if not images:
            return dict(example.row), []
        moved = {path: self._moved(path) for path in dict.fromkeys(images)}
        named: set[Path] = set()
        row = self._rewritten(dict(example.row), moved, named)
        for path in moved:
            if path not in named:
                moved[path] = self._copied(path)
        return row, [moved[path] for path in images]

    def _moved(self, path: Path) -> str:
        if path.is_relative_to(self._aside):
            return str(path.relative_to(self._aside))
        return os.path.relpath(os.path.realpath(path), self._out)

    def _rewritten(self, value: Any, moved: dict[Path, str], named: set[Path]) -> Any:
        if isinstance(value, dict):
            return {key: self._rewritten(one, moved, named) for key, one in value.items()}
        if isinstance(value, list):
            return [self._rewritten(one, moved, named) for one in value]
        if isinstance(value, str) and 0 < len(value) < _MOST_PATH and (path := self._folder / value) in moved:
            named.add(path)
            return moved[path]
        return value

    def _copied(self, path: Path) -> str:
        """The image under the same relative path, beside the new file: where the task will look for it."""
        try:
            place = path.relative_to(self._folder)
        except ValueError:
            raise RowError("", f"{path} lies outside of {self._folder}", "put it beside the data") from None
        copy = self._aside / place
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return str(place)
