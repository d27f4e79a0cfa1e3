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


def open_source(config: PolicyTrainConfig, device: torch.device) -> tuple[Source, Backbone | None, str]:
    """The source, the backbone if it is to look at pictures, and the goal that is meant where none is named.

    Raises:
        InputError: data, base or cache can't be used, or don't fit together.
    """
    if config.is_synthetic:
        from ganglion.training.policy.synthetic import NeedleSource

        return NeedleSource(config), None, config.instruction
    if all(is_set(Path(folder)) for folder in config.folders):
        return _recorded(config, device)
    if len(config.folders) > 1:
        raise InputError("a set of episodes and something else", where=str(config.data), remedy="give sets alone")
    from ganglion.training.policy.oct_volumes import OctSource

    return OctSource(config), None, ""


def identity(config: PolicyTrainConfig) -> dict[str, Any]:
    """Hashes of what the config only names: the data, the base's weights, what the run starts from."""
    facts: dict[str, Any] = {}
    if not config.is_synthetic:
        facts["data_hash"] = [_data_hash(Path(folder)) for folder in config.folders]
    if looks(config):
        from ganglion.model.checkpoint import base_hash, resolve_base

        facts["base_hash"] = base_hash(resolve_base(config.vl.base))
    if config.init_from is not None:
        from ganglion.core.bundle import sha256_file, sha256_tree
        from ganglion.model.backbone.tuned import TUNED
        from ganglion.model.policy.folder import WEIGHTS

        where = config.init_from / WEIGHTS
        if not where.is_file():
            raise InputError("is missing", where=where, remedy="give --init_from a folder of a trained policy")
        facts["init_hash"] = sha256_file(where)
        if (config.init_from / TUNED).is_dir():
            facts["init_backbone_hash"] = sha256_tree(config.init_from / TUNED)
    return facts


def looks(config: PolicyTrainConfig) -> bool:
    """Whether the data has cameras."""
    if config.is_synthetic:
        return True
    return any(is_set(Path(folder)) and EpisodeSet(folder).robot.cameras for folder in config.folders)


def _recorded(config: PolicyTrainConfig, device: torch.device) -> tuple[Source, Backbone | None, str]:
    """Recorded episodes have goals of their own; the first one's is meant where none is named."""
    from ganglion.training.policy.recorded import RecordedSource

    goal = EpisodeSet(config.folders[0])[0].instruction
    if not looks(config):
        return RecordedSource(config), None, goal
    if config.caches:
        from ganglion.training.demonstrations.feature_cache import open_caches

        facts, features = open_caches(config.caches, config.folders)
        return RecordedSource(config, facts, features), None, goal
    from ganglion.model.backbone.backbone import Backbone
    from ganglion.model.backbone.facts import describe_backbone

    facts = describe_backbone(config.vl.base, config.vl.layer, max_pixels=config.vl.max_pixels)
    return RecordedSource(config, facts), Backbone(facts, device), goal


def _data_hash(folder: Path) -> str:
    if is_set(folder):
        return EpisodeSet(folder).digest()
    from ganglion.core.bundle import sha256_tree

    return sha256_tree(folder)
