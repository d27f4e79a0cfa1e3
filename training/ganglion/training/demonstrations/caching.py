"""`ganglion cache SET`: VL features of every view of a set, once; under torchrun each process computes its part.

Killed at any moment and given again, the command goes on behind the last whole shard; where episodes were added or
changed it computes those.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ganglion.core.errors import InputError
from ganglion.core.paths import clear_aside, write_json
from ganglion.training.demonstrations.cache_config import CacheConfig, check
from ganglion.training.locking import lock, open_lock
from ganglion.training.processes import is_main, join, main_first, process_count, process_number, wait_for_all

if TYPE_CHECKING:
    from ganglion.training.demonstrations.episode_set import EpisodeSet
    from ganglion.training.demonstrations.feature_cache import CacheIndex


def run(config: CacheConfig) -> None:
    """Compute what is missing, and say how many views there are.

    Raises:
        InputError: an option is bad, the set or the base can't be used, an image can't be decoded, or the folder holds
            features of something else.
        GanglionError: a feature is not finite, or the disk is full.
    """
    check(config)
    import torch

    from ganglion.training.demonstrations.computing import Computing, compute, missing_spans, share

    if config.threads:
        torch.set_num_threads(config.threads)
    join(cpu=not torch.cuda.is_available())
    with main_first():  # which alone says what is wrong
        episodes, index = _open(config)
        data = config.data.resolve()
        out = config.out or data.with_name(f"{data.name}.features")
        held = _claim(out, index, config.force)
    with held:
        left = missing_spans(out, index, episodes)
        wait_for_all()  # each knows what is missing now: from here on there is ever less
        mine = share(left, process_number(), process_count())
        compute(mine, Computing(out, index, episodes, config.batch_size, config.workers, int(config.shard_mb * 2**20)))
    count, computed = (sum(span.count for span in spans) for spans in (left, mine))
    by = f" by process {process_number()} of {process_count()}" if process_count() > 1 else ""
    if count or is_main():
        print(f"{out}: {len(episodes)} episodes, {count} views were missing, {computed} computed{by}")


def _open(config: CacheConfig) -> tuple[EpisodeSet, CacheIndex]:
    """The set, and what its cache should be of."""
    from ganglion.model.backbone.facts import describe_backbone
    from ganglion.training.demonstrations.episode_set import EpisodeSet
    from ganglion.training.demonstrations.feature_cache import CacheIndex, cameras_of

    episodes = EpisodeSet(config.data)
    if not episodes.robot.cameras:
        raise InputError("is of a robot without cameras", where=config.data, remedy="it needs no cache")
    backbone = describe_backbone(config.base, config.layer, max_pixels=config.max_pixels, precision=config.precision)
    stored = backbone.vl_precision if config.stored == "auto" else config.stored
    return episodes, CacheIndex(backbone, stored, cameras_of(episodes.robot))


def _claim(out: Path, index: CacheIndex, force: bool) -> IO[str]:
    """Make `out` the cache of `index` for the processes of this run alone, until each has closed what this returns.

    Raises:
        InputError: it holds features of something else, or other things, or another run is at it.
        GanglionError: it can't be written.
    """
    from ganglion.training.demonstrations.feature_cache import INDEX

    if out.is_dir() and not (out / INDEX).exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise InputError("holds something other than VL features", where=out, remedy="choose another --out")
    opened = open_lock(out)
    if is_main():
        lock(opened)
        _prepare(out, index, force)
    lock(opened, shared=True)
    return opened


def _prepare(out: Path, index: CacheIndex, force: bool) -> None:
    from ganglion.training.demonstrations.feature_cache import INDEX, SHARDS, read_index, refuse_another

    if force:
        shutil.rmtree(out / SHARDS, ignore_errors=True)
        (out / INDEX).unlink(missing_ok=True)
    if (out / INDEX).exists():
        refuse_another(out, read_index(out).to_dict(), index.to_dict())
    clear_aside(out / SHARDS)
    write_json(out / INDEX, index.to_dict())
