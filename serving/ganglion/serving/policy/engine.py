"""The policy of a bundle, loaded once and shared by any number of robots.

engine = PolicyEngine.open(open_bundle(path))
session = engine.session()
reply = session.send_hop(Hop(first_seq, stamp_ns, samples))
"""

from __future__ import annotations

import io
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError
from ganglion.core.messages import Frame, Hop
from ganglion.core.specs import RobotSpec
from ganglion.serving.policy.action_head import ActionHead
from ganglion.serving.policy.graph_shapes import check_encoder, check_head
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
        vl_threads: int | None = None,
    ) -> PolicyEngine:
        """Load the policy of a verified bundle and run it once, so that a robot's first hop and frame are no slower.

        Args:
            bundle: from `open_bundle`.
            threads: CPU threads of one operator.
            hold_after_ms: age of VL features beyond which replies are not ready.
            vl_runner: runs vl_encoder.onnx in the place of this process, which doesn't load it then.
            vl_workers: how many robots' frames are encoded at once.
            vl_threads: CPU threads of vl_encoder.onnx in this process; None: as of the others.

        Raises:
            BundleError: the bundle holds no policy, a file can't be loaded, or graphs and robot spec disagree.
            InputError: `vl_workers` is below 1.
        """
        part, robot, norm = bundle.manifest.policy, bundle.robot, bundle.norm
        if part is None or robot is None or norm is None:
            raise BundleError("holds no policy", where=bundle.root, remedy="export one with --policy")
        encoder = None
        if norm.sensor is not None:
            encoder = open_session(bundle.path("policy/sensor_stream.onnx"), threads=threads)
            check_encoder(bundle, encoder, robot)
        head = open_session(bundle.path("policy/action_head.onnx"), threads=threads)
        check_head(bundle, head, robot, norm, part)
        refresh = None
        if robot.cameras:
            feeds, width = VlFeeds(bundle), int(part.config["vl_width"])
            encode = VlEncoder(feeds, vl_runner or local_runner(bundle, vl_threads or threads), width)
            # Who runs the graph elsewhere warms it up there: Triton's vl_encoder is, before the server is ready.
            (feeds if vl_runner else encode)(_blank_frames(robot), part.instruction)
            refresh = VlRefresh(encode, vl_workers)
        decide = ActionHead(head, robot, norm, part)
        engine = cls(SharedParts(robot, norm, part, encoder, decide, refresh, hold_after_ms))
        engine._warm_up(head)
        return engine

    @property
    def robot(self) -> RobotSpec:
        """The robot that the policy was made for."""
        return self._shared.robot

    @property
    def ready(self) -> bool:
        """Whether robots can be served: what `open` returns has been warmed up, and every refresh thread runs."""
        return self._shared.refresh is None or self._shared.refresh.alive

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

    def _warm_up(self, head: Any) -> None:
        robot, session = self._shared.robot, self.session()
        count, channels = (robot.sensors[0].hop_samples, robot.sensors[0].channels) if robot.sensors else (1, 0)
        for hop in range(3):
            session.send_hop(Hop(hop * count, 0, np.zeros((count, channels), np.float32)))
        shapes = {i.name: [size if isinstance(size, int) else 1 for size in i.shape] for i in head.get_inputs()}
        for _ in range(3):
            head.run(None, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def _blank_frames(robot: RobotSpec) -> list[Frame]:
    """A black image of each camera."""
    frames = []
    for camera in robot.cameras:
        jpeg = io.BytesIO()
        Image.new("RGB", (camera.width, camera.height)).save(jpeg, "JPEG")
        frames.append(Frame(camera.name, 0, jpeg.getvalue()))
    return frames
