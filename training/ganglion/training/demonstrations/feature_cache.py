"""VL features of every view of a set, computed once by `ganglion cache` and read in training in the place of images.

cache.json  format version, the backbone's facts, how features are stored, the cameras in their order
shards/     feature_shards.py
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.core.paths import read_json
from ganglion.core.specs import RobotSpec
from ganglion.model.backbone.facts import PRECISIONS, BackboneFacts, read_facts
from ganglion.training.claim import first_difference
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.feature_shards import EpisodeKey, find_views, open_shards

INDEX, SHARDS = "cache.json", "shards"
FORMAT_VERSION = 1  # to be raised, too, where `episode_views` numbers or joins frames in another way
_AGAIN = "run 'ganglion cache' again: it computes what is missing"


@dataclass(frozen=True)
class CacheIndex:
    """What all features of a cache have in common.

    backbone  that made them
    stored    float32, bfloat16 or float16
    cameras   [name, rate in Hz] of each, in the order they are shown: the rates decide which frames are one view
    """

    backbone: BackboneFacts
    stored: str
    cameras: list[list[Any]]

    @property
    def dtype(self) -> torch.dtype:
        """Of what is stored."""
        dtype: torch.dtype = getattr(torch, self.stored)
        return dtype

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `read_index` reads it back equal."""
        facts = self.backbone.to_dict()
        return {"format_version": FORMAT_VERSION, **facts, "stored": self.stored, "cameras": self.cameras}


class FeatureCache:
    """The features of a set's views, read through memory maps.

    Args:
        folder: what `ganglion cache` wrote.
        episodes: the set that is learned from; all of it must be there, unchanged.
        wanted: facts that must hold, such as {"vl_layer": 12}; see BackboneFacts.

    Raises:
        InputError: the cache lacks an episode or has another one, was made by another backbone or for other cameras, or
            is damaged.
    """

    def __init__(self, folder: Path | str, episodes: EpisodeSet, wanted: Mapping[str, Any] | None = None) -> None:
        folder = Path(folder)
        index = read_index(folder)
        refuse_another(folder, index.to_dict(), {"cameras": cameras_of(episodes.robot), **(wanted or {})})
        self.facts = index.backbone
        self._shards = open_shards(folder / SHARDS, index.backbone.vl_width, index.dtype)
        self._none = torch.zeros(0, index.backbone.vl_width, dtype=index.dtype)
        keys = [episode_key(episodes, name) for name in episodes.names]
        found = find_views(self._shards)
        if lacking := [key for key in keys if key not in found or (found[key] < 0).any()]:
            others = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise InputError(f"{_lack(lacking[0], found)} {lacking[0].episode}{others}", where=folder, remedy=_AGAIN)
        self._places = [found[key] for key in keys]

    def features(self, episode: int, view: int) -> Tensor:
        """(tokens, vl_width) of a view, as stored, on the CPU; not a copy. Without tokens if `view` is -1: none there.

        Args:
            episode: number of the episode in the set.
            view: number of the view in the episode, from `view_at`.
        """
        if view < 0:
            return self._none
        shard, row = self._places[episode][view]
        return self._shards[int(shard)].view(int(row))


def open_caches(
    caches: Sequence[Path | str], data: Sequence[Path | str]
) -> tuple[BackboneFacts, list[Callable[[int, int], Tensor]]]:
    """The caches of several sets that are learned from together.

    Args:
        caches: folder of each.
        data: the set each is of.

    Returns:
        the backbone that made them all, and FeatureCache.features of each.

    Raises:
        InputError: as FeatureCache, or two are of different backbones.
    """
    opened = [FeatureCache(folder, EpisodeSet(own)) for folder, own in zip(caches, data, strict=True)]
    for folder, cache in zip(caches, opened, strict=True):
        refuse_another(Path(folder), cache.facts.to_dict(), opened[0].facts.to_dict())
    return opened[0].facts, [cache.features for cache in opened]


def read_index(folder: Path) -> CacheIndex:
    """What cache.json says.

    Raises:
        InputError: there is none, or it is damaged or of another format.
    """
    where = folder / INDEX
    data = read_json(where, "make VL features with 'ganglion cache', anew with --force", version=FORMAT_VERSION)
    stored, cameras = data.get("stored"), data.get("cameras")
    if stored not in PRECISIONS or not isinstance(cameras, list):
        raise InputError(
            f"stored is {stored!r}, cameras {cameras!r}", where=where, remedy="run 'ganglion cache' with --force"
        )
    return CacheIndex(read_facts(data, where), stored, cameras)


def refuse_another(folder: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """See that a cache is the one that is wanted; the name of the base alone decides nothing, its hash does.

    Raises:
        InputError: naming what differs.
    """
    if difference := first_difference(held, {key: value for key, value in wanted.items() if key != "base"}):
        raise InputError(
            f"holds VL features of another {difference}",
            where=folder,
            remedy="undo the change, or run 'ganglion cache' with another --out or --force",
        )


def _lack(key: EpisodeKey, found: Collection[EpisodeKey]) -> str:
    if key in found:
        return "lacks views of episode"
    return "has another episode" if key.episode in {other.episode for other in found} else "lacks episode"


def cameras_of(robot: RobotSpec) -> list[list[Any]]:
    """As in CacheIndex."""
    return [[camera.name, camera.rate_hz] for camera in robot.cameras]


def episode_key(episodes: EpisodeSet, name: str) -> EpisodeKey:
    """What identifies an episode of a set."""
    return EpisodeKey(name, episodes.episode_digest(name), episodes.instruction(name))
