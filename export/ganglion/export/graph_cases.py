"""What the graphs of a policy were fed when a bundle was made, and what they answered: parity/policy.npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganglion.core.errors import BundleError
from ganglion.export.arrays_file import Array, named, read_arrays, write_arrays


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
    write_arrays(path, arrays)


def read_cases(path: Path) -> list[GraphCase]:
    """The cases of a bundle.

    Raises:
        BundleError: the file is missing or damaged.
    """
    arrays = read_arrays(path)
    try:
        labels = zip(arrays["graphs"], arrays["of"], strict=True)
    except KeyError as error:
        raise BundleError(f"holds no {error}", where=path, remedy="export the bundle again") from None
    return [
        GraphCase(str(graph), str(of), named(arrays, f"{index}.feeds."), named(arrays, f"{index}.answers."))
        for index, (graph, of) in enumerate(labels)
    ]
