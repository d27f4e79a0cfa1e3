"""features.json, by which TensorFlow Datasets says what the records of a data set hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganglion.core.errors import InputError

FEATURES, STEPS = "features.json", "steps/"


@dataclass(frozen=True)
class Feature:
    """One feature of a step or of an episode.

    kind   what it holds
    shape  of one value, -1 for a length that varies
    """

    kind: Literal["image", "text", "numbers"]
    shape: tuple[int, ...] = ()


def read_features(path: Path) -> dict[str, Feature]:
    """The features of a data set by their names in a record; those of kinds that no episode needs are left out.

    Raises:
        InputError: the file is missing or damaged, or the data set has no steps.
    """
    try:
        found = dict(_walk("", json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="it belongs beside the TFRecord files: copy it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"describes no features ({error})", where=path, remedy="copy it again") from None
    if not any(name.startswith(STEPS) for name in found):
        raise InputError("describes no steps", where=path, remedy="give an RLDS data set")
    return found


def _walk(name: str, about: Mapping[str, Any]) -> Iterator[tuple[str, Feature]]:
    if "featuresDict" in about:
        for key, inner in about["featuresDict"]["features"].items():
            yield from _walk(f"{name}/{key}" if name else key, inner)
    elif "sequence" in about and f"{name}/" == STEPS:
        yield from _walk(name, about["sequence"]["feature"])
    elif "image" in about:
        image = about["image"]
        if image.get("dtype", "uint8") == "uint8":  # 16 bits are depth
            yield name, Feature("image", _shape(image))
    elif "text" in about:
        yield name, Feature("text")
    elif "tensor" in about:
        tensor = about["tensor"]
        if tensor["dtype"] in ("string", "object"):
            yield name, Feature("text", _shape(tensor))
        elif tensor.get("encoding", "none") == "none":
            yield name, Feature("numbers", _shape(tensor))


def _shape(about: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(dimension) for dimension in about.get("shape", {}).get("dimensions", ()))
