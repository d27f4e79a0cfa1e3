"""What every estimate of a run shares: devices, bases of which only the config is read, pictures, wording."""

from ganglion.training.estimate.bases import config_place, read_config, weights_dtype
from ganglion.training.estimate.devices import Device, device_name, get_device
from ganglion.training.estimate.images import ImageTokens, image_tokens
from ganglion.training.estimate.wording import fewer_pixels, fit, search, smaller_batches, table

__all__ = [
    "Device",
    "ImageTokens",
    "config_place",
    "device_name",
    "fewer_pixels",
    "fit",
    "get_device",
    "image_tokens",
    "read_config",
    "search",
    "smaller_batches",
    "table",
    "weights_dtype",
]
