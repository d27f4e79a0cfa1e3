"""The report's plots, each an SVG string that needs nothing from outside."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "ganglion",
}
_BLUE, _ORANGE = "#2563eb", "#ea580c"


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Loss over steps, one panel per training run; each history is a list of {"step", "loss", ...} and others."""
    with _drawing(len(histories), width=4.6) as drawing:
        axes = drawing.axes
        for panel, (name, entries) in zip(axes, histories.items(), strict=True):
            history = [row for row in entries if "loss" in row]  # others are of validations
            panel.plot([row["step"] for row in history], [row["loss"] for row in history], color=_BLUE, lw=1.4)
            wide = max(row["loss"] for row in history) > 10 * min(row["loss"] for row in history)
            panel.set(title=name, xlabel="step", ylabel="loss", yscale="log" if wide else "linear")
    return drawing.svg


def errors_beside_baseline(names: Sequence[str], ours: Sequence[float], baseline: Sequence[float]) -> str:
    """Error per dimension as a share of the baseline's, so that dimensions of unlike units can stand side by side."""
    with _drawing(1, width=max(4.6, 0.8 * len(names))) as drawing:
        axes = drawing.axes
        places = np.arange(len(names))
        shares = [error / base if base > 0 else 0.0 for error, base in zip(ours, baseline, strict=True)]
        axes[0].bar(places, shares, color=_BLUE, width=0.6)
        axes[0].axhline(1.0, color=_ORANGE, lw=1.2, label="predicting the mean")
        axes[0].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
        axes[0].set_xticks(places, names)
        axes[0].set(ylabel="error / that of the mean", ylim=(0, max(1.15, 1.1 * max(shares))))
    return drawing.svg


def latency_histogram(latency_ms: npt.NDArray[np.floating], deadline_ms: float) -> str:
    """Distribution of hop-to-action latency with its median, 99th percentile and the deadline of one hop."""
    with _drawing(1, width=9.2) as drawing:
        axes = drawing.axes
        p50, p99 = np.percentile(latency_ms, [50, 99])
        edges = np.geomspace(max(latency_ms.min() * 0.9, 1e-3), max(latency_ms.max(), deadline_ms) * 1.1, 60)
        axes[0].hist(latency_ms, bins=list(edges), color=_BLUE)
        limit = ("deadline: one hop", deadline_ms, _ORANGE, "--")
        for name, value, color, style in (("p50", p50, "black", "-"), ("p99", p99, "black", ":"), limit):
            axes[0].axvline(value, color=color, lw=1.2, ls=style, label=f"{name}, {value:.2f} ms")
        axes[0].legend(frameon=False, loc="upper right")
        axes[0].set(xscale="log", xlabel="newest sample to action, ms", ylabel="hops")
        axes[0].xaxis.set_major_formatter("{x:g}")
        axes[0].xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "25" else "")
    return drawing.svg


def sensor_window(window: npt.NDArray[np.floating], rate_hz: float, groups: Sequence[tuple[str, int, str]]) -> str:
    """One window (samples, channels): a trace for each small channel group, an image for each large one."""
    with _drawing(len(groups), width=4.6) as drawing:
        axes = drawing.axes
        seconds = len(window) / rate_hz
        start = 0
        for panel, (name, channels, unit) in zip(axes, groups, strict=True):
            part = window[:, start : start + channels].astype(np.float32)
            start += channels
            if channels <= 8:
                panel.plot(np.arange(len(part)) / rate_hz, part, lw=0.8)
                panel.set(ylabel=f"{name}, {unit}")
            else:
                low, high = np.percentile(part, [1, 99.7])
                panel.imshow(part.T, aspect="auto", cmap="magma", vmin=low, vmax=high, extent=(0, seconds, channels, 0))
                panel.set(ylabel=f"{name}, bin ({unit})")
                panel.grid(False)
            panel.set(xlabel="s", title=name)
    return drawing.svg


@dataclass
class _Drawing:
    axes: list[Axes]
    svg: str = ""


@contextmanager
def _drawing(count: int, width: float) -> Iterator[_Drawing]:
    """Axes to draw on, side by side; the finished SVG is in `.svg` afterwards."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width * count, 2.9), layout="constrained")
        drawing = _Drawing([figure.add_subplot(1, count, i + 1) for i in range(count)])
        yield drawing
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        drawing.svg = text.getvalue()[text.getvalue().index("<svg") :]
