"""How an adapter for robot_code does on real checks that it was not made for: BFCL v4 and CALVIN's sentences.

    python benchmarks/robot_code.py --adapter runs/robot_code --bfcl DIR --calvin DIR

--bfcl is BFCL's folder bfcl_eval/data, --calvin is CALVIN's calvin_models/conf/annotations. BFCL's prompts show the
functions of each case; CALVIN's don't show its API, so that an adapter has to know it from training. Both are reported
as they come out, with every metric of the task; nothing is tuned to them.
"""

import sys
import tempfile
from pathlib import Path

from adapter_checks import exit_code, score
from report import make_parser, write_report

from ganglion.training.data.importing import ImportConfig
from ganglion.training.data.importing import run as import_data


def main() -> None:
    parser = make_parser(__doc__, "robot_code")
    parser.add_argument("--adapter", type=Path, required=True, help="folder that 'ganglion train sft' wrote")
    parser.add_argument("--bfcl", type=Path, help="BFCL's folder with the questions; left out: not run")
    parser.add_argument("--calvin", type=Path, help="CALVIN's folder of annotations; left out: not run")
    parser.add_argument("--with_base", action="store_true", help="score the untuned base too (slow: it seldom stops)")
    parser.add_argument("--limit", type=int, help="only the first rows of each")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = prepared(Path(folder), args.bfcl, args.calvin)
        found = score(args.adapter, files, with_base=args.with_base, limit=args.limit)
    write_report(args.out, {"adapter": str(args.adapter), "limit": args.limit, "checks": found})


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
    sys.exit(exit_code(main))
