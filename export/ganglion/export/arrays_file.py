"""Arrays in one file, by name, compressed; nothing in it is ever unpickled, and the same arrays give the same bytes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import BundleError

Array = npt.NDArray[Any]


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write them; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of a file.

    Raises:
        BundleError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"can't be read ({error})", where=path, remedy="export the bundle again") from None


def named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Those whose names begin so, by what follows."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
