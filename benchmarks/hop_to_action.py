"""How long a hop takes to become an action, in-process: PolicySession.send_hop with and without camera frames.

    python benchmarks/hop_to_action.py [--bundle runs/quickstart/bundle]

Hops come at the robot's own pace, as in use (a core that slept is slower than one kept busy), and once back to back,
from a real-time thread where that is allowed, as in the bridge. Frames come at camera rate; their encoding shares the
cores with the hops. Without --bundle, a policy of the default robot with random weights is exported first (needs the
export extra); its speed is that of a trained one.
"""

import itertools
import math
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from random_policy import random_bundle
from report import machine, make_parser, write_report

from ganglion.core.bundle import open_bundle
from ganglion.core.messages import Frame, Hop
from ganglion.core.specs import CameraSpec
from ganglion.robot_bridge.camera import encode_frame
from ganglion.robot_bridge.pacing import Sleeper, enter_real_time
from ganglion.serving.policy.engine import PolicyEngine
from ganglion.serving.policy.session import PolicySession

SKIPPED = 10  # ready replies before measuring


def main() -> None:
    parser = make_parser(__doc__, "hop_to_action")
    parser.add_argument("--bundle", type=Path, help="a bundle with a policy; default: random weights")
    parser.add_argument("--hops", type=int, default=500, help="hops measured in each case")
    options = parser.parse_args()
    hardware = machine("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or random_bundle(Path(folder))
        # Frames may get as old as they like: every hop must reach the action head.
        with PolicyEngine.open(open_bundle(bundle), hold_after_ms=math.inf) as engine:
            granted = enter_real_time(priority=40, lock_memory=False)
            cases = measure(engine, options.hops)
    for case, legs in cases.items():
        for leg, figures in legs.items():
            print(f"{case:<14} {leg:<11} " + "  ".join(f"{name} {value:7.3f}" for name, value in figures.items()))
    facts = {"hardware": hardware, "scheduler": granted.scheduler, "hops": options.hops}
    write_report(options.out, {**facts, "send_hop_ms": cases})


def measure(engine: PolicyEngine, hops: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds p50, p99 and max of each case, by leg."""
    cases = {"back to back": run_case(engine, hops), "paced": run_case(engine, hops, paced=True)}
    if engine.robot.cameras:
        cases["with frames"] = run_case(engine, hops, paced=True, frames=True)
    return cases


def run_case(
    engine: PolicyEngine, hops: int, *, paced: bool = False, frames: bool = False
) -> dict[str, dict[str, float]]:
    """One session: a first frame of each camera, and with `frames` more of them while the hops run."""
    session, stop = engine.session(), threading.Event()
    cameras = [threading.Thread(target=film, args=(session, c, stop, frames)) for c in engine.robot.cameras]
    for camera in cameras:
        camera.start()
    try:
        return send_hops(engine, session, hops, paced, frames)
    finally:
        stop.set()
        for camera in cameras:
            camera.join()


def send_hops(
    engine: PolicyEngine, session: PolicySession, hops: int, paced: bool, frames: bool
) -> dict[str, dict[str, float]]:
    sensor, sleeper = engine.robot.sensors[0], Sleeper()
    samples = np.random.default_rng(0).standard_normal((sensor.hop_samples, sensor.channels)).astype(np.float16)
    start_ns, ready, legs = time.monotonic_ns(), 0, dict[str, list[float]]()
    for index in itertools.count():
        if paced:
            sleeper.until(start_ns + round(index * sensor.hop_ms * 1e6))
        before = time.perf_counter()
        reply = session.send_hop(Hop(index * sensor.hop_samples, time.monotonic_ns(), samples))
        took_ms = 1e3 * (time.perf_counter() - before)
        assert reply is not None
        ready += reply.ready
        if ready > SKIPPED:
            for leg, value in {"total": took_ms, **reply.timings_ms}.items():
                legs.setdefault(leg, []).append(value)
        if ready == SKIPPED + hops:
            break
    if not frames:
        legs.pop("vl_encoder", None)
    return {leg: percentiles(values) for leg, values in legs.items()}


def percentiles(values: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "max": max(values)}


def film(session: PolicySession, camera: CameraSpec, stop: threading.Event, more: bool) -> None:
    session.send_frame(random_frame(camera, time.monotonic_ns()))
    while more and not stop.wait(1 / camera.rate_hz):
        session.send_frame(random_frame(camera, time.monotonic_ns()))


def random_frame(camera: CameraSpec, stamp_ns: int) -> Frame:
    image = np.random.default_rng(stamp_ns).integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
    return Frame(camera.name, stamp_ns, encode_frame(image, camera))


if __name__ == "__main__":
    main()
