"""What a VLM was asked when its bundle was made, and what it answered: parity/vlm.npz, for `ganglion export verify`.

Of each position the likeliest tokens are kept, not the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganglion.core.errors import BundleError
from ganglion.export.arrays_file import Array, named, read_arrays, write_arrays

if TYPE_CHECKING:
    from ganglion.export.stages import Stages

TOP = 32  # tokens of a position


@dataclass(frozen=True)
class Reference:
    """One prompt and its answer. P positions: the last ones of the prompt, then each token of the answer.

    inputs        what the processor made of the prompt, B = 1
    position_ids  (3, 1, T)
    tokens        (S,) of the answer
    at            (P, TOP) tokens that the trained model found likeliest at each position, the likeliest first
    trained       (P, TOP) its logits of them
    exported      (P, TOP) those of what was exported, as it answered where it was made
    largest       the largest logit of all, regardless of sign
    """

    inputs: Mapping[str, Array]
    position_ids: Array
    tokens: Array
    at: Array
    trained: Array
    exported: Array
    largest: float


def write_references(path: Path, stages: Stages) -> None:
    """Write what the stages were asked, what the first and the last of them answered."""
    arrays: dict[str, Array] = {}
    for index, (prompt, first, last) in enumerate(zip(stages.prompts, stages.trained, stages.last, strict=True)):
        at = np.argsort(-first.logits, axis=-1, kind="stable")[:, :TOP].astype(np.int32)
        found = {
            **{f"inputs.{name}": value.numpy() for name, value in prompt.inputs.items()},
            "position_ids": prompt.position_ids.numpy(),
            "tokens": np.array(first.tokens, np.int32),
            "at": at,
            "trained": np.take_along_axis(first.logits, at, -1),
            "exported": np.take_along_axis(last.logits, at, -1),
            "largest": np.abs(first.logits).max(),
        }
        arrays |= {f"{index}.{name}": value for name, value in found.items()}
    write_arrays(path, arrays)


def read_references(path: Path) -> Sequence[Reference]:
    """The references of a bundle's VLM.

    Raises:
        BundleError: the file is missing or damaged.
    """
    arrays = read_arrays(path)
    try:
        count = 1 + max(int(name.split(".")[0]) for name in arrays)
        return [_reference(arrays, f"{index}.") for index in range(count)]
    except (ValueError, KeyError) as error:
        raise BundleError(f"holds something else ({error})", where=path, remedy="export the bundle again") from None


def _reference(arrays: Mapping[str, Array], prefix: str) -> Reference:
    names = ("position_ids", "tokens", "at", "trained", "exported")
    return Reference(
        inputs=named(arrays, f"{prefix}inputs."),
        **{name: arrays[prefix + name] for name in names},
        largest=float(arrays[f"{prefix}largest"]),
    )
