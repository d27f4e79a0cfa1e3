"""What a policy learns of real robot episodes: BridgeData's WidowX arms, held back by episode.

    OMP_NUM_THREADS=1 python benchmarks/bridge.py ../shared/data/bridge_rlds_mini

Imports the RLDS episodes (four camera slots of 64 x 64, one of them empty; 7-D state and actions), caches the VL
features, and trains recipes/policy_recorded.yaml without a sensor, once for each of several splits of the episodes: a
quarter is scored on, a quarter of the rest chooses the best weights. Errors by dimension stand beside those of
predicting the training mean and of doing again what was done last. 17 episodes of 10 steps are few, and most have a
goal of their own: what is shown is the way from files to a scored policy, and how far so little data carries. Writes
runs/benchmarks/bridge.json (--out).
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from report import machine, make_parser, write_report
from tqdm import tqdm

from ganglion.core.cli import main as ganglion
from ganglion.training.policy.scoring import error_columns

RECIPE = Path(__file__).resolve().parents[1] / "recipes/policy_recorded.yaml"
Table = dict[str, dict[str, float]]


def run(*words: object) -> None:
    """A command of Ganglion; what it prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        if code := ganglion([str(word) for word in words]):
            sys.exit(code)


def scored(episodes: Path, features: Path, out: Path, seed: int) -> Table:
    """Errors of a policy trained on one split."""
    shares = ("--test_share", 0.25, "--validation_share", 0.25, "--validation_steps", 5)
    data = ("--data", episodes, "--cache", features, "--out", out, "--seed", seed)
    run("train", "policy", "--config", RECIPE, "--fusion", "none", *data, *shares)
    table = error_columns(json.loads((out / "metrics.json").read_text(encoding="utf-8")))
    return {"best": table["policy"], **table}  # where the last weights are the best, they stand for both


def main() -> None:
    parser = make_parser(__doc__, "bridge")
    parser.add_argument("data", type=Path, help="folder of BridgeData RLDS files")
    parser.add_argument("--splits", type=int, default=8, help="how many splits to train on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("data", "import", "rlds", options.data, "--rate_hz", 5, "--session", "episode", "--out", folder / "set")
        run("cache", folder / "set", "--out", folder / "features")
        seeds = tqdm(range(options.splits), desc="splits", disable=None)
        tables = [scored(folder / "set", folder / "features", folder / f"{seed}", seed) for seed in seeds]
    medians = {
        who: {name: float(np.median([table[who][name] for table in tables])) for name in column}
        for who, column in tables[0].items()
    }
    ratios = {
        who: float(np.median([table["best"]["all"] / table[who]["all"] for table in tables]))
        for who in ("mean", "last action")
    }
    columns = ("policy", "best", "mean", "last action")
    print(f"median of {len(tables)} splits" + "".join(f"{who:>12}" for who in columns))
    for dimension in medians["mean"]:
        print(f"{dimension:<18}" + "".join(f"{medians[who][dimension]:>12.4f}" for who in columns))
    print("best over " + ", ".join(f"{who} {ratio:.3f}" for who, ratio in ratios.items()))
    facts = machine("ganglion", "torch", "transformers")
    write_report(options.out, {"machine": facts, "splits": tables, "medians": medians, "best_over": ratios})


if __name__ == "__main__":
    main()
