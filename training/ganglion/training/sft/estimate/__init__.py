"""Memory and time of a fine-tuning run, told from the model's config alone: no weights are loaded or allocated."""

from ganglion.training.sft.estimate.devices import Device, get_device
from ganglion.training.sft.estimate.estimate import Estimate, estimate
from ganglion.training.sft.estimate.images import image_tokens
from ganglion.training.sft.estimate.plan import Plan
from ganglion.training.sft.estimate.skeleton import read_config
from ganglion.training.sft.estimate.wording import estimate_lines, remedy

__all__ = [
    "Device",
    "Estimate",
    "Plan",
    "estimate",
    "estimate_lines",
    "get_device",
    "image_tokens",
    "read_config",
    "remedy",
]
