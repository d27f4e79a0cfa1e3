"""Which source and which backbone a run asks for, and what identifies the data and the weights that it only names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganglion.core.errors import InputError
from ganglion.training.demonstrations.episode_set import EpisodeSet, is_set
from ganglion.training.policy.config import PolicyTrainConfig

if TYPE_CHECKING:
    import torch

    from ganglion.model.backbone.backbone import Backbone
    from ganglion.training.policy.source import Source

Opened = tuple["Source", "Backbone | None", "dict[str, Any] | None"]


def open_source(config: PolicyTrainConfig, device: torch.device) -> Opened:
    """The source, the backbone if pictures are to be looked at, and what the policy will say of its backbone.

    Raises:
        InputError: data, base or cache can't be used, or don't fit together.
    """
    if config.is_synthetic:
        return _synthetic(config, device)
    if all(is_set(Path(folder)) for folder in config.folders):
        return _recorded(config, device)
    if len(config.folders) > 1:
        raise InputError(
            "a set of episodes and something else", where=", ".join(config.folders), remedy="give sets alone"
        )
    from ganglion.training.policy.oct_volumes import OctSource

    return OctSource(config), None, None


def identity(config: PolicyTrainConfig) -> dict[str, Any]:
    """Hashes of what the config only names: the data, the base's weights, what the run starts from."""
    facts: dict[str, Any] = {}
    if not config.is_synthetic:
        facts["data_hash"] = [_data_hash(Path(folder)) for folder in config.folders]
    if looks(config):
        from ganglion.model.checkpoint import base_hash, resolve_base

        facts["base_hash"] = base_hash(resolve_base(config.vl.base))
    if config.init_from is not None:
        from ganglion.core.bundle import sha256_file

        where = config.init_from / "model.safetensors"
        if not where.is_file():
            raise InputError("is missing", where=where, remedy="give --init_from a folder of a trained policy")
        facts["init_hash"] = sha256_file(where)
    return facts


def looks(config: PolicyTrainConfig) -> bool:
    """Whether the data has cameras."""
    if config.is_synthetic:
        return True
    return any(is_set(Path(folder)) and EpisodeSet(folder).robot.cameras for folder in config.folders)


def _synthetic(config: PolicyTrainConfig, device: torch.device) -> Opened:
    from ganglion.training.policy.synthetic import NeedleSource

    source = NeedleSource(config, device=device)
    return source, None, {**source.vl, "instruction": config.instruction, "age_ms": list(config.vl.age_ms)}


def _recorded(config: PolicyTrainConfig, device: torch.device) -> Opened:
    from ganglion.training.policy.recorded import RecordedSource

    if not looks(config):
        return RecordedSource(config), None, None
    if config.caches:
        from ganglion.training.demonstrations.feature_cache import FeatureCache

        caches = [
            FeatureCache(folder, EpisodeSet(data)) for folder, data in zip(config.caches, config.folders, strict=True)
        ]
        facts = caches[0].facts
        source = RecordedSource(config, [cache.features for cache in caches], facts)
        return source, None, _vl(config, facts.to_dict())
    from ganglion.model.backbone.backbone import Backbone
    from ganglion.model.backbone.facts import describe_backbone

    facts = describe_backbone(config.vl.base, config.vl.layer, max_pixels=config.vl.max_pixels)
    return RecordedSource(config, (), facts), Backbone(facts, device), _vl(config, facts.to_dict())


def _vl(config: PolicyTrainConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """Recorded episodes have instructions of their own; the first is what is meant where none is named."""
    instruction = EpisodeSet(config.folders[0])[0].instruction
    return {**facts, "instruction": instruction, "age_ms": list(config.vl.age_ms)}


def _data_hash(folder: Path) -> str:
    if is_set(folder):
        return EpisodeSet(folder).digest()
    from ganglion.core.bundle import sha256_tree

    return sha256_tree(folder)
