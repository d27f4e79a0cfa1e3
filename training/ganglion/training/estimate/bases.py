"""The base of a run of which nothing is read but its config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError


def config_place(base: str) -> str:
    """Where the config of a base is: a folder needs to hold nothing else.

    Raises:
        InputError: there is no such base.
    """
    folder = Path(base).expanduser()
    if (folder / "config.json").is_file():
        return str(folder)
    from ganglion.model.checkpoint import resolve_base

    return resolve_base(base)


def read_config(base: str | Path | Mapping[str, Any]) -> Any:
    """The transformers config of a base; nothing else of it is read, but of a hub name the config is downloaded.

    Args:
        base: as in `ganglion.model.checkpoint.resolve_base`, or a config as a dict with its model_type. A folder may
            hold nothing but a config.json.

    Raises:
        InputError: there is no such config.
    """
    from transformers import AutoConfig

    try:
        if isinstance(base, Mapping):
            values = dict(base)
            return AutoConfig.for_model(values.pop("model_type"), **values)
        if str(base).startswith("offline:"):
            from ganglion.model.checkpoint import resolve_base

            # Trained or not, the architecture is the same, and random weights are made in two seconds.
            return AutoConfig.from_pretrained(resolve_base(f"{str(base).partition('?')[0]}?untrained"))
        return AutoConfig.from_pretrained(base)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0]
        where = "config" if isinstance(base, Mapping) else base
        raise InputError(
            f"no usable config: {reason:.160}", where=where, remedy="give a checkpoint folder or a hub name"
        ) from error


def weights_dtype(config: Any, on_gpu: bool) -> str:
    """What weights are loaded in where that is left to hardware and width: float32 or bfloat16."""
    import torch

    from ganglion.model.vlm import preferred_dtype

    return "bfloat16" if on_gpu else str(preferred_dtype(config, torch.device("cpu"))).removeprefix("torch.")
