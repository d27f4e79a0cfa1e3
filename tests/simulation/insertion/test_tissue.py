"""What layers do to a needle, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from ganglion.simulation.insertion.tissue import Layers, Tissue

_STEP_MM = 0.001
LAYERS = Layers(
    top_mm=(0.0, 2.0, 4.0),
    stiffness_n_per_mm=(0.6, 1.5, 0.9),
    stiffening_n_per_mm2=(0.4, 0.0, 0.6),
    puncture_n=(0.3, 0.7, 0.4),
    friction_n_per_mm=(0.03, 0.05, 0.04),
    cutting_n=(0.05, 0.1, 0.06),
)


def test_the_force_before_puncture_is_the_membranes_polynomial() -> None:
    tissue = Tissue(LAYERS)
    for push_mm in np.arange(_STEP_MM, LAYERS.puncture_mm(0) - _STEP_MM, _STEP_MM):
        assert tissue.move(push_mm) == pytest.approx(0.6 * push_mm + 0.4 * push_mm**2)
    assert tissue.punctured == 0


def test_a_membrane_gives_way_where_its_force_reaches_the_puncture_force() -> None:
    tissue, depth_mm = Tissue(LAYERS), 0.0
    while not tissue.punctured:
        depth_mm += _STEP_MM
        tissue.move(depth_mm)
    # The root of 0.4 x^2 + 0.6 x = 0.3.
    root_mm = (-0.6 + np.sqrt(0.6**2 + 4 * 0.4 * 0.3)) / (2 * 0.4)
    assert depth_mm == pytest.approx(root_mm, abs=2 * _STEP_MM)
    assert LAYERS.puncture_mm(0) == pytest.approx(root_mm)
    assert LAYERS.puncture_mm(1) == pytest.approx(0.7 / 1.5)


def test_inside_a_layer_the_force_grows_by_its_friction_on_the_length_that_is_inside() -> None:
    tissue = Tissue(LAYERS)
    forces = {}
    for depth_mm in np.arange(-0.5, 1.9, _STEP_MM):
        forces[round(depth_mm, 3)] = tissue.move(depth_mm)
    assert forces[1.0] == pytest.approx(0.05 + 0.03 * 1.0, rel=1e-3)
    assert forces[1.8] - forces[1.0] == pytest.approx(0.03 * 0.8, rel=1e-3)


def test_turning_back_reverses_the_friction_and_drops_the_cutting_force_whatever_the_speed() -> None:
    for step_mm in (_STEP_MM, 4 * _STEP_MM):
        tissue = Tissue(LAYERS)
        for depth_mm in np.arange(-0.1, 1.5, step_mm):
            tissue.move(depth_mm)
        for depth_mm in np.arange(1.5, 1.0, -step_mm):
            force = tissue.move(depth_mm)
        assert force == pytest.approx(-0.03 * 1.0, rel=0.02)


def test_a_stroke_forth_and_back_costs_the_work_of_friction_and_cutting() -> None:
    tissue = Tissue(LAYERS)
    for depth_mm in np.arange(-0.1, 0.9, _STEP_MM):
        tissue.move(depth_mm)
    forth, back = np.arange(0.9, 1.5, _STEP_MM), np.arange(1.5, 0.9, -_STEP_MM)
    work = _STEP_MM * (sum(map(tissue.move, forth)) - sum(map(tissue.move, back)))
    grip_n = 0.03 * 1.2  # in the middle of the stroke
    assert work == pytest.approx(0.6 * (2 * grip_n + 0.05), rel=0.1)


def test_a_pushed_membrane_bulges_and_the_layers_below_follow_less_with_depth() -> None:
    tissue = Tissue(LAYERS)
    tissue.move(-1.0)
    np.testing.assert_allclose(tissue.ahead_mm(), [1.0, 3.0, 5.0])
    tissue.move(0.2)
    ahead = tissue.ahead_mm()
    assert ahead[0] == pytest.approx(0.0)
    moved = ahead + 0.2 - np.array([0.0, 2.0, 4.0])
    assert moved[0] > moved[1] > moved[2] > 0


def test_a_tip_that_is_withdrawn_finds_the_membrane_closed_again_and_its_deepest_is_remembered() -> None:
    tissue = Tissue(LAYERS)
    for depth_mm in np.arange(-0.5, 3.0, _STEP_MM):
        tissue.move(depth_mm)
    assert tissue.punctured == tissue.deepest == 2
    for depth_mm in np.arange(3.0, -0.5, -_STEP_MM):
        tissue.move(depth_mm)
    assert (tissue.punctured, tissue.deepest) == (0, 2)
    assert tissue.move(0.1) == pytest.approx(0.6 * 0.1 + 0.4 * 0.1**2)
