"""The rehearsal of a step without weights, against the same step of the same policy with weights."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from policy_for_test import BLIND, ROBOT, SENSORLESS, UNTRAINED, options

torch = pytest.importorskip("torch")

from ganglion.core.specs import CameraSpec, RobotSpec  # noqa: E402
from ganglion.model.backbone.backbone import Backbone  # noqa: E402
from ganglion.model.backbone.facts import describe_backbone  # noqa: E402
from ganglion.model.policy.config import FUSIONS, HEADS  # noqa: E402
from ganglion.training.estimate.weightless import LiveBytes, drop_as_on_gpu, hollow  # noqa: E402
from ganglion.training.policy.batch import Batch, losses  # noqa: E402
from ganglion.training.policy.config import PolicyTrainConfig, VlOptions  # noqa: E402
from ganglion.training.policy.estimate.rehearsal import Rehearsal, hollow_learner, rehearse  # noqa: E402
from ganglion.training.policy.estimate.shapes import Shapes  # noqa: E402
from ganglion.training.policy.estimate.source import HollowSource  # noqa: E402
from ganglion.training.policy.estimate.views import GuessedViews, blank_pictures, meta_backbone  # noqa: E402
from ganglion.training.policy.learner import Learner, make_learner  # noqa: E402
from ganglion.training.policy.loop import autocast, prepared  # noqa: E402
from ganglion.training.policy.optimization import make_optimizer  # noqa: E402

CPU = torch.device("cpu")
GOAL = "Touch the bright mark, then stop."
TWO_VIEWS = replace(ROBOT, cameras=(CameraSpec("front", 112, 84, 10.0), CameraSpec("wrist", 56, 56, 10.0)))


def config(**changes: Any) -> PolicyTrainConfig:
    vl = VlOptions(base=UNTRAINED, **{"layer": 2, "dropout": 0.1, **changes.pop("vl", {})})
    return options(Path("data"), Path("out"), vl=vl, **changes)


def rehearsed(run: PolicyTrainConfig, robot: RobotSpec) -> Rehearsal:
    backbone = meta_backbone(run.vl, on_gpu=False) if robot.cameras else None
    source = HollowSource(run, Shapes(robot, "", GOAL), backbone.facts if backbone else None, 0)
    return rehearse(hollow_learner(run, source, backbone), run, on_gpu=False)


def real(run: PolicyTrainConfig, robot: RobotSpec) -> tuple[Learner, Batch]:
    """The policy with weights, and a batch of the same shapes with content."""
    facts = describe_backbone(run.vl.base, run.vl.layer) if robot.cameras else None
    source = HollowSource(run, Shapes(robot, "", GOAL), facts, 0)
    learner = make_learner(run, source, Backbone(facts, "cpu") if facts else None, "", CPU)
    learner.learn(True)
    batch = prepared(source.batch(0), run, (0,))
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    floats = {k: torch.randn(v.shape) for k, v in values.items() if torch.is_tensor(v) and v.is_floating_point()}
    return learner, replace(batch, **floats)


def weights_of(learner: Learner) -> set[int]:
    modules = [learner.network, *([learner.policy.backbone] if learner.policy.backbone else [])]
    return {t.untyped_storage().data_ptr() for m in modules for t in [*m.parameters(), *m.buffers()]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("robot", "changes"),
    [
        (ROBOT, {"vl": {"finetune": "lora", "vision": True}}),
        (ROBOT, {"vl": {"finetune": "full", "layers": 1, "vision": True}, "fusion": "gated"}),
        (ROBOT, {"size": "small", "head": "flow"}),
        (BLIND, {"size": "slim"}),
    ],
    ids=["lora vision", "full vision gated", "frozen flow", "blind"],
)
def test_weights_gradients_and_moments_are_exactly_those_of_a_real_step(
    robot: RobotSpec, changes: dict[str, Any]
) -> None:
    run = config(**changes)
    found = rehearsed(run, robot)
    learner, batch = real(run, robot)
    optimizer = make_optimizer(learner.groups, run.optim)
    (losses(learner.network, learner.see(batch))[0]).sum().backward()
    optimizer.step()

    def size(*tensors: Any) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    learning = {
        name: sum(size(p, p.grad, *optimizer.state[p].values()) for p in group if p.grad is not None)
        for name, group in learner.groups.items()
    }
    assert found.learning == learning
    assert {k: v for k, v in found.parameters.items() if k in learner.groups} == {
        name: sum(p.numel() for p in group) for name, group in learner.groups.items()
    }
    ours = {p for group in learner.groups.values() for p in group}
    modules = [learner.network, *([learner.policy.backbone] if learner.policy.backbone else [])]
    frozen = sum(size(t) for m in modules for t in [*m.parameters(), *m.buffers()] if t not in ours)
    assert found.frozen == frozen


CASES = {
    **{f"{f} {h}": (BLIND, {"fusion": f, "head": h}) for f in FUSIONS for h in HEADS},
    "two views, lora": (TWO_VIEWS, {"vl": {"finetune": "lora"}, "batch_size": 3}),
    "lora, vision": (TWO_VIEWS, {"vl": {"finetune": "lora", "vision": True}}),
    "full": (ROBOT, {"vl": {"finetune": "full", "layers": 2}, "size": "slim"}),
    "bfloat16": (BLIND, {"size": "small", "precision": "bfloat16"}),
    "no sensor": (SENSORLESS, {"fusion": "none", "vl": {"finetune": "lora", "dropout": 0.0}}),
    "sensor off": (BLIND, {"sensor": False, "fusion": "gated"}),
}


@pytest.mark.parametrize(("robot", "changes"), CASES.values(), ids=CASES)
def test_what_is_kept_is_what_autograd_saves_of_a_real_pass(robot: RobotSpec, changes: dict[str, Any]) -> None:
    """Within 1 %: autograd's own account, weights and the batch left out."""
    run = config(**changes)
    learner, batch = real(run, robot)
    given = [getattr(batch, field.name) for field in fields(batch)]
    before = weights_of(learner) | {t.untyped_storage().data_ptr() for t in given if torch.is_tensor(t)}
    saved: WeakSet[Any] = WeakSet()

    class Saved:
        """Lives as long as the graph that saved it: that of what nobody reads is gone at once."""

        def __init__(self, tensor: Any) -> None:
            self.tensor = tensor.detach()  # an output that is saved holds on to its graph
            saved.add(self)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda kept: kept.tensor), autocast(run, CPU):
        off, _ = losses(learner.network, learner.see(batch))
    storages = {kept.tensor.untyped_storage().data_ptr(): kept.tensor.untyped_storage().nbytes() for kept in saved}
    measured = sum(size for address, size in storages.items() if address not in before)
    found = rehearsed(run, robot)
    assert found.backbone + found.network == pytest.approx(measured, rel=0.01)
    del off


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_of_a_step_is_the_one_that_torch_allocates(checkpointing: bool) -> None:
    """Within 1 %, beyond what is there before: every allocation of a real step, by torch's profiler."""
    run = config(vl={"finetune": "lora", "vision": True, "gradient_checkpointing": checkpointing}, batch_size=6)
    learner, batch = real(run, TWO_VIEWS)
    parameters = learner.parameters().values()
    optimizer = make_optimizer(learner.groups, run.optim)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        off, _ = losses(learner.network, learner.see(batch))
        off.sum().backward()
        del off
        optimizer.step()
    now, peak = 0, 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    found = rehearsed(run, TWO_VIEWS)
    assert found.backbone + found.network + found.working == pytest.approx(peak, rel=0.01)


