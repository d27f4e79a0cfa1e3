"""What of a backbone is to learn."""

from __future__ import annotations

from dataclasses import dataclass

from ganglion.core.errors import InputError

MODES = ("none", "lora", "full")


@dataclass(frozen=True)
class FinetuneOptions:
    """What of a backbone learns.

    mode            none: it is frozen; lora: adapters; full: weights of its own
    layers          full: how many of the text layers that are used, counted from the last; all if there are fewer
    vision          the vision tower, too
    r, alpha        lora: rank, and the scale alpha / r of what it adds
    dropout         lora: share of its inputs dropped in training
    target_modules  lora: "all-linear", one regular expression, or a list of name endings

    Raises:
        InputError: a value is out of range.
    """

    mode: str = "none"
    layers: int = 4
    vision: bool = False
    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    target_modules: str | list[str] = "all-linear"

    def __post_init__(self) -> None:
        where = "backbone to finetune"
        if self.mode not in MODES:
            raise InputError(f"mode is {self.mode!r}", where=where, remedy=f"use one of {', '.join(MODES)}")
        for name, value, low in (("layers", self.layers, 0), ("r", self.r, 1)):
            if value < low:
                raise InputError(f"{name} is {value}", where=where, remedy=f"give {low} or more")
        if not (self.alpha > 0 and 0 <= self.dropout < 1):
            raise InputError(
                f"alpha is {self.alpha}, dropout {self.dropout}", where=where, remedy="give alpha > 0, 0 <= dropout < 1"
            )
