"""Robots of benchmarks/frame_storm.py, whose cameras send beside their hops: prints what they saw as JSON.

python benchmarks/storm_robots.py in-process|local|triton BUNDLE --robots 1 --seconds 10 --frames_hz 60 [--port 8001]
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from serving_robots import PATIENT_MS, SKIPPED, percentiles, socket_of

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.messages import Frame, Hop, PolicyClient, Reply
from ganglion.core.specs import CameraSpec, RobotSpec

NEVER_MS = 1e9  # so that one frame is enough for a policy to act


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=("in-process", "local", "triton"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--robots", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--frames_hz", type=float, default=0.0, help="0: one frame at the start, none after it")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    assert bundle.robot is not None
    sys.setswitchinterval(5e-4)  # as a Bridge does, so that a camera's thread holds up no hop on the robot's side
    clients = open_clients(options.way, bundle, options.robots, options.port)
    robots = [Robot(client, bundle.robot, options.frames_hz) for client in clients]
    gate = threading.Barrier(len(robots))
    threads = [
        threading.Thread(target=robot.run, args=(gate, index / len(robots), options.seconds))
        for index, robot in enumerate(robots)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    print(json.dumps(figures(robots)))


def open_clients(way: str, bundle: Bundle, robots: int, port: int) -> list[PolicyClient]:
    if way == "in-process":
        from ganglion.serving.policy.engine import PolicyEngine

        engine = PolicyEngine.open(bundle, hold_after_ms=NEVER_MS)
        return [engine.session() for _ in range(robots)]
    assert bundle.robot is not None
    if way == "local":
        from ganglion.robot_bridge.local_client import LocalPolicyClient

        return [LocalPolicyClient(socket_of(bundle.root), bundle.robot, deadline_ms=PATIENT_MS) for _ in range(robots)]
    from ganglion.robot_bridge.triton_client import TritonPolicyClient

    return [TritonPolicyClient(f"127.0.0.1:{port}", bundle.robot, deadline_ms=PATIENT_MS) for _ in range(robots)]


class Robot:
    """One robot, its hops in this thread and its camera in another."""

    def __init__(self, client: PolicyClient, robot: RobotSpec, frames_hz: float) -> None:
        self._client, self._sensor, self._camera = client, robot.sensors[0], robot.cameras[0]
        self._frames_hz, self._done = frames_hz, threading.Event()
        self.exposed_ns: set[int] = set()
        self.seen: list[tuple[float, Reply]] = []
        self._jpeg = picture(self._camera)

    def run(self, gate: threading.Barrier, phase: float, seconds: float) -> None:
        """Hops at the sensor's pace, for so long."""
        sensor, hop = self._sensor, self._sensor.hop_samples
        samples = np.random.default_rng(0).standard_normal((100 * hop, sensor.channels)).astype(np.float16)
        period = sensor.hop_ms / 1e3
        self._look()
        gate.wait()
        camera = threading.Thread(target=self._look_on)
        camera.start()
        start = time.perf_counter() + phase * period
        for index in range(round(seconds / period)):
            time.sleep(max(0.0, start + index * period - time.perf_counter()))
            at = index % 100 * hop
            began = time.perf_counter()
            reply = self._client.send_hop(Hop(index * hop, time.monotonic_ns(), samples[at : at + hop]))
            took_ms = 1e3 * (time.perf_counter() - began)
            if reply and reply.ready:
                self.seen.append((took_ms, reply))
        self._done.set()
        camera.join()

    def _look_on(self) -> None:
        if not self._frames_hz:
            return
        due = time.perf_counter()
        while not self._done.is_set():
            due += 1 / self._frames_hz
            time.sleep(max(0.0, due - time.perf_counter()))
            self._look()

    def _look(self) -> None:
        frame = Frame(self._camera.name, time.monotonic_ns(), self._jpeg)
        self.exposed_ns.add(frame.stamp_ns)
        self._client.send_frame(frame)


def picture(camera: CameraSpec) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (camera.height, camera.width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def figures(robots: list[Robot]) -> dict[str, Any]:
    """Round trips and ages in milliseconds, and how many ages are not that of a frame that was sent, or went back."""
    trips = np.array([took for robot in robots for took, _ in robot.seen[SKIPPED:]])
    ages = np.array([reply.vl_age_ms for robot in robots for _, reply in robot.seen[SKIPPED:]])
    encodes = np.array([reply.timings_ms["vl_encoder"] for robot in robots for _, reply in robot.seen[SKIPPED:]])
    return {
        "round_trip_ms": percentiles(trips),
        "vl_age_ms": percentiles(ages),
        "vl_encode_ms": percentiles(encodes),
        "replies": len(trips),
        "wrong_ages": sum(wrong_ages(robot) for robot in robots),
    }


def wrong_ages(robot: Robot) -> int:
    wrong, newest = 0, 0
    for _, reply in robot.seen:
        assert reply.vl_age_ms is not None
        exposed = reply.stamp_ns - round(1e6 * reply.vl_age_ms)
        near = min(robot.exposed_ns, key=lambda stamp: abs(stamp - exposed))
        wrong += abs(near - exposed) > 1000 or near < newest  # a microsecond: ages are float64 milliseconds
        newest = near
    return wrong


if __name__ == "__main__":
    main()
