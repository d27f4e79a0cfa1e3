"""A small Qwen-VL checkpoint made on this machine: the whole pipeline runs on it with no network and no GPU."""

from ganglion.model.offline.base import FAMILIES, offline_base

__all__ = ["FAMILIES", "offline_base"]
