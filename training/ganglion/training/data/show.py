"""`ganglion data show SET --episode N [--video FILE.mp4] [--plot FILE.png]`: one episode of a set, to look at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.training.demonstrations import summary
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.measures import measure_set
from ganglion.training.demonstrations.showing import check_show, show


@dataclass(frozen=True)
class ShowConfig:
    """Options of `ganglion data show`."""

    source: Path
    """The folder with the set of episodes."""
    episode: int = 0
    """Which of them, from 0."""
    video: Path | None = None
    """.mp4 or .gif to write what its cameras saw to, side by side with the time; default none."""
    plot: Path | None = None
    """.png to plot its sensors, state and actions over time in; default none."""


def run(config: ShowConfig) -> None:
    """Say what the episode holds, and write what is asked for.

    Raises:
        InputError: an option is bad, there is no such episode, it is damaged, or has no frame for a video.
        GanglionError: the disk is full.
    """
    check_show(config.video, config.plot)
    episodes = EpisodeSet(config.source)
    if not 0 <= config.episode < len(episodes):
        what, remedy = f"has no episode {config.episode}", f"give --episode 0 to {len(episodes) - 1}"
        raise InputError(what, where=config.source, remedy=remedy)
    files = show(config.source, config.episode, config.video, config.plot)
    episode, name = episodes[config.episode], episodes.names[config.episode]
    print(f"{config.source}: episode {name}, session {episode.session}")
    print(f"instruction: {episode.instruction}\nnotes: {json.dumps(dict(episode.notes), ensure_ascii=False)}")
    figures = summary.summarize(episodes.robot, measure_set(episodes, [config.episode], images=False))
    print("\n".join(summary.as_lines(figures)))
    for path in files:
        print(f"written: {path}")
