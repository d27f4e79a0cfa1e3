"""What the graphs of a policy were fed when a bundle was made, and what they answered: parity/policy.npz."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import BundleError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GraphCase:
    """One call of one graph.

    graph    name of the file, without .onnx
    of       what it was fed, in words
    feeds    inputs by name
    answers  outputs by name, where the bundle was made
    """

    graph: str
    of: str
    feeds: Mapping[str, Array]
    answers: Mapping[str, Array]


def write_cases(path: Path, cases: Sequence[GraphCase]) -> None:
    """Write cases as plain arrays."""
    arrays: dict[str, Array] = {"graphs": np.array([case.graph for case in cases], np.str_)}
    arrays["of"] = np.array([case.of for case in cases], np.str_)
    for index, case in enumerate(cases):
        for kind in ("feeds", "answers"):
            arrays |= {f"{index}.{kind}.{name}": value for name, value in getattr(case, kind).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_cases(path: Path) -> list[GraphCase]:
    """The cases of a bundle.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return [
            GraphCase(str(graph), str(of), *(_named(arrays, f"{index}.{kind}.") for kind in ("feeds", "answers")))
            for index, (graph, of) in enumerate(zip(arrays["graphs"], arrays["of"], strict=True))
        ]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"can't be read ({error})", where=path, remedy="export the bundle again") from None


def _named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
