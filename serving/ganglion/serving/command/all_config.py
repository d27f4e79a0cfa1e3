"""The options of `ganglion serve all`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ganglion.serving.binding import Binding


@dataclass(frozen=True)
class AllServeConfig:
    """Serve a bundle's policy to robots and its VLM to everybody else.

    Args:
        bundle: what `ganglion export` wrote, with a policy and a VLM.
        policy: further options of `ganglion serve policy`, as they are: ["--slots=16"].
        vlm: further options of `ganglion serve vlm`, as they are: ["--port=9100"].
        bind: where both listen, and what guards them.
        logs: folder that takes what they log: policy.log, vlm.log.
    """

    bundle: Path
    policy: list[str] = field(default_factory=list)
    vlm: list[str] = field(default_factory=list)
    bind: Binding = field(default_factory=Binding)
    logs: Path = Path("runs/serve")
