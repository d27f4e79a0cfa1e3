"""Fusions and heads: every input matters, what is absent does not, rows are their own, and all of them can learn."""

import pytest
import torch

from ganglion.core.errors import InputError
from ganglion.core.specs import StateSpec, default_robot
from ganglion.model.policy.config import FUSIONS, HEADS, Fusion, Head, PolicyConfig, policy_config
from ganglion.model.policy.context import Context
from ganglion.model.policy.network import PolicyNetwork

BATCH, TOKENS = 8, 9
every_kind = pytest.mark.parametrize(("fusion", "head"), [(f, h) for f in FUSIONS for h in HEADS])


def config(fusion: Fusion = "concat", head: Head = "regression", **changes: object) -> PolicyConfig:
    values = dict(
        channel_groups=() if fusion == "none" else (1, 5), hop_samples=13, window_frames=50, horizon=5, action_dim=3,
        width=32, layers=2, heads=4, attention_frames=6, read_frames=4, expert_layers=2, fusion=fusion, head=head,
        flow_steps=4, vl_width=24, vl_positions=12, state_dim=4,
    )  # fmt: skip
    return PolicyConfig(**{**values, **changes})


def network(shape: PolicyConfig) -> PolicyNetwork:
    torch.manual_seed(0)
    model = PolicyNetwork(shape).eval()
    for value in model.parameters():
        if value.ndim < 2:
            torch.nn.init.normal_(value, value.mean().item(), 0.5)
    return model


def inputs(shape: PolicyConfig, batch: int = BATCH) -> dict:
    torch.manual_seed(1)
    known = torch.arange(batch) % 3 != 1
    return {
        "samples": torch.randn(batch, 650, 6) if shape.channel_groups else None,
        "present": torch.ones(batch, 50, 2) if shape.channel_groups else None,
        "vl_features": torch.randn(batch, TOKENS, 24),
        "vl_mask": torch.arange(TOKENS)[None] < torch.randint(4, TOKENS + 1, (batch, 1)),
        "vl_age_s": torch.rand(batch) / 10,
        "state": torch.randn(batch, 4),
        "state_known": known,
        "noise": torch.randn(batch, 5, 3) if shape.head == "flow" else None,
    }


@torch.no_grad()
def decide(model: PolicyNetwork, given: dict) -> torch.Tensor:
    context = Context(**{name: given[name] for name in Context._fields if name in given and name != "present"})
    return model(given["samples"], given["present"], context, given["noise"])


@every_kind
def test_every_input_reaches_every_row_of_the_chunk(fusion: Fusion, head: Head) -> None:
    model = network(config(fusion, head))
    given = inputs(model.config) | {"state_known": torch.ones(BATCH)}
    chunk = decide(model, given)
    assert chunk.shape == (BATCH, 5, 3)
    changes = {
        "vl_features": given["vl_features"] + 0.1 * torch.randn(24),
        "vl_age_s": given["vl_age_s"] + 0.1,
        "state": given["state"] + 0.1,
        "state_known": torch.zeros(BATCH),
    }
    if fusion != "none":
        changes |= {"samples": given["samples"] + 0.1, "present": torch.tensor([1.0, 0.0]).expand(BATCH, 50, 2)}
    if head == "flow":
        changes["noise"] = given["noise"] + 0.5
    for name, value in changes.items():
        other = decide(model, given | {name: value})
        assert ((other - chunk).abs().amax(dim=2) > 1e-6).all(), name
    flipped = decide(model, given | {"vl_mask": torch.ones(BATCH, TOKENS), "vl_features": given["vl_features"].flip(1)})
    assert ((flipped - decide(model, given | {"vl_mask": torch.ones(BATCH, TOKENS)})).abs().amax(dim=2) > 1e-6).all()


@every_kind
def test_a_batch_with_rows_that_lack_the_sensor_is_its_rows_one_by_one(fusion: Fusion, head: Head) -> None:
    model = network(config(fusion, head))
    given = inputs(model.config)
    if fusion != "none":
        given["present"][[1, 4, 6]] = 0
        given["samples"][[1, 4, 6]] = float("nan")
        given["present"][2, :30, 1] = 0
    together = decide(model, given)
    assert torch.isfinite(together).all()
    for row in range(BATCH):
        alone = decide(model, {k: None if v is None else v[row : row + 1] for k, v in given.items()})
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


