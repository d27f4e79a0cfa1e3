"""The streaming equality: what the expert reads is the same from a carried state and from the full window."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ganglion.core.errors import InputError
from ganglion.core.specs import default_robot
from ganglion.model.policy.config import PolicyConfig, policy_config
from ganglion.model.policy.sensor_encoder import SensorEncoder

CHANNELS, HOP, WINDOW = 6, 13, 650


def config(**changes: object) -> PolicyConfig:
    values = dict(
        channel_groups=(2, CHANNELS - 2), hop_samples=HOP, window_frames=50, horizon=8, action_dim=7, width=32,
        layers=4, heads=4, attention_frames=11, read_frames=8, expert_layers=1,
    )  # fmt: skip
    return PolicyConfig(**{**values, **changes})


def encoder(shape: PolicyConfig, seed: int = 0) -> SensorEncoder:
    """An encoder whose every parameter matters: biases, which start at zero or one, are drawn as well.

    Its layers lean on the oldest frame they see, so that what lies at the edge of the receptive field isn't faded out.
    """
    torch.manual_seed(seed)
    model = SensorEncoder(shape).eval()
    for value in model.parameters():
        if value.ndim < 2 or value is model.distance_bias:
            nn.init.normal_(value, value.mean().item(), 0.5)
    nn.init.constant_(model.distance_bias[..., -1], 4.0)
    return model


def recorded(samples: torch.Tensor) -> torch.Tensor:
    return torch.ones(samples.shape[0], samples.shape[1] // HOP, 2)


@torch.no_grad()
def stream_frames(model: SensorEncoder, samples: torch.Tensor, steps: list[int]) -> torch.Tensor:
    state, frames, at = model.fresh_state(samples.shape[0]), [], 0
    for step in steps:
        piece = samples[:, at : at + step]
        new, state = model.stream(piece, recorded(piece), state)
        frames.append(new)
        at += step
    assert at == samples.shape[1]
    return torch.cat(frames, dim=1)


@torch.no_grad()
def assert_reads_equal(model: SensorEncoder, samples: torch.Tensor, frames: torch.Tensor, ends: list[int]) -> None:
    read = model.config.read_frames
    for end in ends:
        window = model(samples[:, end * HOP - WINDOW : end * HOP])
        torch.testing.assert_close(frames[:, end - read : end], window[:, -read:], atol=1e-5, rtol=0)


def ragged(total: int) -> list[int]:
    rng, steps = np.random.default_rng(4), []
    while sum(steps) < total:
        steps.append(HOP * int(min(rng.integers(1, 12), (total - sum(steps)) // HOP)))
    return steps


@pytest.mark.parametrize("hop", [13, 65, 130, "ragged"])
def test_stream_equals_full_window_recompute(hop: int | str) -> None:
    model = encoder(config())
    samples = torch.randn(3, 2 * WINDOW, CHANNELS)
    steps = ragged(2 * WINDOW) if hop == "ragged" else [hop] * (2 * WINDOW // hop)
    frames = stream_frames(model, samples, steps)
    assert_reads_equal(model, samples, frames, [50, 51, 63, 80, 100])


def test_stream_equals_full_window_after_minutes_of_carried_state() -> None:
    model = encoder(config())
    minutes = 3 * 60 * WINDOW
    samples = torch.randn(1, minutes, CHANNELS) + 3 * torch.sin(torch.arange(minutes) / 900)[None, :, None]
    frames = stream_frames(model, samples, [HOP] * (minutes // HOP))
    assert_reads_equal(model, samples, frames, [50, 1000, 5000, minutes // HOP])


def test_the_rule_is_tight_one_frame_more_would_see_the_reset() -> None:
    model = encoder(config())  # 8 + 4 * 10 + 1 = 49 frames
    samples = torch.randn(1, 2 * WINDOW, CHANNELS)
    frames = stream_frames(model, samples, [HOP] * 100)
    with torch.no_grad():
        enough = model(samples[:, -49 * HOP :])[:, -8:]
        short = model(samples[:, -48 * HOP :])[:, -8:]
    torch.testing.assert_close(enough, frames[:, -8:], atol=1e-5, rtol=0)
    assert (short - frames[:, -8:]).abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", "base"])
def test_stream_equals_full_window_at_the_real_sizes(size: str) -> None:
    model = encoder(policy_config(default_robot(), size))
    samples = torch.randn(1, WINDOW + 3 * 130, 1026)
    frames = stream_frames(model, samples, [130, 13, 65, 13, 39, *[130] * 6])
    assert_reads_equal(model, samples, frames, [50, 67, 80])


def test_sizes_have_about_3_and_33_million_encoder_parameters_and_fit_the_window() -> None:
    for size, low, high in (("small", 2.5e6, 3.5e6), ("base", 31e6, 35e6)):
        with torch.device("meta"):
            model = SensorEncoder(policy_config(default_robot(), size))
        assert low < sum(p.numel() for p in model.parameters()) < high
        assert model.config.receptive_frames <= 50


def test_a_batch_is_its_rows_even_when_their_states_differ_in_age() -> None:
    model = encoder(config())
    samples = torch.randn(2, 26 * HOP, CHANNELS)
    with torch.no_grad():
        begun = samples[:1, : 6 * HOP]
        old = model.stream(begun, recorded(begun), model.fresh_state(1))[1]
        young = model.fresh_state(1)
        both = type(old)(*(torch.cat(pair) for pair in zip(old, young, strict=True)))
        later = samples[:, 6 * HOP :]
        together, after = model.stream(later, recorded(later), both)
        alone = [model.stream(later[i : i + 1], recorded(later[:1]), state)[0] for i, state in enumerate((old, young))]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)
    assert after.seen.tolist() == [10, 10]


def test_seen_counts_frames_up_to_the_slots_there_are() -> None:
    model = encoder(config())
    state = model.fresh_state(2)
    counts = []
    for hops in (1, 2, 6, 5, 1):
        with torch.no_grad():
            state = model.stream(torch.randn(2, hops * HOP, CHANNELS), torch.ones(2, hops, 2), state)[1]
        counts.append(state.seen.tolist())
    assert counts == [[1, 1], [3, 3], [9, 9], [10, 10], [10, 10]]
    assert state.seen.dtype == torch.int64


def test_what_lies_in_unfilled_slots_is_never_looked_at() -> None:
    model = encoder(config())
    samples = torch.randn(1, 5 * HOP, CHANNELS)
    clean = model.fresh_state(1)
    dirty = clean._replace(kv=torch.randn_like(clean.kv) * 100)
    with torch.no_grad():
        found = [model.stream(samples, recorded(samples), state)[0] for state in (dirty, clean)]
    torch.testing.assert_close(*found, atol=0, rtol=0)


def test_what_an_absent_group_holds_makes_no_difference_not_even_nan() -> None:
    model = encoder(config())
    samples = torch.randn(1, 20 * HOP, CHANNELS)
    present = torch.ones(1, 20, 2)
    present[:, 5:9, 1] = 0
    changed = samples.clone()
    changed[:, 5 * HOP : 9 * HOP, 2:] = float("nan")
    with torch.no_grad():
        a, b = model(samples, present), model(changed, present)
        there = model(samples)
    torch.testing.assert_close(a, b, atol=0, rtol=0)
    torch.testing.assert_close(a[:, :5], there[:, :5], atol=1e-6, rtol=0)
    assert (a[:, 5] - there[:, 5]).abs().max() > 1e-3


def test_absent_is_another_thing_than_zeros() -> None:
    model = encoder(config())
    silence = torch.zeros(1, 12 * HOP, CHANNELS)
    with torch.no_grad():
        assert (model(silence) - model(silence, torch.zeros(1, 12, 2))).abs().max() > 1e-3


def test_hops_that_come_and_go_stream_as_they_do_in_a_window() -> None:
    model = encoder(config())
    samples, present = torch.randn(2, 2 * WINDOW, CHANNELS), (torch.rand(2, 100, 2) < 0.7).float()
    state, frames = model.fresh_state(2), []
    with torch.no_grad():
        for hop in range(100):
            new, state = model.stream(samples[:, hop * HOP : (hop + 1) * HOP], present[:, hop : hop + 1], state)
            frames.append(new)
        whole = model(samples[:, 17 * HOP : 67 * HOP], present[:, 17:67])
    torch.testing.assert_close(torch.cat(frames, dim=1)[:, 59:67], whole[:, -8:], atol=1e-5, rtol=0)


def test_frames_do_not_depend_on_later_samples() -> None:
    model = encoder(config())
    samples = torch.randn(1, 20 * HOP, CHANNELS)
    changed = samples.clone()
    changed[:, 12 * HOP :] += 1
    with torch.no_grad():
        a, b = model(samples), model(changed)
    torch.testing.assert_close(a[:, :12], b[:, :12], atol=1e-6, rtol=0)
    assert (a[:, 12] - b[:, 12]).abs().max() > 1e-3


def test_encoder_equals_an_independent_reference_of_conv1d_and_banded_attention() -> None:
    shape = config(layers=2, attention_frames=5)
    model = encoder(shape)
    samples = torch.randn(2, 12 * HOP, CHANNELS)
    with torch.no_grad():
        kernel = torch.cat([model.to_next.weight, model.to_own.weight], 1).reshape(32, 2 * HOP, 32).permute(0, 2, 1)
        projected = F.pad(F.gelu(model.project(samples)).transpose(1, 2), (HOP, 0))
        x = F.conv1d(projected, kernel, model.to_own.bias, stride=HOP).transpose(1, 2)
        distance = torch.arange(12)[:, None] - torch.arange(12)[None, :]
        for layer, block in enumerate(model.blocks):
            query, key, value = (
                part.reshape(2, 12, 4, 8).transpose(1, 2) for part in block.qkv(block.attention_norm(x)).chunk(3, dim=2)
            )
            bias = model.distance_bias[layer][:, distance.clamp(0, 4)]
            bias = bias.masked_fill((distance < 0) | (distance > 4), float("-inf"))
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
            x = x + block.mix(mixed.transpose(1, 2).flatten(2))
            x = x + block.feed_out(F.gelu(block.feed_in(block.feed_norm(x))))
        torch.testing.assert_close(model(samples), model.norm(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [0, 12, 14, 649])
def test_a_broken_hop_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="whole number of hops"):
        encoder(config())(torch.zeros(1, count, CHANNELS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_frames": 12}, "reach back 53 frames, a window holds 50"),
        ({"read_frames": 10}, "reach back 51 frames"),
        ({"layers": 5}, "reach back 59 frames"),
        ({"window_frames": 48}, "reach back 49 frames, a window holds 48"),
        ({"attention_frames": 1}, "at least 2"),
        ({"heads": 5}, "not divisible"),
        ({"channel_groups": (3, 0)}, "channel_groups is"),
        ({"fusion": "sum"}, "fusion is 'sum'"),
        ({"head": "diffusion"}, "head is 'diffusion'"),
        ({"fusion": "none"}, "fusion 'none' contradicts channel_groups"),
        ({"channel_groups": ()}, "fusion 'concat' contradicts channel_groups"),
        ({"channel_groups": (), "fusion": "none"}, "reads nothing"),
        ({"flow_steps": 0}, "flow_steps is 0"),
        ({"state_dim": -1}, "state_dim is -1"),
    ],
)
def test_a_contradictory_config_is_refused_at_construction(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**changes)


def test_the_rule_allows_exactly_the_window() -> None:
    assert config(read_frames=9).receptive_frames == 50
