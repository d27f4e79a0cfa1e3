"""The insertion world: clock, seeds, what actions do, and that an expert succeeds in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.model.offline import icons
from ganglion.simulation.insertion.case import ICONS, LAYERS, draw_case, instruction
from ganglion.simulation.insertion.expert import STOP_MM, Expert
from ganglion.simulation.insertion.outcome import DEPTH_MM, SECONDS, judge
from ganglion.simulation.insertion.world import Insertion

HOP_S = 0.02


def drive(world: Insertion, expert: Expert, seconds: float = SECONDS) -> np.ndarray:
    """All samples of a while of the expert's."""
    return np.concatenate([world.step(expert.act()) for _ in range(round(seconds / HOP_S))])


def test_a_step_is_13_samples_of_exactly_650_hz() -> None:
    world = Insertion(draw_case(1))
    samples = [world.step(np.zeros(7)) for _ in range(50)]
    assert {part.shape for part in samples} == {(13, 1026)}
    assert world.time_s == 1.0 and world.samples_taken == 650
    assert world._data.time == pytest.approx(1.0, abs=1e-9)  # the physics' own clock


def test_equal_seeds_give_equal_samples_and_frames_to_the_bit_and_others_do_not() -> None:
    found = []
    for seed in (3, 3, 4):
        world = Insertion(draw_case(seed))
        samples = drive(world, Expert(world), 0.5)
        found.append((samples.tobytes(), world.frame("wrist").tobytes(), world.frame("scene").tobytes()))
        world.close()
    assert found[0] == found[1]
    assert all(a != b for a, b in zip(found[0], found[2], strict=True))
    assert draw_case(3) == draw_case(3) != draw_case(4)


def test_looking_changes_nothing_that_is_felt() -> None:
    seen, blind = Insertion(draw_case(5)), Insertion(draw_case(5))
    for _ in range(5):
        seen.frame("scene")
        np.testing.assert_array_equal(seen.step(np.ones(7)), blind.step(np.ones(7)))
    seen.close()


def test_joints_move_as_they_are_told_and_stay_in_their_ranges() -> None:
    world = Insertion(replace(draw_case(1), start=(0.0,) * 7))
    speed = np.array([4.0, -3.0, 2.0, 0.05, -0.04, 0.1, 0.0])
    for _ in range(25):
        world.step(speed)
    for _ in range(10):
        world.step(np.zeros(7))  # they lag by some milliseconds
    np.testing.assert_allclose(world.state(), speed * 0.5, atol=0.02)
    for _ in range(200):
        world.step([20.0, 20.0, 20.0, 0.5, 0.5, 0.5, 10.0])
    assert (world.state() <= np.array([30, 30, 10, 0.3, 0.3, 1.0, 30]) + 0.1).all()


def test_a_command_beyond_the_limits_counts_as_the_limit() -> None:
    wild, most = Insertion(draw_case(2)), Insertion(draw_case(2))
    for _ in range(5):
        np.testing.assert_array_equal(wild.step(np.full(7, 1e6)), most.step(most.robot.actions.high))


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan)])
def test_an_action_that_is_none_is_refused(action: np.ndarray) -> None:
    with pytest.raises(InputError, match="action"):
        Insertion(draw_case(1)).step(action)
    world = Insertion(draw_case(1))
    with pytest.raises(InputError, match="has no camera 'top'"):
        world.frame("top")


@pytest.mark.slow
def test_an_expert_succeeds_and_feels_what_the_layers_do() -> None:
    for seed in range(12):
        world = Insertion(draw_case(seed))
        samples, outcome = drive(world, Expert(world)), judge(world)
        assert outcome.success and outcome.mark == world.case.chosen and outcome.layer == world.case.layer
        deepest_membrane = max(world.case.layers.puncture_n[: world.case.layer + 1])
        assert samples[:, 0].max() > 0.9 * deepest_membrane - 0.15  # sensor offset and drift


@pytest.mark.slow
def test_an_expert_that_follows_another_instruction_goes_elsewhere_and_is_judged_by_what_was_asked() -> None:
    world = Insertion(draw_case(7))
    other = (world.case.chosen + 1) % 3
    layer = (world.case.layer + 1) % 3
    drive(world, Expert(world, other, layer))
    assert judge(world, other, layer).success
    assert not judge(world).success and judge(world).mark == other


@pytest.mark.slow
def test_stopping_by_the_layers_usual_depth_mostly_fails() -> None:
    """The depth to stop at can't be known from outside: at the mean over cases it is right in fewer than 4 of 10."""
    cases = [draw_case(seed) for seed in range(400)]
    stops = [case.layers.top_mm[case.layer + 1] - STOP_MM - case.surface_mm for case in cases]
    layers = np.array([case.layer for case in cases])
    usual = {layer: np.mean(np.array(stops)[layers == layer]) for layer in range(len(LAYERS))}
    near = [abs(stop - usual[case.layer]) <= DEPTH_MM for stop, case in zip(stops, cases, strict=True)]
    assert np.mean(near) < 0.4


def test_the_surface_pulls_no_sideways_and_pushes_back_along_the_needle() -> None:
    world = Insertion(replace(draw_case(1), start=(0, 0, -18 + draw_case(1).surface_mm, 0, 0, 0, 0)))
    rest = world.step(np.zeros(7))[:, 0].mean()
    for _ in range(75):
        samples = world.step([0, 0, 0, 0, 0, 0, 2.0])
    assert world.depth_mm > 0.5 and samples[:, 0].mean() > rest + 0.02


def test_marks_look_and_are_called_as_the_offline_base_knows_them() -> None:
    known = {name: icon for name, icon in icons.ICONS.items() if (icon.shade, icon.glyph) == ("pale", "disc")}
    assert set(ICONS) == set(known) - {"flame", "maple"}
    for name, rgb in ICONS.items():
        assert np.round(np.array(rgb) * 255).astype(int).tolist() == list(icons.COLORS[known[name].color])


def test_instructions_name_mark_and_layer() -> None:
    assert instruction("cedar", 1) == "Enter at the cedar mark and stop in the second layer."
    case = draw_case(0)
    assert case.instruction == instruction(case.marks[case.chosen].icon, case.layer)


def test_another_world_that_is_shown_a_pose_sees_what_the_first_one_sees() -> None:
    world, looker = Insertion(draw_case(6)), Insertion(draw_case(6))
    before = looker.frame("wrist")
    for _ in range(25):
        world.step([10.0, 5.0, -10.0, 0.1, 0.0, 0.2, 2.0])
    looker.show(world.pose())
    np.testing.assert_array_equal(looker.state(), world.state())
    for camera in ("wrist", "scene"):
        np.testing.assert_array_equal(looker.frame(camera), world.frame(camera))
    assert (looker.frame("wrist") != before).any()
    with pytest.raises(InputError, match=r"pose has shape \(3,\)"):
        looker.show(np.zeros(3))
    world.close()
    looker.close()


def test_a_pose_is_a_copy_that_later_steps_leave_alone() -> None:
    world = Insertion(draw_case(6))
    pose, kept = world.pose(), world.pose().tolist()
    world.step(np.ones(7))
    assert pose.tolist() == kept != world.pose().tolist()
