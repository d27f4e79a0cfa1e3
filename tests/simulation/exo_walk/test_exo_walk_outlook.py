"""What a frame shows: the rule against geometry by hand, and a walk that is only looked at."""

import math
from contextlib import closing

import numpy as np
import pytest

from ganglion.core.errors import InputError
from ganglion.simulation.exo_walk import draw_walk, exo_walk_robot
from ganglion.simulation.exo_walk.ground import STAIRS, Ground
from ganglion.simulation.exo_walk.outlook import View, terrain_ahead
from ganglion.simulation.exo_walk.world import ExoWalk

UP = Ground("slope", 3.0, slope_rad=math.radians(10))
DOWN = Ground("stairs", 3.0, rise_m=-0.17, run_m=0.3)
WIDE = math.radians(80)


def at(x_m: float, z_m: float = 1.4, axis_deg: float = -25.0, half_field: float = WIDE) -> View:
    return View(x_m, z_m, math.radians(axis_deg), half_field)


def test_a_slope_is_ahead_while_its_beginning_is_within_the_pictures_edges() -> None:
    height = 0.6 * math.tan(math.radians(10))
    for hip in (1.2, 2.0, 2.9):
        below = math.degrees(math.atan2(1.4 - height, 3.6 - hip))
        inside, outside = (at(hip, axis_deg=-below, half_field=math.radians(1)), at(hip, axis_deg=-below + 1.1))
        assert terrain_ahead("uphill_steep", UP, hip, inside) == "uphill_steep"
        narrow = View(outside.x_m, outside.z_m, outside.axis_rad, math.radians(1))
        assert terrain_ahead("uphill_steep", UP, hip, narrow) is None


def test_what_is_farther_than_three_meters_counts_as_unseen() -> None:
    assert terrain_ahead("uphill_steep", UP, 0.61, at(0.61)) == "uphill_steep"
    assert terrain_ahead("uphill_steep", UP, 0.59, at(0.59)) is None


def test_stairs_down_hide_behind_their_first_edge_from_afar() -> None:
    """All edges lie on one line, 0.17 m down each 0.3 m: an eye 1.2 m up sees them from 1.2 * 0.3 / 0.17 m on."""
    near = np.arange(0.62, 3.0, 0.01)
    seen = [hip for hip in near if terrain_ahead("stairs_down", DOWN, hip, at(hip, z_m=1.2)) is not None]
    assert min(seen) == pytest.approx(3.0 - 1.2 * 0.3 / 0.17, abs=0.03)
    assert len(seen) == pytest.approx((3.0 - min(seen)) / 0.01, abs=2)


def test_under_foot_it_is_what_it_is_until_stairs_end() -> None:
    blind = at(0.0, half_field=0.0)
    assert terrain_ahead("stairs_down", DOWN, 3.1, blind) == "stairs_down"
    top = 3.0 + STAIRS * 0.3
    assert terrain_ahead("stairs_down", DOWN, top - 0.61, blind) == "stairs_down"
    assert terrain_ahead("stairs_down", DOWN, top - 0.59, blind) is None
    assert terrain_ahead("uphill_steep", UP, 30.0, blind) == "uphill_steep"
    assert terrain_ahead("flat", Ground("flat", 3.0), 0.0, blind) == "flat"


def test_a_walks_camera_is_where_the_rule_takes_it_to_be() -> None:
    world = ExoWalk(draw_walk(2, "stairs_up"), exo_walk_robot())
    world.show(np.array([world.ground.start_m - 0.2, 0.9, 0.1, 0, 0.2, 0, 0, 0.2, 0]))
    assert world.terrain_ahead() == "stairs_up"
    world.show(np.array([world.ground.start_m - 4.0, 0.9, 0.1, 0, 0.2, 0, 0, 0.2, 0]))
    assert world.terrain_ahead() is None
    world.show(np.array([world.ground.start_m - 1.0, 0.9, -1.5, 0, 0.2, 0, 0, 0.2, 0]))  # looks up
    assert world.terrain_ahead() is None


def test_another_world_of_the_walk_shows_what_this_one_sees(offscreen: None) -> None:
    with (
        closing(ExoWalk(draw_walk(4), exo_walk_robot())) as one,
        closing(ExoWalk(draw_walk(4), exo_walk_robot())) as two,
    ):
        for _ in range(8):
            one.step(np.zeros(4))
        assert not np.array_equal(one.frame(), two.frame())
        two.show(one.pose())
        assert one.frame().tobytes() == two.frame().tobytes()
        assert one.frame("side").tobytes() == two.frame("side").tobytes()
        assert two.time_s == 0


def test_looking_changes_nothing_in_a_walk(offscreen: None) -> None:
    with (
        closing(ExoWalk(draw_walk(4), exo_walk_robot())) as one,
        closing(ExoWalk(draw_walk(4), exo_walk_robot())) as two,
    ):
        for _ in range(5):
            assert one.step(np.ones(4)).tobytes() == two.step(np.ones(4)).tobytes()
            one.frame()
            one.terrain_ahead()
        assert one.effort() == two.effort()


def test_a_posture_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="pose has shape"):
        ExoWalk(draw_walk(4), exo_walk_robot()).show(np.zeros(8))
