"""Tensors on disk: safetensors files, written whole or not at all, mapped rather than read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.paths import written_aside


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors under their names, and text beside them.

    Raises:
        GanglionError: the disk is full or the folder can't be written.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with written_aside(path) as aside:
        aside.touch()
        mode = aside.stat().st_mode
        try:
            save_file(plain, aside, metadata={"format": "pt", **(metadata or {})})
            aside.chmod(mode)  # safetensors lets nobody but the owner read it
        except SafetensorError as error:  # says what the system said
            raise GanglionError(
                f"can't write: {error}", where=path, remedy="free space or choose another folder"
            ) from error


def open_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, by name, and the text beside them; a tensor is read from disk where it is looked at.

    Raises:
        InputError: the file is missing, cut short or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise InputError("is missing", where=path, remedy="copy it again, or run what wrote it again") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"is damaged ({error})", where=path, remedy="copy it again, or delete it and run what wrote it again"
        ) from None
