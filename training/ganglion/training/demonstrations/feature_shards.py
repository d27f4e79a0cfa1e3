"""VL features on disk: safetensors files, each with the features of many views end to end, and what they are of.

features  (tokens of all its views, width)
ends      (views,) int64, where each view's tokens end
spans     in the file's metadata: which views of which episodes, in order
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.model.tensor_file import open_tensors, write_tensors

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeKey:
    """What identifies an episode to a cache: its name in the set, its content's digest, and its instruction."""

    episode: str
    digest: str
    instruction: str


@dataclass(frozen=True)
class Span:
    """Neighboring views of one episode.

    of     the episode
    views  how many views it has in all
    first  the first one of these
    count  how many these are; none of an episode without any camera
    """

    of: EpisodeKey
    views: int
    first: int
    count: int


@dataclass(frozen=True)
class Shard:
    """One file, opened: see the module."""

    spans: tuple[Span, ...]
    features: Tensor
    ends: Ints

    def view(self, row: int) -> Tensor:
        """(tokens, width) of its view of that number; not a copy."""
        return self.features[int(self.ends[row - 1]) if row else 0 : int(self.ends[row])]


class ShardWriter:
    """Collects views and writes a shard whenever one is full.

    Args:
        folder: for the shards.
        limit_bytes: of a shard's features; one view alone may be larger.
        width: of the features.
        dtype: they are stored as.
    """

    def __init__(self, folder: Path, limit_bytes: int, width: int, dtype: torch.dtype) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._none = torch.zeros(0, width, dtype=dtype)
        self._spans: list[Span] = []
        self._features: list[Tensor] = []
        self._bytes = 0

    def add(self, of: EpisodeKey, views: int, view: int, features: Tensor) -> None:
        """One view's (tokens, width), on the CPU and of the type that is stored.

        Raises:
            GanglionError: a shard was full, and so is the disk.
        """
        if self._features and self._bytes + features.nbytes > self._limit:
            self.flush()
        last = self._spans[-1] if self._spans else None
        if last and last.of == of and view == last.first + last.count:
            self._spans[-1] = dataclasses.replace(last, count=last.count + 1)
        else:
            self._spans.append(Span(of, views, view, 1))
        self._features.append(features)
        self._bytes += features.nbytes

    def add_empty(self, span: Span) -> None:
        """Note an episode without views."""
        self._spans.append(span)

    def flush(self) -> None:
        """Write what there is.

        Raises:
            GanglionError: the disk is full or the folder can't be written.
        """
        if not self._spans:
            return
        features = torch.cat([self._none, *self._features])
        ends = torch.tensor([len(view) for view in self._features], dtype=torch.int64).cumsum(0)
        spans = json.dumps([dataclasses.asdict(span) for span in self._spans])
        name = hashlib.blake2b(spans.encode(), digest_size=8).hexdigest()
        write_tensors(self._folder / f"{name}.safetensors", {"features": features, "ends": ends}, {"spans": spans})
        self._spans, self._features, self._bytes = [], [], 0


def open_shards(folder: Path, width: int, dtype: torch.dtype) -> list[Shard]:
    """All shards of a folder.

    Raises:
        InputError: one is damaged, cut short or of something else.
    """
    return [_open_shard(path, width, dtype) for path in sorted(folder.glob("*.safetensors"))]


def find_views(shards: Sequence[Shard]) -> dict[EpisodeKey, Ints]:
    """Where each episode's views are: (views, 2), number of the shard and row in it; -1 where one is missing."""
    found: dict[EpisodeKey, Ints] = {}
    for number, shard in enumerate(shards):
        row = 0
        for span in shard.spans:
            places = found.setdefault(span.of, np.full((span.views, 2), -1))
            places[span.first : span.first + span.count, 0] = number
            places[span.first : span.first + span.count, 1] = np.arange(row, row + span.count)
            row += span.count
    return found


def gaps(places: Ints) -> Iterable[tuple[int, int]]:
    """First and count of each run of views that is missing."""
    edges = np.flatnonzero(np.diff(places[:, 0] < 0, prepend=False, append=False))
    return ((int(first), int(end - first)) for first, end in edges.reshape(-1, 2))


def _open_shard(path: Path, width: int, dtype: torch.dtype) -> Shard:
    tensors, about = open_tensors(path)
    try:
        spans = tuple(Span(**{**span, "of": EpisodeKey(**span["of"])}) for span in json.loads(about["spans"]))
        features, ends = tensors["features"], tensors["ends"].numpy()
        counts = np.diff(ends, prepend=0)
        if features.dtype != dtype or features.ndim != 2 or features.shape[1] != width:
            raise ValueError(f"features are {features.dtype} {tuple(features.shape)}, not {dtype} (tokens, {width})")
        if len(ends) != sum(span.count for span in spans) or (counts <= 0).any() or counts.sum() != len(features):
            raise ValueError("its views don't add up")
        if any(span.first + span.count > span.views for span in spans):
            raise ValueError("a span goes beyond its episode")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"is no shard of this cache ({error})", where=path, remedy="delete it and run 'ganglion cache' again"
        ) from None
    return Shard(spans, features, ends)
