"""How much a stream saves: one hop against recomputing the full window, for the sensor encoder in ONNX Runtime.

    OMP_NUM_THREADS=1 python benchmarks/encoder.py

Sizes of 3 M and 33 M parameters at 1026 channels, float32 and dynamic int8, one thread. Full window and hop take turns
in one run, so a busy machine slows both; figures are medians of the time per call, ratios are medians of the ratio of
neighboring calls. Writes runs/benchmarks/encoder.json (--out).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from tqdm import tqdm

from ganglion.core.paths import write_json
from ganglion.core.specs import default_robot
from ganglion.model.policy.config import PolicyConfig, policy_config
from ganglion.model.policy.sensor_encoder import SensorEncoder, SensorState

SIZES = ("small", "base")
STATE = ("conv_state", "kv_state", "seen")


class Stream(nn.Module):
    """The encoder's step with plain tensors in and out, as ONNX wants it."""

    def __init__(self, encoder: SensorEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, samples: Tensor, conv: Tensor, kv: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
        """Samples and state in, frames and state out."""
        frames, state = self.encoder.stream(samples, SensorState(conv, kv, seen))
        return frames, *state


def export_encoder(config: PolicyConfig, path: Path) -> int:
    """Write an encoder with random weights as ONNX; returns its parameter count."""
    torch.manual_seed(0)
    encoder = SensorEncoder(config).eval()
    hops = torch.export.Dim("hops")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Stream(encoder).eval(),
            (torch.randn(1, 3 * config.hop_samples, config.channels), *encoder.fresh_state(1)),
            input_names=["samples", *STATE],
            output_names=["frames", *(f"{name}_out" for name in STATE)],
            dynamic_shapes=({1: config.hop_samples * hops}, None, None, None),
            dynamo=True,
            verbose=False,
        )
    program.save(path)
    return sum(p.numel() for p in encoder.parameters())


def calls(path: Path, config: PolicyConfig) -> tuple[Callable[[], object], Callable[[], object]]:
    """The two things to compare: encode a whole window from scratch, and one more hop with the state it left."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    fresh = SensorEncoder(config).fresh_state(1)
    rng = np.random.default_rng(0)
    window = rng.normal(size=(1, config.window_frames * config.hop_samples, config.channels)).astype(np.float32)
    full = {"samples": window, **{name: value.numpy() for name, value in zip(STATE, fresh, strict=True)}}
    left = session.run(None, full)[1:]
    hop = {"samples": window[:, : config.hop_samples], **dict(zip(STATE, left, strict=True))}
    return (lambda: session.run(None, full)), (lambda: session.run(None, hop))


def timed_ms(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def hardware() -> dict[str, object]:
    """What it ran on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    flags = next((line.split() for line in info.splitlines() if line.startswith("flags")), [])
    return {
        "cpu": cpu or platform.processor() or platform.machine(),
        "instructions": [
            flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if flag in flags
        ],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "onnxruntime": onnxruntime.__version__,
    }


def measure(rounds: int, folder: Path) -> list[dict[str, object]]:
    """One row per size and precision."""
    cases = []
    for size in SIZES:
        config = policy_config(default_robot(), size)
        float32, int8 = folder / f"{size}.onnx", folder / f"{size}.int8.onnx"
        parameters = export_encoder(config, float32)
        quantize_dynamic(float32, int8, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)
        cases += [(size, parameters, name, *calls(path, config)) for name, path in (("fp32", float32), ("int8", int8))]
    times: list[list[tuple[float, float]]] = [[] for _ in cases]
    for round_ in tqdm(range(rounds + 3), disable=None):
        for (_, _, _, full, hop), row in zip(cases, times, strict=True):
            pair = timed_ms(full), float(np.median([timed_ms(hop) for _ in range(5)]))
            if round_ >= 3:  # the first calls allocate
                row.append(pair)
    return [
        {
            "size": size,
            "parameters": parameters,
            "precision": precision,
            "full_window_ms": float(np.median([full for full, _ in row])),
            "hop_ms": float(np.median([hop for _, hop in row])),
            "ratio": float(np.median([full / hop for full, hop in row])),
        }
        for (size, parameters, precision, *_), row in zip(cases, times, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/encoder.json"))
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args.rounds, Path(folder))
    report = {"hardware": hardware(), "threads": 1, "rounds": args.rounds, "rows": rows}
    write_json(args.out, report)
    print(json.dumps(report["hardware"]))
    print(f"{'size':<6} {'parameters':>11} {'':<5} {'full 650 ms':>12} {'hop 13 ms':>10} {'ratio':>6}")
    for row in rows:
        print(
            "{size:<6} {parameters:>11,} {precision:<5} {full_window_ms:>12.2f} {hop_ms:>10.2f} {ratio:>6.1f}".format(
                **row
            )
        )
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
