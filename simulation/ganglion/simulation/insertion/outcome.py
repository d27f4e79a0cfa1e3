"""Whether an episode succeeded: at the right mark, in the right layer, as deep as asked, and at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganglion.simulation.insertion.expert import STOP_MM
from ganglion.simulation.insertion.world import Insertion

SECONDS = 6.0  # that an episode has, after which it is judged
MARK_MM = 4.0  # from the middle of the mark; its own side is 7.5 mm
DEPTH_MM = 0.4


@dataclass(frozen=True)
class Outcome:
    """What came of an episode.

    mark            index of the mark within whose reach the needle entered, None: at none, or not at all
    layer           index of the layer that the tip is in, None: outside
    depth_error_mm  how much deeper than asked the tip is, with the block at rest
    breached        whether the layer below the one to stop in was ever entered
    success         right mark, right layer, not breached, and within DEPTH_MM
    """

    mark: int | None
    layer: int | None
    depth_error_mm: float
    breached: bool
    success: bool


def judge(world: Insertion, mark: int | None = None, layer: int | None = None) -> Outcome:
    """The outcome if the episode ended now; `mark` and `layer` are what was asked, the case's own if None."""
    case, tissue = world.case, world.tissue
    mark = case.chosen if mark is None else mark
    layer = case.layer if layer is None else layer
    entered = None
    if world.entry_mm is not None:
        distances = [np.hypot(m.x_mm - world.entry_mm[0], m.y_mm - world.entry_mm[1]) for m in case.marks]
        entered = int(np.argmin(distances)) if min(distances) <= MARK_MM else None
    there = tissue.punctured - 1 if tissue.punctured else None
    breached = tissue.deepest > layer + 1
    error_mm = world.depth_mm - (case.layers.top_mm[layer + 1] - STOP_MM)
    success = entered == mark and there == layer and not breached and abs(error_mm) <= DEPTH_MM
    return Outcome(entered, there, float(error_mm), breached, success)
