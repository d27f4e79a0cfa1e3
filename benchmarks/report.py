"""What benchmarks share: the option --out, what they ran on, and the report they write."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ganglion.core.paths import write_json

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_LAST_LEVEL_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")


def make_parser(doc: str, name: str) -> argparse.ArgumentParser:
    """A benchmark's options, with --out.

    Args:
        doc: its module's docstring, which --help shows.
        name: its own, of the report where no --out is given.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path("runs/benchmarks") / f"{name}.json"
    parser.add_argument("--out", type=Path, default=default, help=f"where the figures go as JSON (default {default})")
    return parser


def machine(*packages: str) -> dict[str, Any]:
    """What it runs on, how busy that is before anything is measured, and the versions of packages."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    pairs = (line.split(":", 1) for line in info.splitlines() if ":" in line)
    cpu = {name.strip(): value.strip() for name, value in pairs}
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in _INSTRUCTIONS if name in cpu.get("flags", "").split()],
        "cores": os.cpu_count(),
        "last_level_cache": _LAST_LEVEL_CACHE.read_text().strip() if _LAST_LEVEL_CACHE.exists() else None,
        "load": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in packages},
    }


def write_report(out: Path, figures: Mapping[str, Any]) -> None:
    """Write the figures as JSON and say where."""
    write_json(out, figures)
    print(f"written to {out}")
