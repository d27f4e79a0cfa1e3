"""Computing the VL features that a cache lacks: which views those are, whose part they are, what a backbone sees."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ganglion.core.errors import GanglionError
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.views import EncodedViews, ViewProcessor
from ganglion.training.demonstrations.cutting import episode_views, view_images
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.feature_cache import SHARDS, CacheIndex, episode_key
from ganglion.training.demonstrations.feature_shards import ShardWriter, Span, find_views, gaps, open_shards
from ganglion.training.processes import is_main


@dataclass(frozen=True)
class Computing:
    """What is computed from what, and where it goes.

    out          folder of the cache
    index        of the cache
    episodes     the set
    batch_size   views per forward pass
    workers      processes that decode images
    shard_bytes  size of a shard's features
    """

    out: Path
    index: CacheIndex
    episodes: EpisodeSet
    batch_size: int
    workers: int
    shard_bytes: int


def missing_spans(out: Path, index: CacheIndex, episodes: EpisodeSet) -> list[Span]:
    """What the cache in `out` lacks of a set, in the set's order.

    Raises:
        InputError: an episode or a shard is damaged.
    """
    found = find_views(open_shards(out / SHARDS, index.backbone.vl_width, index.dtype))
    spans = []
    for number, name in enumerate(episodes.names):
        key = episode_key(episodes, name)
        if key in found:
            spans += [Span(key, len(found[key]), first, count) for first, count in gaps(found[key])]
        else:
            views = len(episode_views(episodes[number], episodes.robot).stamps_ns)
            spans.append(Span(key, views, 0, views))
    return spans


def share(spans: Sequence[Span], process: int, processes: int) -> list[Span]:
    """The part of a process: neighboring views, as many as every other's; episodes without any go to the first one."""
    total = sum(span.count for span in spans)
    begin, end = total * process // processes, total * (process + 1) // processes
    mine, start = [], 0
    for span in spans:
        low, high = max(begin - start, 0), min(end - start, span.count)
        if low < high or (not span.count and process == 0):
            mine.append(dataclasses.replace(span, first=span.first + low, count=max(high - low, 0)))
        start += span.count
    return mine


@torch.no_grad()
def compute(spans: Sequence[Span], job: Computing) -> None:
    """Write the features of views as shards.

    Raises:
        InputError: an image can't be decoded.
        GanglionError: a feature is not finite, or the disk is full.
    """
    facts = job.index.backbone
    writer = ShardWriter(job.out / SHARDS, job.shard_bytes, facts.vl_width, job.index.dtype)
    for span in spans:
        if not span.count:
            writer.add_empty(span)
    seen = [span for span in spans if span.count]
    if seen:
        backbone = Backbone(facts)
        batches = _Batches(seen, job.episodes, backbone.encode, job.batch_size)
        loader = DataLoader(batches, batch_size=None, num_workers=job.workers)
        with tqdm(total=batches.views, desc="views", disable=not (is_main() and sys.stderr.isatty())) as bar:
            for number, views in enumerate(loader):
                if isinstance(views, GanglionError):
                    raise views
                features, mask = backbone(views)
                batch = batches.rows(number)
                for (span, view), found in zip(batch, _stored(features, mask, job.index.dtype), strict=True):
                    _check_finite(found, job, span, view)
                    writer.add(span.of, span.views, view, found)
                bar.update(len(batch))
    writer.flush()


class _Batches(Dataset[EncodedViews | GanglionError]):
    """Views by the batch, as a backbone reads them; an error is passed on as it is, in place of a batch."""

    def __init__(self, spans: Sequence[Span], episodes: EpisodeSet, encode: ViewProcessor, size: int) -> None:
        self._spans, self._episodes, self._encode, self._size = spans, episodes, encode, size
        self._ends = list(itertools.accumulate(span.count for span in spans))
        self.views = self._ends[-1]
        self._numbers = {name: number for number, name in enumerate(episodes.names)}
        self._episode_views = functools.lru_cache(2)(lambda number: episode_views(episodes[number], episodes.robot))

    def __len__(self) -> int:
        return -(-self.views // self._size)

    def rows(self, number: int) -> list[tuple[Span, int]]:
        """The views of a batch."""
        first = number * self._size
        return [self._row(index) for index in range(first, min(first + self._size, self.views))]

    def __getitem__(self, number: int) -> EncodedViews | GanglionError:
        rows = self.rows(number)
        try:
            images = [self._images(span, view) for span, view in rows]
            return self._encode(images, [span.of.instruction for span, _ in rows])
        except GanglionError as error:
            return error

    def _row(self, index: int) -> tuple[Span, int]:
        at = bisect.bisect_right(self._ends, index)
        span = self._spans[at]
        return span, span.first + span.count - (self._ends[at] - index)

    def _images(self, span: Span, view: int) -> list[Image.Image]:
        number = self._numbers[span.of.episode]
        frames = self._episode_views(number).frames[view]
        where = f"{self._episodes.folder}: episode {span.of.episode}"
        return view_images(self._episodes[number], self._episodes.robot, frames, where)


def _stored(features: Tensor, mask: Tensor, dtype: torch.dtype) -> Sequence[Tensor]:
    """Each row's own tokens, (tokens, width) on the CPU."""
    return torch.split(features[mask].to(dtype).cpu(), mask.sum(1).tolist())


def _check_finite(features: Tensor, job: Computing, span: Span, view: int) -> None:
    if torch.isfinite(features).all():
        return
    computed, stored = job.index.backbone.vl_precision, job.index.stored
    option = "stored" if stored != computed else "precision"
    raise GanglionError(
        f"features computed in {computed} and stored as {stored} are not finite",
        where=f"{job.episodes.folder}: episode {span.of.episode}, view {view}",
        remedy=f"give --{option} bfloat16, or float32 where it is that already",
    )
