"""Small Qwen checkpoints made on this machine: the whole pipeline runs on them with no network and no GPU."""

from ganglion.model.offline.base import FAMILIES, IMAGE_FAMILIES, offline_base

__all__ = ["FAMILIES", "IMAGE_FAMILIES", "offline_base"]
