"""The figures of a set of episodes put together, as JSON data and in lines for the terminal."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.measures import EpisodeFigures, Range, Timing, declared_rates

_SESSIONS_SHOWN = 8

Measured = Sequence[EpisodeFigures]


def summarize(robot: RobotSpec, measured: Measured) -> dict[str, Any]:
    """Figures of all episodes together, JSON data.

    Shares are of episodes, and of actions, which are the moments that training picks from.
    """
    counts = [one.timings["actions"].readings for one in measured]
    total, dims = sum(counts), range(robot.actions.dim)
    outside, too_fast = (np.sum([getattr(one, what) for one in measured], axis=0) for what in ("outside", "too_fast"))
    return {
        "robot": robot.name,
        "episodes": len(measured),
        "actions_in_all": total,
        "actions_each": _spread(counts),
        "seconds_each": _spread([one.seconds for one in measured]),
        "sessions": dict(Counter(one.session for one in measured).most_common()),
        "instructions": len({one.instruction for one in measured}),
        "streams": {
            stream: _stream([one.timings[stream] for one in measured if stream in one.timings], hz, len(measured))
            for stream, hz in declared_rates(robot).items()
        },
        "sensors": {
            sensor.name: {
                "share_of_episodes": _share([f"sensor {sensor.name}" in one.timings for one in measured]),
                "share_of_actions": _share([f"sensor {sensor.name}" in one.timings for one in measured], counts),
                "absent": {
                    group.name: _share([f"{sensor.name}.{group.name}" in one.absent for one in measured])
                    for group in sensor.groups
                },
            }
            for sensor in robot.sensors
        },
        "actions": {
            **_ranges(robot.actions.names, [one.actions for one in measured], counts),
            "outside_limits": {robot.actions.names[k]: int(outside[k]) for k in dims},
            "faster_than_max_rate": {robot.actions.names[k]: int(too_fast[k]) for k in dims},
        },
        "state": _ranges(
            robot.state.names if robot.state else (),
            [one.state for one in measured if one.state],
            [one.timings["state"].readings for one in measured if one.state],
        ),
    }


def as_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `summarize` found, for the terminal."""
    seconds = found["seconds_each"]
    yield (
        f"{found['episodes']} episodes of {found['robot']}, {found['actions_in_all']} actions, "
        f"{seconds['least']:.3g} to {seconds['largest']:.3g} s; instructions: {found['instructions']}"
    )
    yield from ("", *_stream_lines(found["streams"]))
    yield from _sensor_lines(found["sensors"])
    for what in ("actions", "state"):
        if "mean" in found[what]:
            yield from ("", *_range_lines(what, found[what]))
    yield from ("", *_session_lines(found["sessions"]))


def _stream_lines(streams: Mapping[str, Any]) -> Iterator[str]:
    titles = ("episodes", "readings", "declared", "measured", "jitter", "gaps", "lost")
    yield f"{'stream':<20}" + "".join(f"{title:>10}" for title in titles)
    for name, stream in streams.items():
        rate = "-" if stream["measured_hz"] is None else f"{stream['measured_hz']:.4g} Hz"
        yield (
            f"{name:<20}{stream['episodes']:>10}{stream['readings']:>10}{stream['declared_hz']:>7g} Hz{rate:>10}"
            f"{stream['jitter_ms']:>7.3g} ms{stream['gaps']:>10}{stream['lost_share']:>10.2%}"
        )


def _sensor_lines(sensors: Mapping[str, Any]) -> Iterator[str]:
    for name, sensor in sensors.items():
        absent = [f"{group} absent in {share:.1%}" for group, share in sensor["absent"].items() if share]
        shares = f"in {sensor['share_of_episodes']:.1%} of episodes, with {sensor['share_of_actions']:.1%} of actions"
        yield ", ".join([f"sensor {name}: {shares}", *absent])


def _range_lines(what: str, ranges: Mapping[str, Any]) -> Iterator[str]:
    columns = ("least", "largest", "mean", "deviation")
    yield f"{what:<20}" + "".join(f"{column:>12}" for column in columns)
    for name in ranges["mean"]:
        yield f"{name:<20}" + "".join(f"{ranges[column][name]:>12.4g}" for column in columns)


def _session_lines(sessions: Mapping[str, int]) -> Iterator[str]:
    yield f"sessions: {len(sessions)}"
    for name, count in list(sessions.items())[:_SESSIONS_SHOWN]:
        yield f"  {count:>7}  {name}"
    if len(sessions) > _SESSIONS_SHOWN:
        yield f"  {'':>7}  and {len(sessions) - _SESSIONS_SHOWN} more"


def _stream(timings: Sequence[Timing], declared_hz: float, episodes: int) -> dict[str, Any]:
    rates = [timing.rate_hz for timing in timings if timing.rate_hz is not None]
    readings, lost = (sum(getattr(timing, what) for timing in timings) for what in ("readings", "lost"))
    return {
        "episodes": len(timings),
        "share_of_episodes": len(timings) / episodes,
        "readings": readings,
        "declared_hz": declared_hz,
        "measured_hz": statistics.median(rates) if rates else None,
        "measured_hz_from_to": [min(rates), max(rates)] if rates else None,
        "jitter_ms": max((timing.jitter_ms for timing in timings), default=0.0),
        "gaps": sum(timing.gaps for timing in timings),
        "longest_gap_s": max((timing.longest_gap_s for timing in timings), default=0.0),
        "lost_share": lost / (lost + readings) if readings else 0.0,
    }


def _ranges(names: Sequence[str], ranges: Sequence[Range], counts: Sequence[int]) -> dict[str, dict[str, float]]:
    """Least, largest, mean and deviation by dimension, over all readings of all episodes."""
    if not ranges:
        return {}
    means, deviations = (np.stack([getattr(one, what) for one in ranges]) for what in ("mean", "deviation"))
    mean = np.average(means, axis=0, weights=counts)
    spread = np.sqrt(np.average(deviations**2 + (means - mean) ** 2, axis=0, weights=counts))
    columns = {
        "least": np.min([one.least for one in ranges], axis=0),
        "largest": np.max([one.largest for one in ranges], axis=0),
        "mean": mean,
        "deviation": spread,
    }
    return {what: dict(zip(names, values.tolist(), strict=True)) for what, values in columns.items()}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "least": min(values),
        "median": statistics.median(values),
        "mean": statistics.fmean(values),
        "largest": max(values),
    }


def _share(flags: Sequence[bool], weights: Sequence[int] | None = None) -> float:
    return float(np.average(flags, weights=weights))
