"""A set of episodes of one robot: a folder that grows by whole episodes, split between its sessions.

set.json          format version, robot spec, where the data is from
episodes/000000/  one folder each (storage.py)
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.paths import clear_aside, write_json
from ganglion.core.specs import RobotSpec, robot_from_dict, to_dict
from ganglion.training.demonstrations.episode import Episode, check_episode
from ganglion.training.demonstrations.storage import FACTS, holds_files, open_episode, read_facts, write_episode

FORMAT_VERSION = 1
_SET, _EPISODES = "set.json", "episodes"
_FILES = 32  # that an open episode is reckoned to hold: some ten, and as much for two other sets
_MOST_OPEN = 2048
_MOST_LIGHT = 65_536  # kept that hold no files: a few kB each


class EpisodeSet:
    """The episodes of a folder, in the order of their names; each is opened when it is asked for.

    Raises:
        InputError: the folder holds no set, one of a newer format, or no episode.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        facts = _read_set(self.folder)
        self.robot: RobotSpec = robot_from_dict(facts["robot"], self.folder / _SET)
        self.source: dict[str, Any] = facts.get("source", {})
        self.names = _names(self.folder)
        if not self.names:
            raise InputError("holds no episode", where=self.folder, remedy="import or record one")
        self._open = functools.lru_cache(_open_episodes())(self._open_now)
        self._light: dict[int, Episode] = {}

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.names)

    def __getitem__(self, index: int) -> Episode:
        """The episode of that number."""
        episode = self._light.get(index)
        if episode is None:
            episode = self._open(index)
            if len(self._light) < _MOST_LIGHT and not holds_files(episode):
                self._light[index] = episode
        return episode

    def digest(self) -> str:
        """What identifies the whole set: robot, and of each episode its words and the digest noted when written."""
        digest = hashlib.blake2b(json.dumps(to_dict(self.robot), sort_keys=True).encode(), digest_size=16)
        for name in self.names:
            digest.update(f"{name} {json.dumps(self._facts(name), sort_keys=True)}\n".encode())
        return digest.hexdigest()

    def episode_digest(self, name: str) -> str:
        """What identifies one episode's content."""
        return str(self._facts(name)["digest"])

    def instruction(self, name: str) -> str:
        """An episode's goal in words; the episode is not opened."""
        return str(self._facts(name)["instruction"])

    def notes(self, name: str) -> dict[str, Any]:
        """An episode's notes; the episode is not opened."""
        return dict(self._facts(name)["notes"])

    def episode_folder(self, name: str) -> Path:
        """Where an episode lies."""
        return self.folder / _EPISODES / name

    def _facts(self, name: str) -> dict[str, Any]:
        return read_facts(self.episode_folder(name))

    def _open_now(self, index: int) -> Episode:
        return open_episode(self.episode_folder(self.names[index]))


def _open_episodes() -> int:
    """How many episodes a process may keep open, by its limit of open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if files == resource.RLIM_INFINITY else min(_MOST_OPEN, max(1, files // _FILES))


def is_set(folder: Path) -> bool:
    """Whether a folder holds episodes."""
    return (folder / _SET).is_file()


class SetWriter:
    """Puts episodes behind those of a set.

    Args:
        folder: of the set, with or without episodes; it has one writer at a time.

    Raises:
        InputError: the folder holds no set.
    """

    def __init__(self, folder: Path) -> None:
        facts = _read_set(folder)
        self.robot: RobotSpec = robot_from_dict(facts["robot"], folder / _SET)
        self.source: dict[str, Any] = facts.get("source", {})
        self.names = _names(folder)
        self._folder = folder

    def add(self, episode: Episode, where: object = None) -> str:
        """Check an episode and write it; returns its name.

        Args:
            episode: what to write.
            where: what an error calls it; None: the set and its name there.

        Raises:
            InputError: it doesn't fit the robot. Nothing was written.
            GanglionError: the disk is full.
        """
        name = f"{int(self.names[-1]) + 1 if self.names else 0:06d}"
        check_episode(episode, self.robot, where or f"{self._folder}: episode {name}")
        write_episode(self._folder / _EPISODES / name, episode)
        self.names.append(name)
        return name


def create_set(folder: Path, robot: RobotSpec, source: dict[str, Any] | None = None) -> None:
    """Begin a set without episodes.

    Raises:
        InputError: the folder holds something, or a name of the robot's can be no file's.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError("is not empty", where=folder, remedy="choose another folder")
    describe_set(folder, robot, source)


