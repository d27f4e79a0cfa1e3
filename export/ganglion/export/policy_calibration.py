"""The graphs of a policy in 8 bits, calibrated on real moments that its training kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.export.calibrated_int8 import calibrate
from ganglion.export.policy_questions import Question
from ganglion.export.policy_stages import GraphPolicy
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.kept_moments import MOMENTS

FEWEST = 8  # moments; of fewer the range of an activation is chance


def check_enough(questions: Sequence[Question], policy_folder: Path) -> None:
    """See that there is something to calibrate on.

    Raises:
        InputError: the policy has no real moments, or too few.
    """
    if len(questions) < FEWEST:
        found = f"holds {len(questions)} moments to calibrate on, it takes {FEWEST}" if questions else "is missing"
        raise InputError(
            found,
            where=policy_folder / MOMENTS,
            remedy="train the policy again with more data held back, or export without calibration",
        )


def calibrate_policy(folder: Path, config: PolicyConfig, questions: Sequence[Question]) -> None:
    """Rewrite sensor_stream.onnx and action_head.onnx of `folder`, both float32.

    Args:
        folder: of the graphs.
        config: of the policy.
        questions: real moments.
    """
    graphs, heads, streams = GraphPolicy(folder, config), [], []
    for question in questions:
        (fields,), (noise,) = question.fields(graphs), question.noise
        heads.append(fields if noise is None else {**fields, "noise": noise})
        if question.samples is not None and question.present is not None:
            streams.append(graphs.feeds(question.samples, question.present))
    calibrate(folder / "action_head.onnx", heads)
    if streams:
        calibrate(folder / "sensor_stream.onnx", streams)
