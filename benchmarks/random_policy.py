"""A bundle of a policy with random weights: its speed is that of a trained one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganglion.core.bundle import seal_bundle
from ganglion.core.manifest import FORMAT_VERSION, Manifest
from ganglion.core.specs import RobotSpec, default_robot, to_dict


def random_bundle(folder: Path, robot: RobotSpec | None = None) -> Path:
    """The `small` policy of a robot, by default the default one, with random weights. Needs the export extra."""
    import torch

    from ganglion.core.normalization import Normalization, Scale
    from ganglion.export.onnx_policy import export_policy
    from ganglion.model.backbone.backbone import Backbone
    from ganglion.model.backbone.facts import describe_backbone
    from ganglion.model.policy.config import policy_config
    from ganglion.model.policy.network import PolicyNetwork
    from ganglion.model.policy.policy import VLAPolicy
    from ganglion.training.quiet import quiet

    quiet()
    robot = robot or default_robot()
    trained, bundle, vl, backbone, width = folder / "trained", folder / "bundle", None, None, 0
    if robot.cameras:
        facts = describe_backbone("offline:qwen2_vl?untrained", 1, precision="float32")
        vl = {**facts.to_dict(), "instruction": "Touch the bright mark.", "age_ms": [0, 150]}
        backbone, width = Backbone(facts, "cpu"), facts.vl_width
    torch.manual_seed(0)
    network = PolicyNetwork(policy_config(robot, "small", vl_width=width))
    sizes = robot.sensors[0].channels, robot.actions.dim
    norm = Normalization(*(Scale(np.zeros(size, np.float32), np.ones(size, np.float32)) for size in sizes))
    VLAPolicy(network, robot, norm, vl, backbone).save_pretrained(trained)
    part, parity = export_policy(trained, bundle)
    seal_bundle(bundle, Manifest(FORMAT_VERSION, "benchmark", {}, {}, tuple(parity), to_dict(robot), policy=part))
    return bundle
