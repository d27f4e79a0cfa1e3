"""What a flow head's noise does to consecutive chunks: one noise for all hops, as served, or fresh noise at each.

    ganglion train policy --config recipes/policy.yaml --head flow --out runs/flow
    ganglion export --policy runs/flow --out runs/flow/bundle
    python benchmarks/flow_noise.py --bundle runs/flow/bundle

Six worlds of the synthetic needle that training never saw are served hop by hop, with a frame every other hop. All that
the head was given is kept, and asked about again with each kind of noise. Figures are in standard deviations of the
actions: `jump`, how far two consecutive chunks differ in what they say of the same moment (RMS, and 99th percentile of
the absolute values), and `error`, the mean absolute difference to the expert's chunks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from report import machine, make_parser, write_report

from ganglion.core.bundle import open_bundle
from ganglion.core.images import encode_jpeg
from ganglion.core.messages import Frame, Hop
from ganglion.serving.policy.action_head import ActionHead, flow_noise
from ganglion.serving.policy.engine import PolicyEngine
from ganglion.serving.policy.session import PolicySession
from ganglion.serving.vlm.session import open_session
from ganglion.simulation.expert import expert_chunks
from ganglion.simulation.near_peak import NearPeakStream

WORLDS = range(510_000, 510_006)  # worlds from 500,000 on are never trained on
SEEDS = range(100, 105)
FRAME_AGE_S = 0.03

Array = npt.NDArray[np.float32]


@dataclass
class KeepingHead:
    """Session of action_head.onnx that keeps what it is given."""

    session: Any
    feeds: list[dict[str, Array]] = field(default_factory=list)

    def run(self, names: None, feeds: dict[str, Array]) -> list[Array]:
        """As the session's own."""
        self.feeds.append(dict(feeds))
        found: list[Array] = self.session.run(names, feeds)
        return found


def main() -> None:
    parser = make_parser(__doc__, "flow_noise")
    parser.add_argument(
        "--bundle", type=Path, required=True, help="a bundle with a flow policy of the synthetic needle"
    )
    parser.add_argument("--hops", type=int, default=310, help="in each world, those of warming included")
    options = parser.parse_args()
    hardware, bundle = machine("onnxruntime", "numpy"), open_bundle(options.bundle)
    with PolicyEngine.open(bundle) as engine:
        worlds = [serve(engine, bundle.path("policy/action_head.onnx"), seed, options.hops) for seed in WORLDS]
    head = open_session(bundle.path("policy/action_head.onnx"))
    fresh, shape = np.random.default_rng(0), (1, bundle.robot.actions.horizon, bundle.robot.actions.dim)
    served = flow_noise(*shape[1:])
    noises: dict[str, Callable[[], Array]] = {
        "as served": lambda: served,
        "fresh": lambda: fresh.standard_normal(shape, np.float32),
        "zero": lambda: np.zeros(shape, np.float32),
    }
    for seed in SEEDS:
        drawn = np.random.default_rng(seed).standard_normal(shape, np.float32)
        noises[f"fixed, seed {seed}"] = lambda drawn=drawn: drawn  # type: ignore[misc]  # bound now, not when called
    experts = [bundle.norm.action.normalize(expert) for _, expert in worlds]
    figures = {"expert": compare(experts, experts)}
    for name, noise in noises.items():
        figures[name] = compare(
            [np.stack([head.run(None, {**f, "noise": noise()})[0][0] for f in feeds]) for feeds, _ in worlds], experts
        )
    for name, found in figures.items():
        print(f"{name:<16} " + "  ".join(f"{figure} {value:.3f}" for figure, value in found.items()))
    write_report(options.out, {"hardware": hardware, "hops": options.hops, "noise": figures})


def serve(engine: PolicyEngine, file: Path, seed: int, hops: int) -> tuple[list[dict[str, Array]], Array]:
    """What the head was given at each hop that was ready, and the expert's chunks there, (N, horizon, dim) in units."""
    shared, robot, head = engine._shared, engine.robot, KeepingHead(open_session(file))
    kept = replace(shared, head=ActionHead(head, robot, shared.norm, shared.part))
    stream, session, experts = NearPeakStream(robot, seed), PolicySession(kept, shared.part.instruction), []
    sensor = robot.sensors[0]
    for hop in range(hops):
        first = hop * sensor.hop_samples
        samples = stream.samples(first, sensor.hop_samples).astype(np.float16)
        newest_s = (first + sensor.hop_samples - 1) / sensor.rate_hz
        if hop % 2 == 0:
            exposed_s = max(0.0, newest_s - FRAME_AGE_S)
            for camera in robot.cameras:
                jpeg = encode_jpeg(stream.frame(exposed_s, camera.name))
                session.send_frame(Frame(camera.name, round(exposed_s * 1e9), jpeg))
            session.settle()
        reply = session.send_hop(Hop(first, round(newest_s * 1e9), samples))
        if reply is not None and reply.ready:
            experts.append(expert_chunks(robot.actions, stream.state(np.array([newest_s])))[0])
    session.close()
    return head.feeds, np.stack(experts)


def compare(chunks: list[Array], experts: list[Array]) -> dict[str, float]:
    """Figures of the chunks of all worlds, (N, horizon, dim) normalized; one hop lasts as long as one row."""
    jumps = np.concatenate([found[1:, 0] - found[:-1, 1] for found in chunks])
    errors = [np.abs(found - expert).mean() for found, expert in zip(chunks, experts, strict=True)]
    return {
        "jump": float(np.sqrt((jumps**2).mean())),
        "jump p99": float(np.percentile(np.abs(jumps), 99)),
        "error": float(np.mean(errors)),
    }


if __name__ == "__main__":
    main()
