"""Exported policies at the sizes that are trained: every fusion and head, as graphs, decides as torch does."""

import numpy as np
import pytest
import torch

from ganglion.core.specs import default_robot
from ganglion.export.policy_graph import write_action_head, write_sensor_stream
from ganglion.export.policy_parity import ask
from ganglion.export.policy_questions import fresh_questions
from ganglion.export.policy_stages import GraphPolicy, TrainedPolicy
from ganglion.model.policy.config import policy_config
from ganglion.model.policy.network import PolicyNetwork

VL, TOKENS = 64, 20


def apart(found, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(found, other, strict=True))


SIZES = [pytest.param("small", marks=pytest.mark.acceptance), pytest.param("base", marks=pytest.mark.learning)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("head", ["regression", "flow"])
@pytest.mark.parametrize("fusion", ["concat", "cross_attention", "gated"])
def test_streamed_through_its_graphs_it_decides_as_torch_does_on_whole_windows(tmp_path, fusion, head, size):
    torch.manual_seed(0)
    config = policy_config(default_robot(), size, vl_width=VL, fusion=fusion, head=head)
    network = PolicyNetwork(config).eval()
    write_sensor_stream(network.encoder, tmp_path / "sensor_stream.onnx")
    write_action_head(network.expert, tmp_path / "action_head.onnx")
    features = [np.random.default_rng(1).standard_normal((1, TOKENS, VL), np.float32)]
    asked = fresh_questions(config, len(features))[:1]
    trained = ask(TrainedPolicy(network, features), asked, [])
    found = ask(GraphPolicy(tmp_path, config, features), asked, [])
    assert len(found.actions) > 20 and apart(found.actions, trained.actions) <= 1e-4
    assert apart(found.frames, trained.frames) <= 1e-4
    assert np.abs(np.diff(np.concatenate(trained.actions), axis=0)).max() > 1e-3, (
        "it decides the same whatever it feels"
    )
