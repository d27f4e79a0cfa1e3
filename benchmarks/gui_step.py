"""How an adapter for gui_step does on episodes it never saw, with its own memory, with the true one and with none.

    python benchmarks/gui_step.py --adapter runs/gui_step --screenagent DIR

Fresh episodes are drawn here and now with a seed of their own, once with goals said as in training and once with
held-out goals. What a player without memory could reach at best is known by construction and stands beside
(memoryless_ceiling). --screenagent is a folder of ScreenAgent's labeled sessions, real desktops: reported by action and
in pixels as they come out; nothing is tuned to them.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from adapter_checks import exit_code, score
from report import make_parser, write_report

from ganglion.training.data.importing import ImportConfig
from ganglion.training.data.importing import run as import_data
from ganglion.training.data.synth import SynthConfig
from ganglion.training.data.synth import run as synthesize

SEED = 977  # of episodes used for nothing else


def main() -> None:
    parser = make_parser(__doc__, "gui_step")
    parser.add_argument("--adapter", type=Path, required=True, help="folder that 'ganglion train sft' wrote")
    parser.add_argument("--count", type=int, default=100, help="fresh episodes of each kind")
    parser.add_argument("--base_count", type=int, default=20, help="steps for the untuned base, which seldom stops")
    parser.add_argument("--screenagent", type=Path, help="folder of sessions; left out: not run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = prepared(Path(folder), args)
        ceilings = {name: memoryless_ceiling(data.parent) for name, data in files.items()}
        found = score(args.adapter, files, base_limit=args.base_count)
    made = {name: ceiling for name, ceiling in ceilings.items() if ceiling is not None}
    gains = {name: gain(scores) for name, scores in found.items()}
    for name, figures in gains.items():
        best = f", at best {made[name]:.3f} without any memory" if name in made else ""
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in figures.items()) + best)
    facts = {"adapter": str(args.adapter), "gains": gains, "memoryless_ceiling": made}
    write_report(args.out, {**facts, "checks": found})


def prepared(folder: Path, args: argparse.Namespace) -> dict[str, Path]:
    """Data files by the name of the check."""
    files = {}
    for phrasing in ("train", "heldout"):
        synthesize(SynthConfig("gui_step", out=folder / phrasing, count=args.count, seed=SEED, phrasing=phrasing))
        files[f"goals_{phrasing}"] = folder / phrasing / "data.csv"
    if args.screenagent:
        import_data(ImportConfig("screenagent", args.screenagent, folder / "screenagent"))
        files["screenagent"] = folder / "screenagent/data.arrow"
    return files


def gain(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """Step success with each memory, and what the propagated one adds to none."""
    propagated, true, none = (
        scores[name]["step_success"] for name in ("adapter", "adapter_true_memory", "adapter_no_memory")
    )
    return {"propagated": propagated, "true": true, "none": none, "gain": propagated - none}


def memoryless_ceiling(folder: Path) -> float | None:
    """What the generator says of its data; None for other data."""
    file = folder / "synth.json"
    made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return made.get("memoryless_ceiling")


if __name__ == "__main__":
    sys.exit(exit_code(main))
