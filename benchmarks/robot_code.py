"""How an adapter for robot_code does on real checks that it was not made for: BFCL v4 and CALVIN's sentences.

    python benchmarks/robot_code.py --adapter runs/robot_code --bfcl DIR --calvin DIR --out robot_code.json

--bfcl is BFCL's folder bfcl_eval/data, --calvin is CALVIN's calvin_models/conf/annotations. BFCL's prompts show the
functions of each case; CALVIN's don't show its API, so that an adapter has to know it from training. Both are reported
as they come out, with every metric of the task; nothing is tuned to them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from ganglion.core.errors import GanglionError
from ganglion.core.paths import write_json
from ganglion.training.data.importing import ImportConfig
from ganglion.training.data.importing import run as import_data
from ganglion.training.evaluate.config import EvaluateConfig
from ganglion.training.evaluate.report import table
from ganglion.training.evaluate.run import evaluate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, required=True, help="folder that 'ganglion train sft' wrote")
    parser.add_argument("--bfcl", type=Path, help="BFCL's folder with the questions; left out: not run")
    parser.add_argument("--calvin", type=Path, help="CALVIN's folder of annotations; left out: not run")
    parser.add_argument("--with_base", action="store_true", help="score the untuned base too (slow: it seldom stops)")
    parser.add_argument("--limit", type=int, help="only the first rows of each")
    parser.add_argument("--out", type=Path, default=Path("robot_code.json"), help="where the figures go")
    args = parser.parse_args()
    try:
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, data in prepared(Path(folder), args.bfcl, args.calvin).items():
                out = Path(folder) / f"{name}_scores"
                base = args.with_base
                config = EvaluateConfig(adapter=args.adapter, data=data, out=out, with_base=base, limit=args.limit)
                found[name] = evaluate(config)
                print(f"{name}\n{table(found[name])}\n")
        write_json(args.out, {"adapter": str(args.adapter), "limit": args.limit, "checks": found})
    except GanglionError as error:
        print(f"robot_code: {error}", file=sys.stderr)
        return error.exit_code
    print(f"figures in {args.out}")
    return 0


def prepared(folder: Path, bfcl: Path | None, calvin: Path | None) -> dict[str, Path]:
    """Import what is there; returns data files by the name of the check."""
    files = {}
    if bfcl:
        import_data(ImportConfig("bfcl", bfcl, folder / "bfcl"))
        files["bfcl"] = folder / "bfcl/data.arrow"
    if calvin:
        import_data(ImportConfig("calvin", calvin, folder / "calvin"))
        parts = sorted((folder / "calvin").glob("*.arrow"))
        files |= {f"calvin_{part.stem}": part for part in parts if part.stem != "train"}
    return files


if __name__ == "__main__":
    sys.exit(main())
