"""The compute report of a run: what it took to train, counted while it trained. See docs/reference/compute.md."""

from ganglion.training.sft.compute.meter import ComputeMeter
from ganglion.training.sft.compute.report import compute_lines, compute_report

__all__ = ["ComputeMeter", "compute_lines", "compute_report"]