def test_a_gpus_dropout_keeps_a_byte_for_each_element() -> None:
    masked = {}
    for on_gpu in (False, True):
        module = torch.nn.Sequential(torch.nn.Dropout(0.5))
        if on_gpu:
            drop_as_on_gpu(module)
        given = hollow(1000).requires_grad_()
        with LiveBytes() as memory:
            out = module(given)
            masked[on_gpu] = memory.now - 4 * len(out)
    assert masked == {False: 4000, True: 1000}


def test_what_is_guessed_of_pictures_is_what_the_processor_makes_of_them() -> None:
    from ganglion.model.backbone.views import ViewProcessor
    from ganglion.model.checkpoint import resolve_base
    from ganglion.training.estimate import read_config

    pictures = blank_pictures(TWO_VIEWS, 3, GOAL)
    guessed = GuessedViews(read_config(UNTRAINED), None)(pictures.images, pictures.instructions)
    made = ViewProcessor(resolve_base(UNTRAINED))(pictures.images, pictures.instructions)
    assert guessed.inputs["pixel_values"].shape == made.inputs["pixel_values"].shape
    assert guessed.inputs["image_grid_thw"].tolist() == made.inputs["image_grid_thw"].tolist()
    for views in (guessed, made):
        assert (views.inputs["mm_token_type_ids"] == 1).sum(1).tolist() == [16] * 3
        assert not views.inputs["attention_mask"][0].all() and views.inputs["attention_mask"][1].all()
