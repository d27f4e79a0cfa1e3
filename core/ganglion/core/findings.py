"""What a look at something found: how grave it is, and what the user can do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OK, NOTE, WARNING, FAILED = "ok", "note", "warning", "failed"
_MARKS = {OK: "✓", NOTE: "·", WARNING: "!", FAILED: "✗"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. severity: ok, note, warning or failed; remedy is empty when there is nothing to do."""

    name: str
    severity: str
    found: str
    remedy: str = ""


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The findings for the terminal, each with its remedy below."""
    width = max((len(finding.name) for finding in findings), default=0)
    for finding in findings:
        yield f"{_MARKS[finding.severity]} {finding.name:<{width}}  {finding.found}"
        if finding.remedy:
            yield f"  {'':<{width}}  → {finding.remedy}"
