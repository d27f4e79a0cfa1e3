"""The policy of a bundle, loaded once and shared by any number of robots.

engine = PolicyEngine.open(open_bundle(path))
session = engine.session()
reply = session.send_hop(Hop(first_seq, stamp_ns, samples))
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError
from ganglion.core.messages import Hop
from ganglion.core.specs import RobotSpec
from ganglion.serving.policy.session import PolicySession, SharedParts
from ganglion.serving.policy.vl_encoder import VlEncoder, VlFeeds, VlRunner, local_runner
from ganglion.serving.policy.vl_refresh import VlRefresh
from ganglion.serving.vlm.session import open_session


class PolicyEngine:
    """ONNX Runtime sessions without any robot's state. Make it with `PolicyEngine.open`."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        threads: int = 1,
        *,
        hold_after_ms: float = 1000.0,
        vl_runner: VlRunner | None = None,
        vl_workers: int = 1,
    ) -> PolicyEngine:
        """Load the policy of a verified bundle and run it once, so that a robot's first hop is no slower.

        Args:
            bundle: from `open_bundle`.
            threads: CPU threads of one operator.
            hold_after_ms: age of VL features beyond which replies are not ready.
            vl_runner: runs vl_encoder.onnx in the place of this process, which doesn't load it then.
            vl_workers: how many robots' frames are encoded at once.

        Raises:
            BundleError: the bundle holds no policy, a file can't be loaded, or graphs and robot spec disagree.
            InputError: `vl_workers` is below 1.
        """
        part, robot, norm = bundle.manifest.policy, bundle.robot, bundle.norm
        if part is None or robot is None or norm is None:
            raise BundleError("holds no policy", where=bundle.root, remedy="export one with --policy")
        _check_hosted(bundle, part.config)
        encoder = open_session(bundle.path("policy/sensor_stream.onnx"), threads=threads)
        head = open_session(bundle.path("policy/action_head.onnx"), threads=threads)
        _check_graph(bundle, encoder, "sensor_stream.onnx", "input", "samples", 2, robot.sensors[0].channels)
        _check_graph(bundle, head, "action_head.onnx", "input", "frames", 1, part.read_frames)
        _check_graph(bundle, head, "action_head.onnx", "output", "actions", 1, robot.actions.horizon)
        _check_graph(bundle, head, "action_head.onnx", "output", "actions", 2, robot.actions.dim)
        refresh = None
        if robot.cameras:
            feeds, width = VlFeeds(bundle), int(part.config["vl_width"])
            refresh = VlRefresh(VlEncoder(feeds, vl_runner or local_runner(bundle, threads), width), vl_workers)
        engine = cls(SharedParts(robot, norm, part, encoder, head, refresh, hold_after_ms))
        engine._warm_up()
        return engine

    @property
    def robot(self) -> RobotSpec:
        """The robot that the policy was made for."""
        return self._shared.robot

    def session(self, instruction: str | None = None) -> PolicySession:
        """A session for one robot; `instruction` None means the one the policy was trained to follow."""
        return PolicySession(self._shared, self._shared.part.instruction if instruction is None else instruction)

    def close(self) -> None:
        """End the refresh threads. Harmless when called twice."""
        if self._shared.refresh:
            self._shared.refresh.close()

    def __enter__(self) -> PolicyEngine:
        """Give the engine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _warm_up(self) -> None:
        sensor, session = self._shared.robot.sensors[0], self.session()
        samples = np.zeros((sensor.hop_samples, sensor.channels), np.float32)
        for hop in range(3):
            session.send_hop(Hop(hop * sensor.hop_samples, 0, samples))
        head = self._shared.head
        shapes = {i.name: [size if isinstance(size, int) else 1 for size in i.shape] for i in head.get_inputs()}
        for _ in range(3):
            head.run(None, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def _check_hosted(bundle: Bundle, config: Mapping[str, Any]) -> None:
    unhosted = {
        "reads no sensor": not config.get("channel_groups", True),
        "reads the robot's state": bool(config.get("state_dim")),
        "has a flow head": config.get("head") == "flow",
    }
    for what, is_so in unhosted.items():
        if is_so:
            raise BundleError(f"its policy {what}, which is not served yet", where=bundle.root, remedy="train another")


def _check_graph(bundle: Bundle, session: object, file: str, side: str, name: str, axis: int, expected: int) -> None:
    shapes = {value.name: value.shape for value in getattr(session, f"get_{side}s")()}
    found = shapes[name][axis] if name in shapes else None
    if found != expected:
        raise BundleError(
            f"{side} {name!r} has size {found} on axis {axis}, the manifest says {expected}",
            where=bundle.path(f"policy/{file}"),
            remedy="export again",
        )
