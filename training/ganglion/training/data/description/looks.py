"""What the images of a data file look like, in a few bytes each: which ones are the same, and which nearly so."""

from __future__ import annotations

import functools
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganglion.core.bundle import sha256_file
from ganglion.core.images import upright
from ganglion.core.tasks import Example

_FILES_KEPT = 2**14
_MOST_BITS = 4  # of 64 in which two images that look alike may differ
_MOST_GRAY = 12  # of 255 by which their mean may differ: without it all plain surfaces would look alike
# 64 bits in five parts: of two hashes that differ in at most four bits, one part is equal.
_PARTS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
_SIZES_SHOWN = 12
_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
NONE = -1


class Looks:
    """The images of all rows, in order; 33 bytes of memory for each.

    rows     (images,) row that shows it
    place    (images,) which one of the row's images it is
    content  (images,) first 8 bytes of the file's sha256
    hash     (images,) difference hash: whether each of 8 x 8 points is darker than its right neighbor
    gray     (images,) mean gray
    sizes    "width x height" -> images
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        rows, places, content, hashes, grays = array("q"), array("i"), array("Q"), array("Q"), array("B")
        self.sizes: Counter[tuple[int, int]] = Counter()
        look_at = functools.lru_cache(maxsize=_FILES_KEPT)(_look_at)
        for row, example in enumerate(examples):
            for place, path in enumerate(images_of(example)):
                sha, dhash, gray, size = look_at(path)
                for column, value in zip(
                    (rows, places, content, hashes, grays), (row, place, sha, dhash, gray), strict=True
                ):
                    column.append(value)
                self.sizes[size] += 1
        self.rows, self.places = np.array(rows, np.int64), np.array(places, np.int32)
        self.content, self.hashes = np.array(content, np.uint64), np.array(hashes, np.uint64)
        self.grays = np.array(grays, np.int16)

    def __len__(self) -> int:
        return len(self.rows)

    def summary(self) -> dict[str, Any]:
        """How many images there are, how many differ in content, and the most frequent sizes."""
        common = self.sizes.most_common(_SIZES_SHOWN)
        return {
            "shown": len(self),
            "distinct": len(np.unique(self.content)),
            "sizes": {f"{width} x {height}": count for (width, height), count in common},
            "other_sizes": sum(self.sizes.values()) - sum(count for _, count in common),
        }


@dataclass(frozen=True)
class Pairs:
    """Images that another image equals or resembles.

    title  what they have in common
    own    the images of the file
    other  the images that they are like
    found  (images of own,) index in `other`, or NONE
    rows   the examples that `other` is of
    """

    title: str
    own: Looks
    other: Looks
    found: NDArray[np.int64]
    rows: Sequence[Example]


def images_of(example: Example) -> list[Path]:
    """All images of a row, in order."""
    return [path for turn in example.turns for path in turn.images]


def same_before(own: Looks) -> NDArray[np.int64]:
    """(images,) index of the first image with the same content where an earlier row has it, else NONE."""
    _, first, of_each = np.unique(own.content, return_index=True, return_inverse=True)
    found = first[of_each]
    return np.where(own.rows[found] < own.rows, found, NONE)


def same_in(own: Looks, other: Looks) -> NDArray[np.int64]:
    """(images,) index of an image in `other` with the same content, else NONE."""
    there, first = np.unique(other.content, return_index=True)
    place = np.minimum(np.searchsorted(there, own.content), max(len(there) - 1, 0))
    if not len(there):
        return np.full(len(own), NONE)
    return np.where(there[place] == own.content, first[place], NONE)


def near(own: Looks, other: Looks) -> NDArray[np.int64]:
    """(images,) index of the first image in `other` that looks alike but is another file, else NONE.

    With `other` the same as `own`, only images of earlier rows count.
    """
    first = np.full(len(own), len(other))
    for shift, width in _PARTS:
        mask = np.uint64((1 << width) - 1)
        there = (other.hashes >> np.uint64(shift)) & mask
        order = np.argsort(there, kind="stable")
        mine = (own.hashes >> np.uint64(shift)) & mask
        starts = np.searchsorted(there[order], mine, "left")
        ends = np.searchsorted(there[order], mine, "right")
        for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            candidates = order[start:end]
            candidates = candidates[: np.searchsorted(candidates, first[index])]
            if other is own:
                candidates = candidates[own.rows[candidates] < own.rows[index]]
            alike = candidates[_alike(own, index, other, candidates)]
            if len(alike):
                first[index] = alike[0]
    return np.where(first < len(other), first, NONE)


def _alike(own: Looks, index: int, other: Looks, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
    differing = other.hashes[candidates] ^ own.hashes[index]
    bits = _BITS[differing.view(np.uint8)].reshape(-1, 8).sum(1, dtype=np.int64)
    gray = np.abs(other.grays[candidates] - own.grays[index])
    another = other.content[candidates] != own.content[index]
    return np.asarray((bits <= _MOST_BITS) & (gray <= _MOST_GRAY) & another)


def rows_with(own: Looks, found: NDArray[np.int64]) -> list[int]:
    """Rows that have an image for which something was found, each once, in order."""
    return [int(row) for row in np.unique(own.rows[found != NONE])]


def _look_at(path: Path) -> tuple[int, int, int, tuple[int, int]]:
    with Image.open(path) as image:
        seen = upright(image)
    small = np.asarray(seen.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    dhash = int.from_bytes(np.packbits(bits).tobytes(), "big")
    return int(sha256_file(path)[:16], 16), dhash, round(float(small.mean())), seen.size
