"""An episode on disk: a folder of plain .npy arrays, of which the large ones are mapped, and of images end to end.

episode.json                                   instruction, session, absent groups, notes, which streams there are
actions.npy  actions.stamps.npy                and so for state and for sensor.NAME
camera.NAME.images  camera.NAME.ends.npy  camera.NAME.stamps.npy     encoded images, and where each ends
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json, written_aside
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stamps, Stream

FACTS = "episode.json"
_SMALL = 4096  # bytes, of a file that is read at once: a map would take as much memory, and a descriptor
_AGAIN = "remove the episode or copy it again"


def write_episode(folder: Path, episode: Episode) -> None:
    """Write an episode; under its final name it is there whole or not at all.

    Raises:
        InputError: an image is empty.
        GanglionError: the disk is full or the folder can't be written.
    """
    with written_aside(folder) as aside:
        aside.mkdir()
        for name, stream in _streams(episode).items():
            _save(aside / f"{name}.npy", stream.values)
            _save(aside / f"{name}.stamps.npy", stream.stamps_ns)
        for name, frames in episode.cameras.items():
            _write_images(aside, f"camera.{name}", frames)
        write_json(
            aside / FACTS,
            {
                "digest": content_digest(aside),
                "instruction": episode.instruction,
                "session": episode.session,
                "state": episode.state is not None,
                "sensors": list(episode.sensors),
                "cameras": list(episode.cameras),
                "absent": {name: list(groups) for name, groups in episode.absent.items()},
                "notes": dict(episode.notes),
            },
        )


def read_facts(folder: Path) -> dict[str, Any]:
    """What episode.json says of an episode, its content's digest included.

    Raises:
        InputError: there is none, or it is damaged.
    """
    where = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        for key in ("digest", "instruction", "session"):
            if not isinstance(facts[key], str):
                raise TypeError(f"{key} is no text")
    except FileNotFoundError:
        raise InputError("is missing", where=where, remedy=_AGAIN) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is damaged ({error})", where=where, remedy=_AGAIN) from None
    return facts


def content_digest(folder: Path) -> str:
    """What identifies an episode's content, from all of its stamps, readings and images; reads them from disk."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.iterdir() if path.name != FACTS):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'blake2b').hexdigest()}\n".encode())
    return digest.hexdigest()


def open_episode(folder: Path) -> Episode:
    """The episode in a folder; its arrays and images are read from disk where and when they are looked at.

    Raises:
        InputError: a file is missing, cut short or of another kind.
    """
    facts = read_facts(folder)
    try:
        return Episode(
            instruction=facts["instruction"],
            session=facts["session"],
            actions=_open_stream(folder, "actions"),
            state=_open_stream(folder, "state") if facts["state"] else None,
            sensors={name: _open_stream(folder, f"sensor.{name}") for name in facts["sensors"]},
            cameras={name: _open_images(folder, f"camera.{name}") for name in facts["cameras"]},
            absent=facts["absent"],
            notes=facts["notes"],
        )
    except FileNotFoundError as error:
        raise InputError("is missing", where=error.filename, remedy=_AGAIN) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is damaged ({error})", where=folder, remedy=_AGAIN) from None


def _streams(episode: Episode) -> dict[str, Stream]:
    streams = {"actions": episode.actions, **{f"sensor.{name}": stream for name, stream in episode.sensors.items()}}
    return streams if episode.state is None else {**streams, "state": episode.state}


@dataclass(frozen=True)
class _Sink:
    write: Callable[[bytes], object]


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    """As np.save; given a file, it would tell of a full disk by how many items it wrote, without an errno."""
    with path.open("wb") as file:
        np.save(_Sink(file.write), array, allow_pickle=False)


def _open_stream(folder: Path, name: str) -> Stream:
    stamps, values = _map(folder / f"{name}.stamps.npy"), _map(folder / f"{name}.npy")
    if len(stamps) != len(values):
        raise ValueError(f"{name} has {len(values)} readings and {len(stamps)} stamps")
    return Stream(stamps, values)


def _map(path: Path) -> npt.NDArray[Any]:
    small = path.stat().st_size <= _SMALL
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode=None if small else "r", allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{path.name}: {str(error).splitlines()[0]}") from None
    array.flags.writeable = False
    return array.view(np.ndarray)  # slices of a np.memmap cost ten times as much


def holds_files(episode: Episode) -> bool:
    """Whether anything of an opened episode is mapped, so that it holds descriptors of files."""
    arrays = [array for stream in _streams(episode).values() for array in (stream.stamps_ns, stream.values)]
    for frames in episode.cameras.values():
        arrays += [frames.stamps_ns, *([frames.encoded.ends] if isinstance(frames.encoded, _StoredImages) else [])]
    return any(isinstance(array.base, np.memmap) for array in arrays)


def _write_images(folder: Path, name: str, frames: CameraStream) -> None:
    ends, end = [], 0
    with (folder / f"{name}.images").open("wb") as file:
        for number, image in enumerate(frames.encoded):
            if not image:
                raise InputError(f"has no image at reading {number}", where=name, remedy="leave it out")
            file.write(image)
            end += len(image)
            ends.append(end)
    _save(folder / f"{name}.ends.npy", np.asarray(ends, np.int64))
    _save(folder / f"{name}.stamps.npy", frames.stamps_ns)


def _open_images(folder: Path, name: str) -> CameraStream:
    stamps: Stamps = _map(folder / f"{name}.stamps.npy")
    images = _StoredImages(folder / f"{name}.images", _map(folder / f"{name}.ends.npy"))
    if len(stamps) != len(images):
        raise ValueError(f"{name} has {len(images)} images and {len(stamps)} stamps")
    return CameraStream(stamps, images)


class _StoredImages(Sequence[bytes]):
    """Images that lie end to end in a file, which is open only while one is read."""

    def __init__(self, path: Path, ends: npt.NDArray[np.int64]) -> None:
        self._path, self.ends = path, ends
        size = path.stat().st_size
        if (np.diff(ends, prepend=0) <= 0).any() or (int(ends[-1]) if len(ends) else 0) != size:
            raise ValueError(f"{path.name} has {size} bytes, not what its index says")

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        begin = int(self.ends[number - 1]) if number else 0
        with self._path.open("rb") as file:
            file.seek(begin)
            return file.read(int(self.ends[number]) - begin)

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))
