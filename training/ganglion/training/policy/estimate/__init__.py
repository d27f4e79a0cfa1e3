"""Memory and time of a policy run, by rehearsing one step of it without weights and without data."""

from ganglion.training.policy.estimate.estimate import Estimate, estimate
from ganglion.training.policy.estimate.wording import estimate_lines, remedy

__all__ = ["Estimate", "estimate", "estimate_lines", "remedy"]
