"""A policy of random weights for any robot, and its bundle as Triton serves it."""

from pathlib import Path

import numpy as np

from ganglion.core.bundle import Bundle, open_bundle, seal_bundle
from ganglion.core.manifest import FORMAT_VERSION, Manifest
from ganglion.core.normalization import Normalization, Scale
from ganglion.core.specs import RobotSpec, to_dict
from ganglion.export.triton_repository import write_repository

BASE = "offline:qwen2_vl?untrained"


def write_policy(folder: Path, robot: RobotSpec, size: str = "tiny") -> None:
    """What training would leave, with random weights of which every one matters."""
    import torch

    from ganglion.model.backbone.facts import describe_backbone
    from ganglion.model.policy.config import policy_config
    from ganglion.model.policy.network import PolicyNetwork
    from ganglion.model.policy.policy import VLAPolicy

    torch.manual_seed(3)
    facts = describe_backbone(BASE, 1) if robot.cameras else None
    network = PolicyNetwork(policy_config(robot, size, vl_width=facts.vl_width if facts else 0)).eval()
    for value in network.parameters():
        if value.ndim < 2:
            torch.nn.init.normal_(value, value.mean().item(), 0.3)
    random = np.random.default_rng(3)
    scale = [
        Scale(random.normal(size=n).astype(np.float32), random.uniform(0.5, 2, n).astype(np.float32))
        for n in (robot.sensors[0].channels, robot.actions.dim)
    ]
    vl = {**facts.to_dict(), "age_ms": [0.0, 150.0], "instruction": "Touch."} if facts else None
    VLAPolicy(network, robot, Normalization(*scale), vl).save_pretrained(folder)


def policy_bundle(root: Path, robot: RobotSpec, size: str = "tiny") -> Bundle:
    """The bundle of such a policy in `root`/bundle, with its Triton models; the policy itself is in `root`/policy."""
    from ganglion.export.onnx_policy import export_policy

    write_policy(root / "policy", robot, size)
    part, parity = export_policy(root / "policy", root / "bundle")
    write_repository(root / "bundle", "cpu")
    manifest = Manifest(FORMAT_VERSION, "test", {}, {}, tuple(parity), to_dict(robot), policy=part)
    seal_bundle(root / "bundle", manifest)
    return open_bundle(root / "bundle")
