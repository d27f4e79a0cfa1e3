"""What a stage is held against: a logit that is no number is never taken for agreement."""

from dataclasses import replace

import numpy as np
import pytest

from ganglion.export.gates import gated
from ganglion.export.parity import compare, take_traces
from ganglion.export.prompts import Prompt
from ganglion.export.targets import FLOAT32

PROMPT = Prompt({}, None, answer=(1, 2))


def answering(logits):
    """A stage that gives these, (4, V): two of the prompt, then one for each token."""
    return lambda prompt, tokens, steps: iter([logits[:2], logits[2:3], logits[3:4]])


def test_the_largest_difference_of_any_row_counts():
    before = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32)
    after = before.copy()
    after[2, 7] += 0.25
    reference = take_traces(answering(before), [PROMPT])
    row, _ = compare(answering(after), [PROMPT], reference, stage="onnx", against="merged")
    assert row.max_abs == pytest.approx(0.25)
    assert row.metrics["max_rel"] == pytest.approx(0.25 / np.abs(before).max())


@pytest.mark.parametrize("wrong", ["now", "then"])
def test_a_logit_that_is_no_number_is_gated(wrong):
    good = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32)
    bad = good.copy()
    bad[3, 0] = np.nan
    stages = {"now": (good, bad), "then": (bad, good)}[wrong]
    reference = take_traces(answering(stages[0]), [PROMPT])
    row, _ = compare(answering(stages[1]), [PROMPT], reference, stage="onnx", against="merged")
    assert np.isnan(row.max_abs)
    failed = replace(gated(row, FLOAT32, None), metrics={**row.metrics, "argmax_agreement": 1.0}).failures()
    assert any("max_rel" in reason for reason in failed)
