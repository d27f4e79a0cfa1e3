"""A set of episodes of one robot: a folder that grows by whole episodes, split between its sessions.

set.json          format version, robot spec, where the data is from
episodes/000000/  one folder each (storage.py)
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.core.specs import RobotSpec, robot_from_dict, to_dict
from ganglion.training.demonstrations.episode import Episode, check_episode
from ganglion.training.demonstrations.storage import FACTS, open_episode, read_digest, write_episode

FORMAT_VERSION = 1
_SET, _EPISODES = "set.json", "episodes"
_OPEN_EPISODES = 64  # kept mapped at once: some ten files each, and a process may open about a thousand


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
        self._open = functools.lru_cache(_OPEN_EPISODES)(self._open_now)

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.names)

    def __getitem__(self, index: int) -> Episode:
        """The episode of that number."""
        return self._open(index)

    def digest(self) -> str:
        """What identifies robot and content of the whole set, from what was noted when each episode was written."""
        digest = hashlib.blake2b(json.dumps(to_dict(self.robot), sort_keys=True).encode(), digest_size=16)
        for name in self.names:
            digest.update(f"{name} {self.episode_digest(name)}\n".encode())
        return digest.hexdigest()

    def episode_digest(self, name: str) -> str:
        """What identifies one episode's content."""
        return read_digest(self.folder / _EPISODES / name)

    def _open_now(self, index: int) -> Episode:
        return open_episode(self.folder / _EPISODES / self.names[index])


def is_set(folder: Path) -> bool:
    """Whether a folder holds episodes."""
    return (folder / _SET).is_file()


def create_set(folder: Path, robot: RobotSpec, source: dict[str, Any] | None = None) -> None:
    """Begin a set without episodes.

    Raises:
        InputError: the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError("is not empty", where=folder, remedy="choose another folder")
    write_json(folder / _SET, {"format_version": FORMAT_VERSION, "robot": to_dict(robot), "source": source or {}})


def add_episode(folder: Path, episode: Episode) -> str:
    """Check an episode and put it behind the others of a set; returns its name.

    Raises:
        InputError: the folder holds no set, or the episode doesn't fit its robot. Nothing was written.
        GanglionError: the disk is full.
    """
    robot = robot_from_dict(_read_set(folder)["robot"], folder / _SET)
    names = _names(folder)
    name = f"{int(names[-1]) + 1 if names else 0:06d}"
    check_episode(episode, robot, f"{folder}: episode {name}")
    write_episode(folder / _EPISODES / name, episode)
    return name


def split_sessions(
    episodes: EpisodeSet, share: float, seed: int, among: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Numbers of the episodes to learn from and of those held back; a session is on one side as a whole.

    Args:
        episodes: the set.
        share: of actions to hold back, met as nearly as whole sessions allow; 0 holds nothing back.
        seed: decides which sessions.
        among: numbers of the episodes to share out; None for all.

    Raises:
        InputError: one of the two would be empty.
    """
    numbers = range(len(episodes)) if among is None else among
    sessions: dict[str, list[int]] = {}
    for number in numbers:
        sessions.setdefault(episodes[number].session, []).append(number)
    order = sorted(sessions)
    random.Random(seed).shuffle(order)
    lengths = {name: sum(len(episodes[number].actions.stamps_ns) for number in sessions[name]) for name in order}
    total, count, held = sum(lengths.values()), 0, list[int]()
    for name in order:
        if count + lengths[name] / 2 < share * total:
            count += lengths[name]
            held += sessions[name]
    if share and not 0 < count < total:
        raise InputError(
            f"a share of {share:g} of {len(order)} sessions leaves a side empty",
            where=episodes.folder,
            remedy="give another share, or data of more sessions",
        )
    return [number for number in numbers if number not in set(held)], sorted(held)


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in (folder / _EPISODES).glob(f"[0-9]*/{FACTS}"))


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
