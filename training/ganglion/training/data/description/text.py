"""The figures of a data file for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BAR = 40  # characters of the longest bar


def as_text(file: str, task: str, against: str | None, found: Mapping[str, Any]) -> str:
    """All figures, as `stats` has them, in lines."""
    lines = [f"{file}: {found['rows']} rows of {task}"]
    for unit in ("characters", "tokens"):
        for part, measured in found.get(unit, {}).items():
            lines += ["", *_histogram(f"{part}, {unit}", measured)]
    for key, counts in found["balance"].items():
        lines += ["", key, *(f"  {count:>7}  {name}" for name, count in counts.items())]
    if images := found.get("images"):
        lines += ["", f"images: {images['shown']} shown, {images['distinct']} of them distinct"]
        lines += [f"  {count:>7}  {size} pixels" for size, count in images["sizes"].items()]
        lines += [f"  {images['other_sizes']:>7}  of other sizes"] if images["other_sizes"] else []
    for title in ("duplicates", "leakage"):
        if title in found:
            lines += ["", f"{title} of {against}" if title == "leakage" else title]
            lines += [_rows(name.replace("_", " "), rows) for name, rows in found[title].items()]
    return "\n".join(lines)


def _histogram(title: str, measured: Mapping[str, Any]) -> list[str]:
    least, median, mean, largest = (measured[key] for key in ("least", "median", "mean", "largest"))
    most = max(count for _, _, count in measured["bins"])
    lines = [f"{title}: {least} to {largest}, median {median}, mean {mean:.1f}"]
    for low, high, count in measured["bins"]:
        lines.append(f"  {low:>6} to {high - 1:<6} {count:>7}  {'#' * round(_BAR * count / most)}".rstrip())
    return lines


def _rows(name: str, found: Mapping[str, Any]) -> str:
    shown = ", ".join(map(str, found["rows"])) + (", ..." if found["count"] > len(found["rows"]) else "")
    return f"  {found['count']:>7}  {name}" + (f" (row {shown})" if found["count"] else "")
