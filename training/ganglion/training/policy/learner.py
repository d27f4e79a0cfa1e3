"""What learns in a run: the network, and a backbone where it learns or has to look at pictures itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ganglion.core.errors import InputError
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import BackboneFacts
from ganglion.model.backbone.finetune import finetune
from ganglion.model.backbone.options import FinetuneOptions
from ganglion.model.backbone.tuned import load_tuned
from ganglion.model.policy.config import policy_config
from ganglion.model.policy.folder import load_network, read_vl, tuned_folder
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.policy.policy import VLAPolicy
from ganglion.training.claim import first_difference
from ganglion.training.policy.batch import Batch
from ganglion.training.policy.config import PolicyTrainConfig, VlOptions
from ganglion.training.policy.optimization import Groups, trainable
from ganglion.training.policy.source import Source


@dataclass(frozen=True)
class Learner:
    """What learns, and what it learns from.

    policy  network and backbone; the latter None where features come ready
    groups  name of a group -> parameters, those of the network and of a backbone that learns
    source  where batches come from
    device  where all of it is
    """

    policy: VLAPolicy
    groups: Groups
    source: Source
    device: torch.device

    @property
    def network(self) -> PolicyNetwork:
        """Encoder and expert."""
        return self.policy.network

    def parameters(self) -> dict[str, nn.Parameter]:
        """All that learns, by a name that is the same in every run."""
        return {f"{name}.{i}": p for name, group in self.groups.items() for i, p in enumerate(group)}

    def parameter_counts(self) -> dict[str, int]:
        """Of "backbone, frozen", where there is a backbone, and of each group that learns."""
        counts = {name: sum(p.numel() for p in group) for name, group in self.groups.items()}
        if (backbone := self.policy.backbone) is None:
            return counts
        return {"backbone, frozen": sum(p.numel() for p in backbone.parameters() if not p.requires_grad), **counts}

    def see(self, batch: Batch) -> Batch:
        """The batch with the VL features of its pictures; gradients flow to a backbone that learns."""
        if batch.pictures is None:
            return batch
        assert self.policy.backbone is not None
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.policy.backbone.tuned.mode != "none"):
            features, mask = self.policy.backbone.features(batch.pictures.images, batch.pictures.instructions)
        rows = (*batch.actions.shape[:2], -1)
        features = features.reshape(*rows, features.shape[-1])
        return replace(batch, vl_features=features, vl_mask=mask.reshape(rows), pictures=None)

    def learn(self, learning: bool) -> None:
        """Switch dropout on or off, of what learns."""
        self.network.train(learning)
        if self.policy.backbone is not None:
            self.policy.backbone.train(learning and self.policy.backbone.tuned.mode != "none")


def make_learner(
    config: PolicyTrainConfig, source: Source, backbone: Backbone | None, instruction: str, device: torch.device
) -> Learner:
    """The network with fresh weights, or those of the stage before, and what of the backbone is to learn.

    Args:
        config: of the run; its seed draws the weights.
        source: gives the shapes.
        backbone: loaded where pictures are to be looked at, else None.
        instruction: what the policy is to follow where no goal is named.
        device: where it goes.

    Raises:
        InputError: the shapes don't fit together, or the stage before has others or let its backbone learn otherwise.
    """
    torch.manual_seed(config.seed)
    shape = policy_config(
        source.robot,
        config.size,  # type: ignore[arg-type]  # checked, as are the next two
        vl_width=source.vl.vl_width if source.vl else 0,
        fusion=config.fusion,  # type: ignore[arg-type]
        head=config.head,  # type: ignore[arg-type]
        flow_steps=config.flow_steps,
    )
    network, groups, tuned = PolicyNetwork(shape), dict[str, list[nn.Parameter]](), None
    if config.init_from is not None:
        tuned = _start_from(network, config.init_from, source.vl, config.vl)
    if backbone is not None and config.vl.finetune != "none":
        groups = _let_learn(backbone, finetune_options(config.vl), tuned)
        if config.vl.gradient_checkpointing:
            backbone.checkpoint_gradients()
    if source.vl and not config.vl.tell_age:
        network.expert.fusion.tokens.ignore_age()
    sees = {"instruction": instruction, "age_ms": list(config.vl.age_ms)}
    vl = {**source.vl.to_dict(), **sees} if source.vl else None
    policy = VLAPolicy(network.to(device), source.robot, source.norm, vl, backbone)
    return Learner(policy, trainable(network, groups), source, device)


def finetune_options(options: VlOptions) -> FinetuneOptions:
    """What of the backbone learns, as the model names it."""
    return FinetuneOptions(
        mode=options.finetune,
        layers=options.layers,
        vision=options.vision,
        r=options.r,
        alpha=options.alpha,
        dropout=options.dropout,
    )


def _start_from(network: PolicyNetwork, before: Path, vl: BackboneFacts | None, options: VlOptions) -> Path | None:
    """Take over the network of the stage before; returns where that lies which its backbone learned, if it did."""
    found = load_network(before)
    seen = read_vl(before) if found.config.vl_width else {"finetune": "none"}
    read = {"base_hash": vl.base_hash, "vl_layer": vl.vl_layer} if vl else {}
    if difference := first_difference(asdict(found.config) | seen, asdict(network.config) | read):
        raise InputError(
            f"has another {difference}",
            where=before,
            remedy="give the stage before the same size, fusion, head, base and robot",
        )
    if seen["finetune"] not in ("none", options.finetune):
        raise InputError(
            f"let its backbone learn ({seen['finetune']}), --vl.finetune is {options.finetune}",
            where=before,
            remedy=f"give --vl.finetune {seen['finetune']}",
        )
    network.load_state_dict(found.state_dict())
    return tuned_folder(before, seen)


def _let_learn(backbone: Backbone, options: FinetuneOptions, tuned: Path | None) -> dict[str, list[nn.Parameter]]:
    """A fresh backbone's groups, or those of the stage before, if it let any learn."""
    if tuned is None:
        return finetune(backbone, options)
    groups = load_tuned(backbone, tuned)
    if difference := first_difference(asdict(backbone.tuned), asdict(replace(options, dropout=backbone.tuned.dropout))):
        raise InputError(f"has another {difference}", where=tuned, remedy="give the --vl options of the stage before")
    return groups
