"""A bundle's graphs of every kind, small and of random weights, with their repository, and a server on it."""

import pytest
from triton_for_test import VENV, Server

from ganglion.export.triton_repository import write_repository


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    if not VENV.is_dir():
        pytest.skip(f"no Triton server in {VENV}: make test-triton")
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from ganglion.export.onnx_vlm import VlmGraphs, export_vl_encoder
    from ganglion.export.policy_graph import write_action_head, write_sensor_stream
    from ganglion.model.offline import offline_base
    from ganglion.model.policy.action_expert import ActionExpert
    from ganglion.model.policy.config import PolicyConfig
    from ganglion.model.policy.sensor_encoder import SensorEncoder

    root = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(offline_base("qwen2_vl", pretext=False))
    config.text_config.num_hidden_layers = config.vision_config.depth = 2
    config.text_config.layer_types = config.text_config.layer_types[:2]
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32).eval()
    VlmGraphs(model).write(root / "vlm")
    export_vl_encoder(model, root / "policy/vl_encoder.onnx")
    shape = PolicyConfig(
        channel_groups=(2, 4), hop_samples=13, window_frames=50, horizon=8, action_dim=7, width=24, layers=2, heads=4,
        attention_frames=11, read_frames=6, expert_layers=1, vl_width=128, state_dim=3,
    )  # fmt: skip
    write_sensor_stream(SensorEncoder(shape).eval(), root / "policy/sensor_stream.onnx")
    write_action_head(ActionExpert(shape).eval(), root / "policy/action_head.onnx")
    write_repository(root, "cpu")
    return root


@pytest.fixture(scope="session")
def server(bundle, tmp_path_factory):
    server = Server(bundle / "triton", tmp_path_factory.mktemp("server"))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
