"""The policy: fusion inputs that matter, masks and ages that work, and a folder that reads back equal."""

import json
from pathlib import Path

import pytest
import torch

from ganglion.core.errors import InputError
from ganglion.core.specs import default_robot
from ganglion.model.policy.config import PolicyConfig, policy_config
from ganglion.model.policy.policy import VLAPolicy


def config(fusion: str = "concat") -> PolicyConfig:
    return PolicyConfig(
        channel_groups=(1, 5), hop_samples=13, window_frames=50, horizon=5, action_dim=3, width=32, layers=2, heads=4,
        attention_frames=6, read_frames=4, expert_layers=2, fusion=fusion, vl_width=24 if fusion == "concat" else 0,
        vl_positions=12,
    )  # fmt: skip


def policy(fusion: str = "concat") -> VLAPolicy:
    torch.manual_seed(0)
    model = VLAPolicy(config(fusion)).eval()
    for value in model.parameters():
        if value.ndim < 2:
            torch.nn.init.normal_(value, value.mean().item(), 0.5)
    return model


def inputs(tokens: int = 9, batch: int = 2) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return torch.randn(batch, 260, 6), torch.randn(batch, tokens, 24), torch.ones(batch, tokens), torch.rand(batch) / 10


@torch.no_grad()
def test_every_input_reaches_every_row_of_the_chunk() -> None:
    model = policy()
    samples, features, mask, age = inputs()
    chunk = model(samples, features, mask, age)
    assert chunk.shape == (2, 5, 3)
    for other in (
        model(samples + 0.1, features, mask, age),
        model(samples, features + 0.1 * torch.randn(24), mask, age),
        model(samples, features.flip(1), mask, age),
        model(samples, features, mask, age + 0.1),
    ):
        assert ((other - chunk).abs().amax(dim=2) > 1e-6).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_masked_vl_tokens_are_as_if_absent(kind: torch.dtype) -> None:
    model = policy()
    samples, features, _, age = inputs(tokens=9)
    mask = (torch.arange(9) < 6).to(kind).expand(2, -1)
    features[:, 6:] = 1e3 * torch.randn(2, 3, 24)
    short = model(samples, features[:, :6], torch.ones(2, 6), age)
    torch.testing.assert_close(model(samples, features, mask, age), short, atol=1e-5, rtol=0)


@torch.no_grad()
def test_more_vl_tokens_than_positions_are_taken() -> None:
    samples, features, mask, age = inputs(tokens=30)
    assert torch.isfinite(policy()(samples, features, mask, age)).all()


@torch.no_grad()
def test_without_cameras_frames_alone_decide() -> None:
    model = policy("none")
    samples, features, mask, age = inputs()
    assert model(samples).shape == (2, 5, 3)
    assert not any("vl_" in name for name in model.state_dict())
    with pytest.raises(ValueError, match="no cameras"):
        model(samples, features, mask, age)
    with pytest.raises(ValueError, match="needs vl_features"):
        policy()(samples)


@torch.no_grad()
def test_the_policy_over_a_window_is_the_expert_over_streamed_frames() -> None:
    model = policy()
    samples, features, mask, age = inputs()
    state, frames = model.encoder.fresh_state(2), []
    for hop in samples.split(13, dim=1):
        new, state = model.encoder.stream(hop, state)
        frames.append(new)
    streamed = model.expert(torch.cat(frames, dim=1)[:, -4:], features, mask, age)
    torch.testing.assert_close(streamed, model(samples, features, mask, age), atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", ["concat", "none"])
def test_a_saved_policy_reads_back_equal(fusion: str, tmp_path: Path) -> None:
    model = policy(fusion)
    model.save_pretrained(tmp_path / "p")
    again = VLAPolicy.from_pretrained(tmp_path / "p")
    assert again.config == model.config and not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_damaged_folder_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: is missing"):
        VLAPolicy.from_pretrained(tmp_path)
    policy("none").save_pretrained(tmp_path)
    weights, shape = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole, data = weights.read_bytes(), json.loads(shape.read_text())
    weights.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"model\.safetensors: can't be read"):
        VLAPolicy.from_pretrained(tmp_path)
    weights.write_bytes(whole)
    shape.write_text(json.dumps({**data, "width": 64}))
    with pytest.raises(InputError, match=r"doesn't fit config\.json") as error:
        VLAPolicy.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)
    shape.write_text(json.dumps({**data, "depth": 3}))
    with pytest.raises(InputError, match="depth"):
        VLAPolicy.from_pretrained(tmp_path)
    shape.write_text(json.dumps(data))
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: is missing"):
        VLAPolicy.from_pretrained(tmp_path)


def test_the_robot_s_spec_shapes_the_policy() -> None:
    shape = policy_config(default_robot(), "tiny", vl_width=48)
    assert (shape.channels, shape.channel_groups) == (1026, (1, 1025))
    assert (shape.channels, shape.hop_samples, shape.window_frames) == (1026, 13, 50)
    assert (shape.horizon, shape.action_dim, shape.fusion) == (8, 7, "concat")
    assert policy_config(default_robot(), "tiny").fusion == "none"
    with pytest.raises(InputError, match="unknown policy size 'huge'"):
        policy_config(default_robot(), "huge")
