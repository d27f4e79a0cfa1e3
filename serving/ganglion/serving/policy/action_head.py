"""action_head.onnx with its inputs made from what is known of a robot: a chunk in the robot's units comes out.

Which inputs there are is the policy's form: sensor frames, VL features with their age, the robot's state, and the noise
that a flow head starts from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.manifest import PolicyPart
from ganglion.core.normalization import Normalization
from ganglion.core.specs import RobotSpec
from ganglion.serving.policy.vl_encoder import VlFeatures

Array = npt.NDArray[np.float32]
NOISE_SEED = 8


class ActionHead:
    """Holds nothing of any robot's: all sessions of an engine share it, in any number of threads.

    A flow head starts from the same noise in every session and at every hop, `flow_noise`: then a chunk follows from
    what is known alone, and a robot doesn't jerk. On six unseen worlds of the synthetic needle (a policy of
    recipes/policy.yaml with --head flow), what consecutive chunks say of the same moment differs by 0.09 standard
    deviations (RMS), with fresh noise at each hop by 0.56, and by 0.05 where the expert decides. The price: one draw
    decides which way a policy leans that is undecided. The mean absolute error of six fixed draws is 0.29 to 0.43, of
    this one 0.32, of fresh noise 0.37. `benchmarks/flow_noise.py`.

    Args:
        session: of action_head.onnx.
        robot: what it was made for.
        norm: of action and state.
        part: the manifest's.
    """

    def __init__(self, session: Any, robot: RobotSpec, norm: Normalization, part: PolicyPart) -> None:
        self._session, self._norm = session, norm
        self.oldest_trained_ms = float(part.config.get("vl_age_ms", (0.0, np.inf))[1])
        """Age of VL features beyond which the policy is told this one."""
        self._constant: dict[str, Array] = {}
        # A chunk is decided only once all that the expert reads is there.
        if norm.sensor is not None:
            self._constant["present"] = np.ones((1, part.read_frames, len(robot.sensors[0].groups)), np.float32)
        if norm.state is not None:
            self._constant["state_known"] = np.ones(1, np.float32)
        if part.config.get("head") == "flow":
            self._constant["noise"] = flow_noise(robot.actions.horizon, robot.actions.dim)

    def decide(
        self, frames: Array | None, seen: VlFeatures | None, vl_age_ms: float | None, state: Array | None
    ) -> Array:
        """The chunk (horizon, dim) in the action spec's units. Each argument is None where the policy doesn't read it.

        Args:
            frames: (1, K, width) the newest of the sensor's.
            seen: by the cameras.
            vl_age_ms: age of `seen`.
            state: (dim,) normalized.
        """
        feeds: dict[str, Any] = dict(self._constant)
        if frames is not None:
            feeds["frames"] = frames
        if seen is not None and vl_age_ms is not None:
            age_s = np.array([min(vl_age_ms, self.oldest_trained_ms) / 1e3], np.float32)
            feeds |= {"vl_features": seen.features, "vl_mask": seen.mask, "vl_age_s": age_s}
        if state is not None:
            feeds["state"] = state[None]
        (actions,) = self._session.run(None, feeds)
        return self._norm.action.denormalize(actions[0])


def flow_noise(horizon: int, dim: int) -> Array:
    """(1, horizon, dim) standard normal: what a flow head starts from, the same on every host and in every session.

    Of RandomState, whose numbers NumPy has promised never to change (NEP 19).
    """
    return np.random.RandomState(NOISE_SEED).standard_normal((1, horizon, dim)).astype(np.float32)
