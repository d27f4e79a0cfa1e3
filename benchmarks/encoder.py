"""How much a stream saves: one hop against recomputing the full window, for the sensor encoder in ONNX Runtime.

    OMP_NUM_THREADS=1 python benchmarks/encoder.py

Every size, float32 and dynamic int8, one thread, random weights. Hops run in the graph that export writes; the window
in one of its own, with fixed shapes and no state, which is the faster of the two for it. Both encode every frame. They
take turns in one run, so a busy machine slows both: times are medians, ratios medians of the rounds' ratios. Writes
runs/benchmarks/encoder.json (--out).

A hop multiplies every weight by one row, so it can't be faster than the weights are read. The floor is the time to read
as many bytes, also taking turns. Each kind of call is first made a few times, so weights that fit into the last-level
cache are there. In use, other work may displace them between two hops: "first_ms" is the first call after that of all
other sizes, and its floor that of memory, "floor_memory_ms".

Weights are read faster from huge pages: GLIBC_TUNABLES=glibc.malloc.hugetlb=1 before the command asks for them (Linux,
glibc 2.35). The report says what was set.

int8 is here for its speed only: its scales depend on all that a call encodes, so a stream is not exactly its window.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from report import machine, make_parser, write_report
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from ganglion.core.specs import default_robot
from ganglion.export.onnx_file import write_onnx
from ganglion.export.policy_graph import write_sensor_stream
from ganglion.model.policy.config import SIZES, Size, policy_config
from ganglion.model.policy.sensor_encoder import SensorEncoder
from ganglion.serving.vlm.session import open_session

HOPS = {"13": 1, "65": 5, "130": 10}  # frames that come of so many samples at once
STATE = ("conv_state", "kv_state", "seen")
WARM, REPEATS = 3, 5  # calls of a kind in a round: before measuring, and measured
MEMORY_BYTES = 1 << 28  # of the buffer that no cache holds


@dataclass(frozen=True)
class Case:
    """One size in one precision: what is known of it, and what takes turns, by name: "window", "read", keys of HOPS."""

    facts: Mapping[str, Any]
    calls: Mapping[str, Callable[[], object]]


class WindowGraph(nn.Module):
    """An encoder from a fresh state."""

    def __init__(self, encoder: SensorEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, samples: Tensor, present: Tensor) -> Tensor:
        """See SensorEncoder.forward."""
        frames: Tensor = self.encoder(samples, present)
        return frames


def signal(encoder: SensorEncoder, hops: int) -> tuple[Tensor, Tensor]:
    """Samples (1, hops * hop_samples, channels) and present (1, hops, groups)."""
    config = encoder.config
    return torch.randn(1, hops * config.hop_samples, config.channels), torch.ones(1, hops, len(config.channel_groups))


def cases_of(size: Size, folder: Path) -> list[Case]:
    """A size in float32 and int8, its graphs written to `folder`."""
    torch.manual_seed(0)
    encoder = SensorEncoder(policy_config(default_robot(), size)).eval()
    stream, window = folder / f"{size}.onnx", folder / f"{size}.window.onnx"
    write_sensor_stream(encoder, stream)
    example = signal(encoder, encoder.config.window_frames)
    names = ("samples", "present")
    write_onnx(WindowGraph(encoder), example, window, inputs=names, outputs=("frames",), dynamic=({}, {}))
    facts = {"size": size, "parameters": sum(p.numel() for p in encoder.parameters()), "flops": flops(encoder)}
    return [
        case({**facts, "precision": "fp32"}, encoder, stream, window),
        case({**facts, "precision": "int8"}, encoder, quantized(stream), quantized(window)),
    ]


def case(facts: Mapping[str, Any], encoder: SensorEncoder, stream: Path, window: Path) -> Case:
    """The calls of two files; hops go on from the state that a window leaves."""
    hop, whole = open_session(stream), open_session(window)
    samples, present = (part.numpy() for part in signal(encoder, encoder.config.window_frames))
    feeds = {"samples": samples, "present": present}
    fresh = {name: part.numpy() for name, part in zip(STATE, encoder.fresh_state(1), strict=True)}
    state = dict(zip(STATE, hop.run(None, {**feeds, **fresh})[1:], strict=True))
    calls: dict[str, Callable[[], object]] = {"window": partial(whole.run, None, feeds)}
    for name, count in HOPS.items():
        piece = {"samples": samples[:, : int(name)], "present": present[:, :count]}
        calls[name] = partial(hop.run, None, {**piece, **state})
    size = sum(onnx.numpy_helper.to_array(weight).nbytes for weight in onnx.load(stream).graph.initializer)
    return Case({**facts, "weight_bytes": size}, {**calls, "read": reading(size)})


def flops(encoder: SensorEncoder) -> dict[str, int]:
    """Of the matrix products, a multiplication and an addition being two; counted by torch while they run."""
    counts = {}
    for name, hops in {"window": encoder.config.window_frames, **HOPS}.items():
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            encoder.stream(*signal(encoder, hops), encoder.fresh_state(1))
        counts[name] = counter.get_total_flops()
    return counts


def quantized(path: Path) -> Path:
    """The graph with weights and their products in int8."""
    written, model = path.with_suffix(".int8.onnx"), onnx.load(path)
    del model.graph.value_info[:]  # the quantizer turns the weights of a Gemm around, but not their noted shapes
    quantize_dynamic(model, written, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)
    return written


def reading(size_bytes: int) -> Callable[[], object]:
    """Reads a buffer of that size; of what torch and numpy have, this sum is the fastest at it."""
    return torch.ones(size_bytes // 4).sum


def timed_ms(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def measure(cases: list[Case], rounds: int) -> dict[str, Any]:
    """A row per case, and the bandwidth of memory."""
    times: list[dict[str, list[list[float]]]] = [{name: [] for name in case.calls} for case in cases]
    from_memory, memory_ms = reading(MEMORY_BYTES), []
    for round_ in tqdm(range(rounds + 1), desc="rounds", disable=None):
        for each, kept in zip(cases, times, strict=True):
            for name, call in each.calls.items():
                taken = [timed_ms(call) for _ in range(WARM + REPEATS)]
                if round_:  # in the first, sessions allocate
                    kept[name].append(taken)
        memory_ms.append(timed_ms(from_memory))
    gb_per_s = MEMORY_BYTES / 1e6 / float(np.median(memory_ms))
    return {
        "memory_gb_per_s": gb_per_s,
        "rows": [{**each.facts, **figures(kept, each, gb_per_s)} for each, kept in zip(cases, times, strict=True)],
    }


def figures(times: Mapping[str, list[list[float]]], of: Case, memory_gb_per_s: float) -> dict[str, Any]:
    """What the times of a case say, given by call and round."""
    warm = {name: np.array(taken)[:, WARM:] for name, taken in times.items()}
    by_round = {name: np.median(taken, axis=1) for name, taken in warm.items()}
    percentiles = {
        name: dict(zip(("p50", "p90", "p99"), np.percentile(warm[name], (50, 90, 99)).tolist(), strict=True))
        for name in ("window", *HOPS)
    }
    return {
        "ms": percentiles,
        "first_ms": {name: float(np.median(np.array(times[name])[:, 0])) for name in ("window", "13")},
        "window_over_hop": {name: float(np.median(by_round["window"] / by_round[name])) for name in HOPS},
        "floor_ms": float(np.median(by_round["read"])),
        "hop_over_floor": float(np.median(by_round["13"] / by_round["read"])),
        "floor_memory_ms": of.facts["weight_bytes"] / 1e6 / memory_gb_per_s,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people: a line of facts, then one for each kind of call."""
    lines = [f"{'':<14}{'GFLOP':>8}{'p50 ms':>10}{'p90':>9}{'p99':>9}{'first':>9}   window over hop"]
    for row in rows:
        lines.append(
            f"{row['size']} {row['precision']}: {row['parameters']:,} parameters, {row['weight_bytes'] / 1e6:.1f} MB,"
            f" read in {row['floor_ms']:.3f} ms (from memory {row['floor_memory_ms']:.3f}); a hop takes"
            f" {row['hop_over_floor']:.1f} times that"
        )
        for name, ms in row["ms"].items():
            line = f"  {name:<12}{row['flops'][name] / 1e9:>8.3f}{ms['p50']:>10.3f}{ms['p90']:>9.3f}{ms['p99']:>9.3f}"
            line += f"{row['first_ms'][name]:>9.3f}" if name in row["first_ms"] else " " * 9
            lines.append(line + (f"{row['window_over_hop'][name]:>9.1f}" if name in HOPS else ""))
    return "\n".join(lines)


def main() -> None:
    parser = make_parser(__doc__, "encoder")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = [case for size in tqdm(SIZES, desc="export", disable=None) for case in cases_of(size, Path(folder))]
    facts = {
        "hardware": machine("onnxruntime", "torch"),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),
        "threads": 1,
        "rounds": options.rounds,
    }
    found = measure(cases, options.rounds)
    print(json.dumps(facts))
    print(f"memory {found['memory_gb_per_s']:.1f} GB/s")
    print(table(found["rows"]))
    write_report(options.out, {**facts, "load_after": os.getloadavg()[0], **found})


if __name__ == "__main__":
    main()
