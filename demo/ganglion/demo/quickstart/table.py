"""The quickstart's closing table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def print_table(report: Mapping[str, Any]) -> None:
    """Print the figures that matter, one a line."""
    rows = list(_rows(report))
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if exo := report.get("exo"):
        yield "exo: fresh images", f"{exo['n']}"
        yield "exo: valid JSON", f"{exo['json_valid_rate']:.1%}"
        yield "exo: terrain", f"{exo['terrain_accuracy']:.1%}   untuned base {exo['base_terrain_accuracy']:.1%}"
        yield "exo: sign of the change", f"{exo['delta_sign_accuracy']:.1%}"
        yield "exo: whole answer", f"{exo['exact_match']:.1%}"
    policy = report["policy"]
    yield "policy: error / mean's", f"{policy['mae']:.3g} / {policy['mean_mae']:.3g}   on data it never saw"
    if stream := report["bridge"].get("pose"):
        yield "pose while streaming", f"{stream['mae']:.3g} / {stream['mean_mae']:.3g}   held-back volumes"
    for name, value in report["parity"].items():
        if name != "table":
            yield f"parity: {name}", f"{value}" if isinstance(value, bool) else f"{value:.1e}"
    bridge = report["bridge"]
    action = bridge["hop_to_action_ms"]
    yield "bridge: samples lost", f"{bridge['samples_lost']} of {bridge['samples_expected']}"
    yield "bridge: hop to action", f"p50 {action['p50']:.2f}, p99 {action['p99']:.2f}, max {action['max']:.2f} ms"
    yield "bridge: deadline misses", f"{bridge['deadline_misses']} of {bridge['hops']} hops"
    if age := bridge["vl_age_ms"]:
        yield "bridge: age of VL features", f"p50 {age['p50']:.0f}, max {age['max']:.0f} ms"
    yield "time", f"{report['seconds']['total']:.0f} s"