def describe_set(folder: Path, robot: RobotSpec, source: dict[str, Any] | None = None) -> None:
    """Write what a set is of, over what was there.

    Raises:
        InputError: a name of the robot's can be no file's.
    """
    for name in [camera.name for camera in robot.cameras] + [sensor.name for sensor in robot.sensors]:
        if "/" in name or "\0" in name:
            raise InputError(f"the name {name!r} can be no file's", where=f"robot {robot.name}", remedy="leave / out")
    write_json(folder / _SET, {"format_version": FORMAT_VERSION, "robot": to_dict(robot), "source": source or {}})


def clear_set(folder: Path) -> None:
    """Remove what killed writers left in the folder of a set; nobody may be writing there now."""
    clear_aside(folder)
    clear_aside(folder / _EPISODES)


def discard_episodes(folder: Path) -> None:
    """Remove all episodes of a set at once; what they are of stays."""
    discarded = folder / f".{_EPISODES}.discarded"
    shutil.rmtree(discarded, ignore_errors=True)
    if (folder / _EPISODES).is_dir():
        os.replace(folder / _EPISODES, discarded)
    shutil.rmtree(discarded, ignore_errors=True)


def add_episode(folder: Path, episode: Episode) -> str:
    """Check an episode and put it behind the others of a set; returns its name. For many, use one SetWriter.

    Raises:
        InputError: the folder holds no set, or the episode doesn't fit its robot. Nothing was written.
        GanglionError: the disk is full.
    """
    return SetWriter(folder).add(episode)


def split_sessions(
    episodes: EpisodeSet, share: float, seed: int, among: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Numbers of the episodes to learn from and of those held back; a session is on one side as a whole.

    Args:
        episodes: the set.
        share: of actions to hold back, met as nearly as whole sessions allow, by the shortest at least; 0 for none.
        seed: decides which sessions.
        among: numbers of the episodes to share out; None for all.

    Raises:
        InputError: one of the two would be empty.
    """
    numbers = range(len(episodes)) if among is None else among
    sessions: dict[str, list[int]] = {}
    lengths: dict[str, int] = {}
    for number in numbers:
        episode = episodes[number]
        sessions.setdefault(episode.session, []).append(number)
        lengths[episode.session] = lengths.get(episode.session, 0) + len(episode.actions.stamps_ns)
    order = sorted(sessions)
    random.Random(seed).shuffle(order)
    total, count, held = sum(lengths.values()), 0, set[int]()
    for name in order:
        if count + lengths[name] / 2 < share * total:
            count += lengths[name]
            held.update(sessions[name])
    if share and not held:
        held.update(sessions[min(order, key=lambda name: lengths[name])])
    if share and not 0 < len(held) < len(numbers):
        raise InputError(
            f"a share of {share:g} of {len(order)} sessions leaves a side empty",
            where=episodes.folder,
            remedy="give another share, or data of more sessions",
        )
    return [number for number in numbers if number not in held], sorted(held)


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in (folder / _EPISODES).glob(f"{'[0-9]' * 6}/{FACTS}"))


def _read_set(folder: Path) -> dict[str, Any]:
    where = folder / _SET
    try:
        facts: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        version = facts["format_version"]
        facts["robot"]
    except FileNotFoundError:
        raise InputError("holds no episodes", where=folder, remedy="give a folder that data import wrote") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is no set of episodes ({error})", where=where, remedy="import the data again") from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"has format version {version}, this ganglion reads {FORMAT_VERSION}",
            where=where,
            remedy="upgrade ganglion or import the data again",
        )
    return facts
