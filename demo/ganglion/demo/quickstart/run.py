"""`ganglion quickstart`: run the stages, collect their figures, write report.json and report.html."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ganglion.core.bundle import open_bundle
from ganglion.core.errors import InputError
from ganglion.core.paths import write_json
from ganglion.demo.quickstart.config import QuickstartConfig
from ganglion.demo.quickstart.figures import exo_figures, machine, parity_figures, read_json
from ganglion.demo.quickstart.page import write_page
from ganglion.demo.quickstart.plan import Layout, plan
from ganglion.demo.quickstart.stages import run_stages
from ganglion.demo.quickstart.table import print_table

_LANES = 2
_STATE = "quickstart.json"


def run(config: QuickstartConfig) -> int:
    """Run everything; prints a table and where the report is."""
    _check(config)
    started = time.monotonic()
    done, before = _prepare(config)
    stages = [stage for stage in plan(config) if stage.name not in done]
    print(f"quickstart: {len(stages)} stages into {config.out}, logs in {config.out / 'logs'}")

    def spent() -> float:
        return round(before + time.monotonic() - started, 1)

    def remember(name: str, seconds: float) -> None:
        done[name] = seconds
        write_json(config.out / _STATE, {"config": _plain(config), "done": done, "seconds": spent()})

    run_stages(stages, config.out / "logs", _LANES, known=set(done), finished=remember)
    report = _report(config, done, spent())
    write_json(config.out / "report.json", report)
    write_page(Layout(config.out), report, config.out / "report.html")
    print_table(report)
    print(f"\nreport: {config.out / 'report.json'}\n        {config.out / 'report.html'}")
    return 0


def _check(config: QuickstartConfig) -> None:
    if config.seconds <= 0 or config.eval_count < 1:
        raise InputError("--seconds and --eval_count must be positive", remedy="correct them")
    if config.sensor_data and not config.sensor_data.is_dir():
        raise InputError("no such folder", where=config.sensor_data, remedy="give a folder of OCT volumes (*.npz)")


def _prepare(config: QuickstartConfig) -> tuple[dict[str, float], float]:
    """An empty folder, or that of an interrupted run of the same options: its finished stages and seconds so far."""
    state = config.out / _STATE
    if config.out.exists() and any(config.out.iterdir()):
        if not state.is_file():
            raise InputError("holds other files", where=config.out, remedy="choose another folder with --out")
        before = read_json(state)
        if before["config"] == _plain(config) and not (config.out / "report.json").is_file():
            return dict(before["done"]), before["seconds"]
        shutil.rmtree(config.out)
    write_json(state, {"config": _plain(config), "done": {}, "seconds": 0.0})
    return {}, 0.0


def _plain(config: QuickstartConfig) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}


def _report(config: QuickstartConfig, stages: dict[str, float], total: float) -> dict[str, Any]:
    at = Layout(config.out)
    report: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": _plain(config),
        "machine": machine(),
        "seconds": {"total": total, "stages": stages},
    }
    if not config.sensor_data:
        report["exo"] = exo_figures(at)
    report["policy"] = read_json(at.policy / "metrics.json")
    report["parity"] = parity_figures(open_bundle(at.bundle).manifest)
    report["bridge"] = read_json(at.stream / "bridge.json")
    return report
