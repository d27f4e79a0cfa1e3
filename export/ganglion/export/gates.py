"""Gates: how far a stage may be from the one before it; beyond, the export stops.

Where two stages should compute the same, their logits are held together. What fewer bits cost is judged by the task's
own metric, on an evaluation set, against the model as it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ganglion.core.errors import GanglionError
from ganglion.core.manifest import ParityRow
from ganglion.core.tasks import Task
from ganglion.export.targets import FLOAT32, Precision

# Of the headline metric; that of the coarsest part counts.
METRIC_LOSS = {"float32": 0.01, "float16": 0.01, "bfloat16": 0.01, "int8": 0.02, "fp8": 0.02, "int4": 0.05, "nf4": 0.05}
MERGED_AGREEMENT = 0.99  # of the likeliest tokens: a merge sums in another order, and training may be in bf16
BESIDE_AGREEMENT = 0.95  # without data: an adapter on its base in 16 bits, or on the base as published
SAME_MAX_REL = 1e-4  # two float32 implementations, as a share of the largest logit


def gated(row: ParityRow, precision: Precision, task: Task | None) -> ParityRow:
    """The row with its limits.

    Args:
        row: measured.
        precision: what the stage computes in.
        task: whose headline metric the row has, where it was scored.
    """
    limits: dict[str, float] = {}
    if row.stage == "merged":
        limits["argmax_agreement"] = MERGED_AGREEMENT
    elif row.stage.startswith(("merged", "adapter")):
        # Another model by design: where the task judges it, tokens need not agree.
        if task is None:
            limits["argmax_agreement"] = BESIDE_AGREEMENT
    elif precision.vlm == FLOAT32.vlm:
        limits["max_rel"] = SAME_MAX_REL
    if task is not None and task.headline is not None:
        limits[f"{task.headline}_change"] = -max(METRIC_LOSS[part] for part in precision.vlm.values())
    return replace(row, limits=limits)


def check(rows: Sequence[ParityRow]) -> None:
    """Stop where a limit is not kept.

    Raises:
        GanglionError: naming each stage and figure.
    """
    failed = [f"{row.part} {row.stage} against {row.against}: {reason}" for row in rows for reason in row.failures()]
    if failed:
        raise GanglionError(
            "; ".join(failed), remedy="use a higher precision, or train longer; --gate false exports it all the same"
        )
