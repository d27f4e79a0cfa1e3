"""From a meter's counts to compute.json and to lines for a model card. docs/reference/compute.md explains each key."""

from __future__ import annotations

from typing import Any

from ganglion.training.flop_count import METHOD
from ganglion.training.sft.compute.counts import world_size
from ganglion.training.sft.compute.hardware import hardware, versions
from ganglion.training.sft.compute.meter import ComputeMeter


def compute_report(meter: ComputeMeter) -> dict[str, Any]:
    """The report as JSON data. Of a distributed run, any one process may make it, after training."""
    counts = meter.counts
    flops = round(counts.counted_flops / counts.counted_tokens * counts.padded_tokens) if counts.counted_tokens else 0
    energy_is_known, energy_source = meter.energy_source
    return {
        "steps": counts.steps,
        "batches": counts.batches,
        "samples": counts.samples,
        "images": counts.images,
        "tokens": counts.tokens,
        "answer_tokens": counts.answer_tokens,
        "padded_tokens": counts.padded_tokens,
        "seconds": {
            "wall": counts.wall_seconds,
            "steps": counts.step_seconds,
            "device": counts.device_seconds,
            "device_kind": meter.device_seconds_kind,
        },
        "samples_per_second": _rate(counts.samples, counts.wall_seconds),
        "tokens_per_second": _rate(counts.tokens, counts.wall_seconds),
        "flops": {
            "total": flops,
            "per_second": _rate(flops, counts.step_seconds),
            "counted_batches": counts.counted_batches,
            "counted_share": _rate(counts.counted_tokens, counts.padded_tokens),
            "method": f"{METHOD}; the other batches are taken to cost as much per token, padding included",
        },
        "peak_memory": {
            "process_bytes": counts.peak_rss_bytes,
            "gpu_allocated_bytes": counts.peak_allocated_bytes or None,
            "gpu_reserved_bytes": counts.peak_reserved_bytes or None,
            "kind": "largest since the process started, of the process that used most",
        },
        "energy": {
            "joules": counts.energy_joules if energy_is_known else None,
            "source": energy_source if energy_is_known else None,
            "reason": None if energy_is_known else energy_source,
        },
        "world_size": world_size(),
        "hardware": hardware(),
        "versions": versions(),
    }


def compute_lines(report: dict[str, Any]) -> list[str]:
    """A Markdown table for a model card."""
    seconds, flops, memory, machine = (report[key] for key in ("seconds", "flops", "peak_memory", "hardware"))
    gpu = machine["gpu"]
    device = f"{gpu['name']}, driver {gpu['driver']}" if gpu else f"{machine['cpu']}, {machine['threads']} threads"
    rows = [
        ("device", f"{report['world_size']} x {device}"),
        ("wall time", f"{seconds['wall']:.1f} s, of it {seconds['steps']:.1f} s in optimizer steps"),
        ("device time", f"{seconds['device']:.1f} s ({seconds['device_kind']})"),
        ("seen", f"{report['samples']:,} samples, {report['images']:,} images"),
        ("tokens", _token_line(report)),
        ("FLOPs", f"{flops['total']:.3g} ({flops['counted_batches']} of {report['batches']:,} batches counted)"),
        ("peak memory", _memory_line(memory)),
        ("energy", _energy_line(report["energy"])),
        ("versions", ", ".join(f"{name} {value}" for name, value in report["versions"].items() if value)),
    ]
    return ["| compute | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _token_line(report: dict[str, Any]) -> str:
    rate = report["tokens_per_second"]
    padding = report["padded_tokens"] - report["tokens"]
    line = f"{report['tokens']:,}, of them {report['answer_tokens']:,} of answers; {padding:,} of padding beside them"
    return line if rate is None else f"{line}; {rate:,.0f} a second"


def _memory_line(memory: dict[str, Any]) -> str:
    process = f"{memory['process_bytes'] / 2**30:.2f} GiB of the process"
    if memory["gpu_allocated_bytes"] is None:
        return process
    allocated, reserved = memory["gpu_allocated_bytes"] / 2**30, memory["gpu_reserved_bytes"] / 2**30
    return f"{allocated:.2f} GiB of the GPU ({reserved:.2f} reserved), {process}"


def _energy_line(energy: dict[str, Any]) -> str:
    if energy["joules"] is None:
        return f"not known: {energy['reason']}"
    return f"{energy['joules'] / 3.6e6:.3g} kWh ({energy['source']})"


def _rate(amount: float, base: float) -> float | None:
    return amount / base if base else None
