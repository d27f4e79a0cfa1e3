"""A bundle of a policy with random weights: its speed is that of a trained one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganglion.core.bundle import seal_bundle
from ganglion.core.manifest import FORMAT_VERSION, Manifest
from ganglion.core.specs import RobotSpec, default_robot, to_dict


def random_bundle(
    folder: Path, robot: RobotSpec | None = None, size: str = "small", *, more_gflop: float = 0.0
) -> Path:
    """The policy of a robot, by default the default one, with random weights. Needs the export extra.

    Args:
        folder: takes the policy and its bundle.
        robot: None for the default one.
        size: of the policy.
        more_gflop: work that is added to the camera side, of no effect on what it gives; the offline backbone is tiny.
    """
    import torch

    from ganglion.core.normalization import Normalization, Scale
    from ganglion.export.onnx_policy import export_policy
    from ganglion.export.triton_repository import write_repository
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
    network = PolicyNetwork(policy_config(robot, size, vl_width=width))
    sizes = robot.sensors[0].channels, robot.actions.dim
    norm = Normalization(*(Scale(np.zeros(size, np.float32), np.ones(size, np.float32)) for size in sizes))
    VLAPolicy(network, robot, norm, vl, backbone).save_pretrained(trained)
    part, parity = export_policy(trained, bundle)
    if more_gflop:
        slow_down(bundle / "policy" / "vl_encoder.onnx", more_gflop)
    write_repository(bundle, "cpu")
    seal_bundle(bundle, Manifest(FORMAT_VERSION, "benchmark", {}, {}, tuple(parity), to_dict(robot), policy=part))
    return bundle


def slow_down(path: Path, gflop: float) -> None:
    """Put products of matrices before a graph's only output, whose values stay as they are."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model, side = onnx.load(path), 1024
    graph, output = model.graph, model.graph.output[0].name
    for node in graph.node:
        node.output[:] = ["slow_before" if name == output else name for name in node.output]
    matrix = (np.random.default_rng(0).standard_normal((side, side)) / side).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(matrix, "slow_matrix"))
    graph.initializer.append(helper.make_tensor("slow_zero", TensorProto.FLOAT, [], [0.0]))
    graph.node.append(helper.make_node("ReduceMean", ["slow_before"], ["slow_mean"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["slow_matrix", "slow_mean"], ["slow_0"]))
    count = max(1, round(gflop * 1e9 / (2 * side**3)))
    for index in range(count):
        graph.node.append(helper.make_node("MatMul", [f"slow_{index}", "slow_matrix"], [f"slow_{index + 1}"]))
    graph.node.append(helper.make_node("ReduceMean", [f"slow_{count}"], ["slow_work"], keepdims=0))
    graph.node.append(helper.make_node("Mul", ["slow_work", "slow_zero"], ["slow_none"]))
    graph.node.append(helper.make_node("Add", ["slow_before", "slow_none"], [output]))
    onnx.checker.check_model(model)
    onnx.save(model, path)
