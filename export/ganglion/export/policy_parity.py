"""How far each stage of a policy is from the one before it, and what that costs.

trained (torch, whole windows) -> onnx (float32, streamed hop by hop) -> onnx in fewer bits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.core.manifest import ParityRow
from ganglion.export.policy_questions import Question
from ganglion.export.policy_stages import Array, GraphPolicy, PolicyStage

MAX_ABS = 1e-4  # float32: of a normalized action, or of a frame


@dataclass(frozen=True)
class Answers:
    """What a stage made of all questions.

    actions   normalized chunk of each decision on fresh inputs
    frames    what its expert read at each of them; empty where no sensor is read
    features  VL features of the images
    error     mean distance of a normalized action from what was demonstrated; None without demonstrations
    """

    actions: Sequence[Array]
    frames: Sequence[Array]
    features: Sequence[Array]
    error: float | None


def ask(stage: PolicyStage, fresh: Sequence[Question], kept: Sequence[Question]) -> Answers:
    """Ask a stage everything."""
    actions, frames, distances = [], [], []
    for question in fresh:
        for fields, noise in zip(question.fields(stage), question.noise, strict=True):
            actions.append(stage.decide(fields, noise))
            if "frames" in fields:
                frames.append(fields["frames"])
    for question in kept:
        assert question.demonstrated is not None
        (fields,), (noise,) = question.fields(stage), question.noise
        distances.append(np.abs(stage.decide(fields, noise)[0] - question.demonstrated))
    error = float(np.nanmean(np.stack(distances))) if distances else None
    return Answers(actions, frames, stage.features, error)


def parity_row(
    stage: str, against: str, found: Answers, before: Answers, trained: Answers, loss: float, *, sees: bool = False
) -> ParityRow:
    """The row of a stage against another, gated by what it loses of what was trained.

    Metrics:
        vl_features_max_abs  largest difference of a VL feature from the other stage
        action_error         see Answers, on moments that were not calibrated on
        action_error_drop    by how much that fell since training; it rose where this is negative
        max_action_shift     without such moments, or where the VL encoder was rounded, whose features moments hold: the
                             mean distance of a chunk from the trained one where it is largest

    Args:
        stage: its name.
        against: that of the stage it is compared with.
        found: its answers.
        before: those of the other stage.
        trained: those of the trained policy.
        loss: how far the action error may rise. A chunk's mean distance from the trained one bounds that from above.
        sees: its VL encoder has fewer bits.
    """
    metrics: dict[str, float | bool] = {}
    limits: dict[str, float] = {}
    if found.features:
        metrics["vl_features_max_abs"] = _apart(found.features, before.features)
    if found.error is not None and trained.error is not None:
        metrics |= {"action_error": found.error, "action_error_drop": trained.error - found.error}
        limits["action_error_drop"] = -loss
    if found.error is None or sees:
        pairs = zip(found.actions, trained.actions, strict=True)
        metrics["max_action_shift"] = float(np.max([np.abs(a - b).mean() for a, b in pairs]))
        limits["max_action_shift"] = loss
    return ParityRow(
        "policy", stage, against, len(found.actions), _apart(found.actions, before.actions), metrics, limits
    )


def stream_row(stage: str, found: Answers, trained: Answers) -> ParityRow:
    """Frames that a float32 graph gives when it is fed hop by hop, against the trained network's of whole windows."""
    apart = _apart(found.frames, trained.frames)
    return ParityRow("policy", stage, "window", len(found.frames), apart, limits={"max_abs": MAX_ABS})


def rounded_stream_row(stage: str, graphs: GraphPolicy, fresh: Sequence[Question], before: Answers) -> ParityRow:
    """The same in fewer bits: hop by hop against whole windows, both of these graphs.

    Sums in another order fall on the other side of a rounding now and then; that must not cost more than the rounding
    itself does, the distance from float32.
    """
    streamed, whole = [], []
    for question in fresh:
        assert question.samples is not None and question.present is not None
        streamed += graphs.frames(question.samples, question.present, question.ends)
        whole += graphs.windows(question.samples, question.present, question.ends)
    limits = {"max_abs": _apart(streamed, before.frames)}
    return ParityRow("policy", stage, "window", len(streamed), _apart(streamed, whole), limits=limits)


def _apart(found: Sequence[Array], other: Sequence[Array]) -> float:
    """The largest difference; NaN where anything is, which max() might not see and no limit lets pass."""
    return float(np.max([np.abs(a - b).max() for a, b in zip(found, other, strict=True)]))
