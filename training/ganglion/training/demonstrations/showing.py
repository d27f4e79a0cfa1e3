"""An episode to look at: a video of what its cameras saw, a plot of everything else that was recorded."""

from __future__ import annotations

from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.training.demonstrations.episode_set import EpisodeSet

_VIDEOS, _PLOTS = (".mp4", ".gif"), (".png",)


def check_show(video: Path | None, plot: Path | None) -> None:
    """See that the files are of kinds that can be written.

    Raises:
        InputError: one is not; names the option.
    """
    for option, path, kinds in (("video", video, _VIDEOS), ("plot", plot, _PLOTS)):
        if path is not None and path.suffix not in kinds:
            raise InputError(f"--{option} is {str(path)!r}", remedy=f"give a file that ends with {' or '.join(kinds)}")


def show(folder: Path, number: int, video: Path | None, plot: Path | None) -> list[Path]:
    """Write what is asked for of an episode; returns which files.

    Args:
        folder: of the set.
        number: of the episode in it.
        video: an .mp4 or a .gif; None for none.
        plot: a .png; None for none.

    Raises:
        InputError: the set or the episode can't be read, or has no frame to show in a video.
        GanglionError: the disk is full.
    """
    if video is None and plot is None:
        return []
    episodes = EpisodeSet(folder)
    where = f"{folder}: episode {episodes.names[number]}"
    if video is not None:
        from ganglion.training.demonstrations.video import write_video

        write_video(episodes[number], episodes.robot, video, where)
    if plot is not None:
        from ganglion.training.demonstrations.plot import write_plot

        write_plot(episodes[number], episodes.robot, plot, where)
    return [path for path in (video, plot) if path is not None]
