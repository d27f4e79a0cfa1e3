"""Memory and time of a fine-tuning run, told from the model's config alone: no weights are loaded or allocated."""

from ganglion.training.sft.estimate.estimate import Estimate, estimate
from ganglion.training.sft.estimate.plan import Plan
from ganglion.training.sft.estimate.wording import estimate_lines, remedy

__all__ = ["Estimate", "Plan", "estimate", "estimate_lines", "remedy"]
