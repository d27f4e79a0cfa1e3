"""Whether a set is what was written: every array, every image and every digest of it is read."""

from __future__ import annotations

from tqdm import tqdm

from ganglion.core.datafile import named_rows
from ganglion.core.errors import InputError
from ganglion.training.demonstrations.episode import check_episode
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.images import decoded
from ganglion.training.demonstrations.storage import content_digest


def check_set(episodes: EpisodeSet) -> None:
    """Read all of a set.

    Raises:
        InputError: one line for each damaged episode, up to a limit.
    """
    bad = []
    for number, name in enumerate(tqdm(episodes.names, desc="reading", unit="episode", disable=None, leave=False)):
        try:
            _check(episodes, number, name)
        except InputError as error:
            bad.append(str(error).removeprefix(f"{episodes.folder}/"))
    if bad:
        raise named_rows(episodes.folder, bad, len(bad), "episode")


def _check(episodes: EpisodeSet, number: int, name: str) -> None:
    episode, where = episodes[number], f"episode {name}"
    check_episode(episode, episodes.robot, where)
    for camera in episodes.robot.cameras:
        if camera.name in episode.cameras:
            for _ in decoded(episode.cameras[camera.name], camera, where):
                pass
    if content_digest(episodes.episode_folder(name)) != episodes.episode_digest(name):
        raise InputError("is not what its digest says", where=where, remedy="copy the episode again")
