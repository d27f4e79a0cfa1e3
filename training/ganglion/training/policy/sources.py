"""Which source and backbone a run asks for, whether they can be had, and what identifies what it only names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganglion.core.errors import InputError
from ganglion.training.claim import first_difference
from ganglion.training.demonstrations.episode_set import EpisodeSet, is_set
from ganglion.training.policy.config import PolicyTrainConfig
from ganglion.training.quiet import quiet

if TYPE_CHECKING:
    import torch

    from ganglion.model.backbone.backbone import Backbone
    from ganglion.model.backbone.facts import BackboneFacts
    from ganglion.training.policy.source import Source


def open_source(config: PolicyTrainConfig, device: torch.device) -> tuple[Source, Backbone | None, str]:
    """The source, the backbone if it is to look at pictures, and the goal that is meant where none is named.

    Raises:
        InputError: data, base or cache can't be used, or don't fit together.
    """
    if looks(config):
        quiet()
    if config.is_synthetic:
        from ganglion.training.policy.synthetic import NeedleSource

        return NeedleSource(config), None, config.instruction
    if is_set(Path(config.folders[0])):
        return _recorded(config, device)
    from ganglion.training.policy.oct_volumes import OctSource

    return OctSource(config), None, ""


def check_data(config: PolicyTrainConfig) -> None:
    """See that the folders hold what can be learned from, and that what is asked of a backbone has cameras to see by.

    Raises:
        InputError: naming the folder or the option.
    """
    folders = [] if config.is_synthetic else [Path(folder) for folder in config.folders]
    for folder in folders:
        if not is_set(folder) and (len(folders) > 1 or not any(folder.glob("*.npz"))):
            others = "" if len(folders) > 1 else " and no OCT volume (.npz)"
            raise InputError(
                f"holds no set of episodes{others}",
                where=folder,
                remedy="correct --data, or see 'ganglion data import'",
            )
    asked = f"--vl.finetune is {config.vl.finetune}" if config.vl.finetune != "none" else "--cache is given"
    if (config.caches or config.vl.finetune != "none") and (config.is_synthetic or not looks(config)):
        raise InputError(f"{asked}, which is for recorded episodes with cameras", remedy="leave it out")


def identity(config: PolicyTrainConfig) -> dict[str, Any]:
    """Hashes of what the config only names: the data, the base's weights, what the run starts from.

    Raises:
        InputError: there is no such base, or nothing to start from.
    """
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
        _check_cache(config, facts)
        return RecordedSource(config, facts, features), None, goal
    from ganglion.model.backbone.backbone import Backbone
    from ganglion.model.backbone.facts import describe_backbone

    facts = describe_backbone(config.vl.base, config.vl.layer, max_pixels=config.vl.max_pixels)
    return RecordedSource(config, facts), Backbone(facts, device), goal


def _check_cache(config: PolicyTrainConfig, facts: BackboneFacts) -> None:
    """See that features are those of the backbone that the options name."""
    from ganglion.model.checkpoint import base_hash, resolve_base

    wanted = {
        "base_hash": base_hash(resolve_base(config.vl.base)),
        **({} if config.vl.layer is None else {"vl_layer": config.vl.layer}),
        **({} if config.vl.max_pixels is None else {"image_processor": {"max_pixels": config.vl.max_pixels}}),
    }
    if difference := first_difference(facts.to_dict(), wanted):
        raise InputError(
            f"holds VL features of another {difference}",
            where=config.caches[0],
            remedy=f"add --vl.base {facts.base}, and --vl.layer and --vl.max_pixels as the cache was made, or neither",
        )


def _data_hash(folder: Path) -> str:
    if is_set(folder):
        return EpisodeSet(folder).digest()
    from ganglion.core.bundle import sha256_tree

    return sha256_tree(folder)
