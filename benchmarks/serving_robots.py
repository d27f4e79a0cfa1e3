"""Robots of one contender of benchmarks/serving.py, each in a thread at its own pace: prints what they saw as JSON.

    python benchmarks/serving_robots.py CONTENDER BUNDLE --robots 4 --seconds 10 [--port 8001]

    in-process      PolicySession, in this process
    local           LocalPolicyClient: hops
    triton          TritonPolicyClient: hops
    triton-windows  the same server, which gets the whole window each time
    openpi          openpi's own client, against benchmarks/openpi_server.py: the whole window each time

Runs in the environment of its contender: openpi-client wants numpy below 2.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.messages import Hop
from ganglion.core.specs import SensorSpec

SKIPPED = 20  # replies before measuring
PATIENT_MS = 60_000.0
Infer = Callable[[Hop], dict[str, float]]
"""Sends what is new, or all of it; gives the server's own timings of a reply that is ready."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=(*CONTENDERS, "in-process"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--robots", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    print(json.dumps(drive(options.contender, bundle, options.robots, options.seconds, options.port)))


def drive(contender: str, bundle: Bundle, robots: int, seconds: float, port: int) -> dict[str, Any]:
    """Milliseconds from a hop's last sample to its chunk, the model's share of them, and bytes sent for each."""
    assert bundle.robot is not None
    sensor = bundle.robot.sensors[0]
    opened = [in_process(bundle)] * robots if contender == "in-process" else [CONTENDERS[contender]] * robots
    infers = [make(bundle, port) for make in opened]
    seen: list[list[tuple[float, float]]] = [[] for _ in infers]
    gate, began = threading.Barrier(robots), time.process_time()
    threads = [
        threading.Thread(target=run, args=(infer, sensor, seconds, index / robots, gate, seen[index]))
        for index, infer in enumerate(infers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = np.array([pair for one in seen for pair in one[SKIPPED:]])
    rows = sensor.window_samples if contender in ("triton-windows", "openpi") else sensor.hop_samples
    return {
        "round_trip_ms": percentiles(pairs[:, 0]),
        "model_ms": percentiles(pairs[:, 1]),
        "over_model_ms": percentiles(pairs[:, 0] - pairs[:, 1]),
        "replies": len(pairs),
        "bytes_per_second": rows * sensor.channels * 2 / (sensor.hop_ms / 1e3),
        "client_cpu_share": (time.process_time() - began) / seconds / robots,
    }


def run(
    infer: Infer, sensor: SensorSpec, seconds: float, phase: float, gate: threading.Barrier, seen: list[Any]
) -> None:
    """One robot: a hop each time that one is due, whatever the last one took."""
    samples = np.random.default_rng(0).standard_normal((100 * sensor.hop_samples, sensor.channels)).astype(np.float16)
    period, hop = sensor.hop_ms / 1e3, sensor.hop_samples
    gate.wait()
    start = time.perf_counter() + phase * period
    for index in range(round(seconds / period)):
        due = start + index * period
        time.sleep(max(0.0, due - time.perf_counter()))
        at = index % 100 * hop
        began = time.perf_counter()
        timings = infer(Hop(index * hop, time.monotonic_ns(), samples[at : at + hop]))
        if timings:
            seen.append((1e3 * (time.perf_counter() - began), sum(timings.values())))


def percentiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": float(p50), "p99": float(p99)}


def model_timings(timings: dict[str, float]) -> dict[str, float]:
    """Of a reply, those of the hop itself."""
    return {name: value for name, value in timings.items() if name in ("preprocess", "encoder", "head")}


def socket_of(bundle: Path) -> Path:
    """Where a bundle's server of this machine listens."""
    return bundle.parent / "policy.sock"


def in_process(bundle: Bundle) -> Callable[[Bundle, int], Infer]:
    from ganglion.serving.policy.engine import PolicyEngine

    engine = PolicyEngine.open(bundle)

    def make(bundle: Bundle, port: int) -> Infer:
        return hops(engine.session())

    return make


def local(bundle: Bundle, port: int) -> Infer:
    from ganglion.robot_bridge.local_client import LocalPolicyClient

    assert bundle.robot is not None
    return hops(LocalPolicyClient(socket_of(bundle.root), bundle.robot, deadline_ms=PATIENT_MS))


def triton(bundle: Bundle, port: int) -> Infer:
    from ganglion.robot_bridge.triton_client import TritonPolicyClient

    assert bundle.robot is not None
    return hops(TritonPolicyClient(f"127.0.0.1:{port}", bundle.robot, deadline_ms=PATIENT_MS))


def triton_windows(bundle: Bundle, port: int) -> Infer:
    from ganglion.robot_bridge.triton_client import TritonPolicyClient

    assert bundle.robot is not None
    client = TritonPolicyClient(f"127.0.0.1:{port}", bundle.robot, deadline_ms=PATIENT_MS)
    return windows(bundle, lambda hop: model_timings(client.send_hop(hop).timings_ms))


def openpi(bundle: Bundle, port: int) -> Infer:
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    client = WebsocketClientPolicy("127.0.0.1", port)

    def infer(hop: Hop) -> dict[str, float]:
        observation = {"samples": hop.samples, "first_seq": hop.first_seq, "stamp_ns": hop.stamp_ns}
        timings: dict[str, float] = client.infer(observation)["server_timing"]
        return timings

    return windows(bundle, infer)


CONTENDERS: dict[str, Callable[[Bundle, int], Infer]] = {
    "local": local,
    "triton": triton,
    "triton-windows": triton_windows,
    "openpi": openpi,
}


def hops(client: Any) -> Infer:
    def infer(hop: Hop) -> dict[str, float]:
        reply = client.send_hop(hop)
        return model_timings(reply.timings_ms) if reply and reply.ready else {}

    return infer


def windows(bundle: Bundle, infer: Infer) -> Infer:
    """All samples of the last second, each time: the session begins anew from them, as the flag "gap" says."""
    assert bundle.robot is not None
    sensor = bundle.robot.sensors[0]
    kept = np.zeros((0, sensor.channels), np.float16)

    def whole(hop: Hop) -> dict[str, float]:
        nonlocal kept
        kept = np.concatenate([kept, hop.samples])[-sensor.window_samples :]
        if len(kept) < sensor.window_samples:
            return {}
        return infer(Hop(hop.first_seq + len(hop.samples) - len(kept), hop.stamp_ns, kept))

    return whole


if __name__ == "__main__":
    main()
