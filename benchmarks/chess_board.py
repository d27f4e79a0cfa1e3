"""How an adapter for chess_board does on boards that nobody drew for it, square by square.

    python benchmarks/chess_board.py --adapter runs/chess_board --piece_sets DIR --diagrams DIR

Fresh boards are drawn here and now with a seed of their own: with the glyphs that training has too, and with the SVG
sets of --piece_sets, which it has not, where none were trained on. --diagrams is a folder with labels.json of real
pictures; they are for measuring only, and reported by source as they come out. Beside the adapter stand the untuned
base, an empty board, and 0.7932, the share of squares that the CLIP-based predictor gets right which users come from.
The learning curve is that of the run's validation, where it had one.
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
from ganglion.training.sft.run_folder import VALIDATION_FILE

CLIP_PREDICTOR = 0.7932
SEED = 977  # of boards used for nothing else


def main() -> None:
    parser = make_parser(__doc__, "chess_board")
    parser.add_argument("--adapter", type=Path, required=True, help="folder that 'ganglion train sft' wrote")
    parser.add_argument("--count", type=int, default=300, help="fresh boards of each kind")
    parser.add_argument("--base_count", type=int, default=30, help="rows for the untuned base, which seldom stops")
    parser.add_argument("--piece_sets", type=Path, help="folder of folders of SVG pieces; left out: not run")
    parser.add_argument("--diagrams", type=Path, help="folder with labels.json; left out: not run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = score(args.adapter, prepared(Path(folder), args), base_limit=args.base_count)
    squares = {name: scores["adapter"]["square_accuracy_as_shown"] for name, scores in found.items()}
    ratios = {name: value / CLIP_PREDICTOR for name, value in squares.items()}
    for name, ratio in ratios.items():
        print(f"{name}: {squares[name]:.4f} of squares, {ratio:.3f} times the CLIP-based predictor's {CLIP_PREDICTOR}")
    curve = learning_curve(args.adapter)
    for step, value in curve:
        print(f"step {step}: {value:.4f}")
    facts = {"adapter": str(args.adapter), "clip_predictor": CLIP_PREDICTOR, "times_clip_predictor": ratios}
    write_report(args.out, {**facts, "learning_curve": curve, "checks": found})


def prepared(folder: Path, args: argparse.Namespace) -> dict[str, Path]:
    """Data files by the name of the check."""
    synthesize(SynthConfig("chess_board", out=folder / "drawn", count=args.count, seed=SEED))
    files = {"drawn": folder / "drawn/data.json"}
    if args.piece_sets:
        drawn = SynthConfig("chess_board", out=folder / "sets", count=args.count, seed=SEED, piece_set=args.piece_sets)
        synthesize(drawn)
        files["piece_sets"] = folder / "sets/data.json"
    if args.diagrams:
        import_data(ImportConfig("chess_diagrams", args.diagrams, folder / "diagrams"))
        files["diagrams"] = folder / "diagrams/data.arrow"
    return files


def learning_curve(adapter: Path) -> list[tuple[int, float]]:
    """(step, share of squares as shown) of each validation of the run; none where it had none, or by loss alone."""
    path, name = adapter / VALIDATION_FILE, "square_accuracy_as_shown"
    if not path.is_file():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [(entry["step"], entry[name]) for entry in entries if name in entry]


if __name__ == "__main__":
    sys.exit(exit_code(main))