@every_kind
def test_masked_tokens_and_unknown_states_are_as_if_absent(fusion: Fusion, head: Head) -> None:
    model = network(config(fusion, head))
    given = inputs(model.config) | {"vl_mask": (torch.arange(TOKENS) < 6).expand(BATCH, -1)}
    garbage = given | {
        "vl_features": torch.cat([given["vl_features"][:, :6], 1e3 * torch.randn(BATCH, 3, 24)], dim=1),
        "state": torch.where(given["state_known"][:, None], given["state"], float("nan")),
    }
    short = given | {"vl_features": given["vl_features"][:, :6], "vl_mask": torch.ones(BATCH, 6)}
    torch.testing.assert_close(decide(model, garbage), decide(model, short), atol=1e-5, rtol=0)
    blind = decide(model, given | {"vl_mask": torch.zeros(BATCH, TOKENS)})
    assert torch.isfinite(blind).all()


@pytest.mark.parametrize("fusion", ["concat", "cross_attention", "gated"])
def test_a_robot_without_cameras_or_state_acts_on_what_it_feels(fusion: Fusion) -> None:
    model = network(config(fusion, vl_width=0, state_dim=0))
    chunk = model(torch.randn(2, 650, 6), torch.ones(2, 50, 2), Context())
    assert chunk.shape == (2, 5, 3)
    assert not any("vl_" in name for name in model.state_dict())
    with pytest.raises(ValueError, match="does not read vl_features"):
        model(torch.randn(2, 650, 6), torch.ones(2, 50, 2), Context(vl_features=torch.zeros(2, 1, 24)))
    with pytest.raises(ValueError, match="needs frames"):
        model(None, None, Context())


def test_more_vl_tokens_than_positions_are_taken() -> None:
    model = network(config())
    given = inputs(model.config) | {"vl_features": torch.randn(BATCH, 30, 24), "vl_mask": torch.ones(BATCH, 30)}
    assert torch.isfinite(decide(model, given)).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_context_worked_out_once_serves_every_step_of_a_flow(fusion: Fusion, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(config(fusion, "flow", flow_steps=10))
    given, calls = inputs(model.config), []
    remember = model.expert.fusion.remember
    monkeypatch.setattr(model.expert.fusion, "remember", lambda *args: calls.append(1) or remember(*args))
    decide(model, given)
    assert len(calls) == 1


def test_the_last_euler_step_lands_on_what_the_network_says() -> None:
    model = network(config("concat", "flow", flow_steps=1))
    given = inputs(model.config)
    context = Context(**{name: given[name] for name in Context._fields if name in given and name != "present"})
    with torch.no_grad():
        frames, present = model.encode(given["samples"], given["present"], torch.ones(BATCH, dtype=torch.bool))
        memory = model.expert.remember(context._replace(frames=frames[:, -4:], present=present[:, -4:]))
        said = model.expert.decide(memory, BATCH, given["noise"], torch.zeros(BATCH))
    torch.testing.assert_close(decide(model, given), said, atol=1e-5, rtol=0)


def test_without_noise_a_flow_draws_its_own() -> None:
    model = network(config("concat", "flow"))
    given = inputs(model.config) | {"noise": None}
    assert (decide(model, given) - decide(model, given)).abs().max() > 1e-4


def test_the_robot_s_spec_shapes_the_policy() -> None:
    shape = policy_config(default_robot(), "tiny", vl_width=48)
    assert (shape.channels, shape.channel_groups) == (1026, (1, 1025))
    assert (shape.hop_samples, shape.window_frames) == (13, 50)
    assert (shape.horizon, shape.action_dim, shape.fusion, shape.state_dim) == (8, 7, "concat", 0)
    robot = default_robot()
    stated = type(robot)(**{**vars(robot), "state": StateSpec(("a", "b"), ("rad", "rad"), 50.0)})
    assert policy_config(stated, "tiny").state_dim == 2
    assert policy_config(robot, "tiny", vl_width=48, fusion="none").channel_groups == ()
    with pytest.raises(InputError, match="size is 'huge'"):
        policy_config(robot, "huge")
    with pytest.raises(InputError, match="reads nothing"):
        policy_config(robot, "tiny", fusion="none")
    blind = type(robot)(**{**vars(robot), "sensors": ()})
    with pytest.raises(InputError, match="contradicts channel_groups"):
        policy_config(blind, "tiny", vl_width=48)
