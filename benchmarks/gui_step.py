"""How an adapter for gui_step does on episodes it never saw, with its own memory, with the true one and with none.

    python benchmarks/gui_step.py --adapter runs/gui_step --screenagent DIR --out gui_step.json

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

from ganglion.core.errors import GanglionError
from ganglion.core.paths import write_json
from ganglion.training.data.importing import ImportConfig
from ganglion.training.data.importing import run as import_data
from ganglion.training.data.synth import SynthConfig
from ganglion.training.data.synth import run as synthesize
from ganglion.training.evaluate.config import EvaluateConfig
from ganglion.training.evaluate.report import table
from ganglion.training.evaluate.run import evaluate

SEED = 977  # of episodes used for nothing else


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, required=True, help="folder that 'ganglion train sft' wrote")
    parser.add_argument("--count", type=int, default=100, help="fresh episodes of each kind")
    parser.add_argument("--base_count", type=int, default=20, help="steps for the untuned base, which seldom stops")
    parser.add_argument("--screenagent", type=Path, help="folder of sessions; left out: not run")
    parser.add_argument("--out", type=Path, default=Path("gui_step.json"), help="where the figures go")
    args = parser.parse_args()
    try:
        found, made = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            for name, data in prepared(Path(folder), args).items():
                out = Path(folder) / f"{name}_scores"
                config = EvaluateConfig(adapter=args.adapter, data=data, out=out, base_limit=args.base_count)
                found[name] = evaluate(config)
                made |= {name: ceiling} if (ceiling := memoryless_ceiling(data.parent)) is not None else {}
                print(f"{name}\n{table(found[name])}\n")
        gains = {name: gain(scores) for name, scores in found.items()}
        for name, figures in gains.items():
            best = f", at best {made[name]:.3f} without any memory" if name in made else ""
            print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in figures.items()) + best)
        write_json(
            args.out,
            {"adapter": str(args.adapter), "gains": gains, "memoryless_ceiling": made, "checks": found},
        )
    except GanglionError as error:
        print(f"gui_step: {error}", file=sys.stderr)
        return error.exit_code
    print(f"figures in {args.out}")
    return 0


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
    sys.exit(main())
