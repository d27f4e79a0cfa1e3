"""The promise the robot relies on: a policy fed as samples arrive decides as one that recomputes the last second."""

import random

import pytest
import torch

from ganglion.core.specs import default_robot
from ganglion.model.policy.config import FUSIONS, PolicyConfig, policy_config
from ganglion.model.policy.context import Context
from ganglion.model.policy.network import PolicyNetwork
from ganglion.model.policy.stream import SensorStream

WINDOW, CHANNELS, TOKENS = 650, 1026, 7
SENSED = [fusion for fusion in FUSIONS if fusion != "none"]


def network(size: str, fusion: str, head: str = "regression") -> PolicyNetwork:
    """With every parameter drawn, also those that start at zero or one, and layers that lean on their oldest frame."""
    torch.manual_seed(random.randrange(2**31))
    model = PolicyNetwork(policy_config(default_robot(), size, vl_width=24, fusion=fusion, head=head)).eval()
    for value in model.parameters():
        if value.ndim < 2:
            torch.nn.init.normal_(value, value.mean().item(), 0.3)
    torch.nn.init.constant_(model.encoder.distance_bias[..., -1], 4.0)
    return model


def seen() -> Context:
    return Context(vl_features=torch.randn(1, TOKENS, 24), vl_mask=torch.ones(1, TOKENS), vl_age_s=torch.rand(1) / 10)


@torch.no_grad()
def decided(model: PolicyNetwork, stream: SensorStream, context: Context, noise: torch.Tensor | None) -> torch.Tensor:
    return model.expert(context._replace(frames=stream.frames, present=stream.present), noise)


@torch.no_grad()
def recomputed(
    model: PolicyNetwork, samples: torch.Tensor, context: Context, noise: torch.Tensor | None
) -> torch.Tensor:
    """From the newest window of whole hops alone."""
    hop = model.config.hop_samples
    whole = samples[: len(samples) // hop * hop]
    return model(whole[None, -WINDOW:], torch.ones(1, 50, 2), context, noise)


def noise_for(config: PolicyConfig) -> torch.Tensor | None:
    return torch.randn(1, config.horizon, config.action_dim) if config.head == "flow" else None


@pytest.mark.parametrize("hop", [1, 13, 65, 130])
@pytest.mark.parametrize("fusion", SENSED)
@pytest.mark.parametrize("head", ["regression", "flow"])
def test_streamed_decisions_equal_those_of_the_full_window(fusion: str, head: str, hop: int) -> None:
    model, context = network("tiny", fusion, head), seen()
    samples, noise = torch.randn(2 * WINDOW, CHANNELS), noise_for(model.config)
    stream = SensorStream(model.encoder)
    for at in range(0, len(samples), hop):
        stream.push(samples[at : at + hop])
        arrived = at + hop
        if arrived >= WINDOW and arrived % 325 < hop:
            expected = recomputed(model, samples[:arrived], context, noise)
            torch.testing.assert_close(decided(model, stream, context, noise), expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["slim", "small", "base"])
@pytest.mark.parametrize("fusion", SENSED)
def test_every_size_streams_exactly(size: str, fusion: str) -> None:
    model, context = network(size, fusion), seen()
    samples = torch.randn(WINDOW + 260, CHANNELS)
    for hop in (13, 65, 130):
        stream = SensorStream(model.encoder)
        for at in range(0, len(samples), hop):
            stream.push(samples[at : at + hop])
        expected = recomputed(model, samples, context, None)
        torch.testing.assert_close(decided(model, stream, context, None), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", SENSED)
def test_samples_may_arrive_in_pieces_of_any_length_and_after_a_reset(fusion: str) -> None:
    model, context = network("tiny", fusion), seen()
    stream = SensorStream(model.encoder)
    for _ in range(2):
        samples, at = torch.randn(WINDOW + random.randrange(400), CHANNELS), 0
        while at < len(samples):
            count = random.randrange(0, 90)
            stream.push(samples[at : at + count])
            at += count
        expected = recomputed(model, samples, context, None)
        torch.testing.assert_close(decided(model, stream, context, None), expected, atol=1e-5, rtol=0)
        stream.reset()
        assert not stream.frames.any() and not stream.present.any()


def test_ten_minutes_of_carried_state_leave_no_trace() -> None:
    config = policy_config(default_robot(), "tiny", vl_width=24)
    narrow = PolicyConfig(**{**vars(config), "channel_groups": (1, 3)})
    model, context = PolicyNetwork(narrow).eval(), seen()
    count = 600 * 650
    samples = torch.randn(count, 4) + 3 * torch.sin(torch.arange(count) / 9000)[:, None]
    stream = SensorStream(model.encoder)
    for at in range(0, count, 130):
        stream.push(samples[at : at + 130])
    expected = recomputed(model, samples, context, None)
    torch.testing.assert_close(decided(model, stream, context, None), expected, atol=1e-5, rtol=0)


def test_a_hop_counts_as_recorded_only_if_all_of_its_samples_were() -> None:
    model = network("tiny", "concat")
    stream = SensorStream(model.encoder)
    stream.push(torch.randn(20, CHANNELS))
    stream.push(torch.randn(6, CHANNELS), torch.tensor([True, False]))
    assert stream.present[0, -2:].tolist() == [[True, True], [True, False]]
    stream.push(torch.randn(13, CHANNELS), torch.tensor([False, False]))
    assert stream.present[0, -1].tolist() == [False, False]
    assert stream.push(torch.randn(12, CHANNELS)) == 0
    assert stream.push(torch.randn(1, CHANNELS)) == 1
    assert stream.present[0, -1].tolist() == [True, True]
