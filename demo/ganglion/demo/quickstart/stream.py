"""Serves a robot from the exported bundle through the real bridge, in this process, and measures it.

python -m ganglion.demo.quickstart.stream BUNDLE POLICY OUT SECONDS SEED [SENSOR_DATA]

POLICY is the folder training wrote, which knows what data was held back. Writes OUT/bridge.json and OUT/trace.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import GanglionError
from ganglion.core.paths import write_json, written_aside
from ganglion.demo.quickstart.streams import needle_stream, oct_stream
from ganglion.robot_bridge.bridge import Bridge
from ganglion.robot_bridge.report import BridgeReport, Trace
from ganglion.serving.policy.engine import PolicyEngine


def main(bundle: str, policy: str, out: str, seconds: str, seed: str, sensor_data: str = "") -> int:
    """Run the bridge for SECONDS; returns the exit code."""
    with PolicyEngine.open(open_bundle(Path(bundle))) as engine:
        robot = engine.robot
        stream = oct_stream(Path(sensor_data), Path(policy)) if sensor_data else needle_stream(robot, int(seed))
        session = engine.session()
        report = Bridge(robot, stream.samples, session, cameras=stream.cameras).run(max(float(seconds), stream.seconds))
        session.close()
    figures: dict[str, Any] = report.to_dict()
    if stream.score:
        figures["pose"] = stream.score(report.trace)
    _write(Path(out), figures, report)
    if report.interrupted:
        raise GanglionError(f"the run was ended by {report.interrupted}", where="bridge")
    return 0


def _write(out: Path, figures: dict[str, Any], report: BridgeReport) -> None:
    write_json(out / "bridge.json", figures)
    trace: Trace = report.trace
    with written_aside(out / "trace.npz") as aside, aside.open("wb") as file:
        np.savez_compressed(file, hop_to_action_ms=trace.legs_ms["hop_to_action"], window=trace.window)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except GanglionError as error:
        sys.exit(f"ganglion: {error}")
