"""What a data set costs that is streamed: memory and speed of an Arrow file beside the same rows as a JSON list.

    OMP_NUM_THREADS=1 python benchmarks/data_stream.py

Writes rows of text to JSON Lines, imports them with 'ganglion data import json', and reads the Arrow file and the JSON
list as training does: all rows are checked, then each is taken once in random order. Every reading is a process of its
own; once with as little memory to allocate as --limit_mb says, and once without a limit. Memory is the peak of what the
process holds itself (RssAnon); pages of the mapped file are the system's cache, counted apart (RssFile), and go when
others need them. Writes runs/benchmarks/data_stream.json (--out).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from report import machine, make_parser, write_report

from ganglion.core.cli import main as ganglion
from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import CHAT


def write_rows(lines: Path, listed: Path, count: int, row_bytes: int) -> None:
    """The same rows as JSON Lines and as a JSON list."""
    words = random.Random(0)
    with lines.open("w") as file, listed.open("w") as whole:
        for index in range(count):
            text = words.randbytes(row_bytes // 2).hex()
            row = json.dumps({"prompt": f"What is {index}? {text}", "answer": str(index)})
            file.write(row + "\n")
            whole.write(("[" if index == 0 else ",\n") + row)
        whole.write("]")


class Peak:
    """The most memory of this process, in MB, by what /proc says of it: looked at a hundred times a second."""

    def __init__(self) -> None:
        self.megabytes = {"RssAnon": 0.0, "RssFile": 0.0}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition(":")
                if name in self.megabytes:
                    self.megabytes[name] = max(self.megabytes[name], int(value.split()[0]) / 1000)
            time.sleep(0.01)


def read_all(path: Path, limit_mb: int) -> dict[str, Any]:
    """Check all rows, then take each once in random order."""
    peak = Peak()
    if limit_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 10**6, limit_mb * 10**6))
    try:
        start = time.perf_counter()
        examples = read_datafile(path, CHAT)
        opened = time.perf_counter()
        order = random.Random(0).sample(range(len(examples)), len(examples))
        letters = sum(len(examples[index].prompt) for index in order)
        taken = time.perf_counter()
    except MemoryError:
        return {"rows": None}
    return {
        "rows": len(order),
        "letters": letters,
        "check_seconds": opened - start,
        "checked_rows_per_second": len(order) / (opened - start),
        "random_rows_per_second": len(order) / (taken - opened),
        "peak_mb": peak.megabytes["RssAnon"],
        "peak_cache_mb": peak.megabytes["RssFile"],
    }


def in_process(path: Path, limit_mb: int) -> dict[str, Any]:
    """`read_all` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--read", str(path), "--limit_mb", str(limit_mb)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "MemoryError" not in done.stderr:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout) if done.returncode == 0 else {"rows": None}
    return {"form": path.suffix[1:], "file_mb": path.stat().st_size / 1e6, "limit_mb": limit_mb or None, **found}


def main() -> None:
    parser = make_parser(__doc__, "data_stream")
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--row_bytes", type=int, default=4000)
    parser.add_argument("--limit_mb", type=int, default=300, help="memory that a process may allocate")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read_all(args.read, args.limit_mb)))
        return
    facts = {"hardware": machine("pyarrow"), "rows": args.rows}
    with tempfile.TemporaryDirectory() as folder:
        lines, listed, arrow = (Path(folder) / name for name in ("rows.jsonl", "rows.json", "set"))
        write_rows(lines, listed, args.rows, args.row_bytes)
        peak, start = Peak(), time.perf_counter()
        if ganglion(["data", "import", "json", str(lines), "--task", "chat", "--out", str(arrow)]):
            raise SystemExit(1)
        seconds = time.perf_counter() - start
        lines.unlink()
        found = [in_process(path, limit) for limit in (args.limit_mb, 0) for path in (arrow / "data.arrow", listed)]
    imported = {
        "seconds": seconds,
        "rows_per_second": args.rows / seconds,
        "peak_mb": peak.megabytes["RssAnon"],
    }
    print(f"import: {imported['rows_per_second']:,.0f} rows/s, {imported['peak_mb']:.0f} MB of its own at most")
    print(
        f"{'form':<6} {'file MB':>8} {'limit MB':>9} {'check rows/s':>13} {'random/s':>9} {'peak MB':>8} {'cache':>6}"
    )
    for row in found:
        limit = row["limit_mb"] or "none"
        if row["rows"] is None:
            print(f"{row['form']:<6} {row['file_mb']:>8.0f} {limit:>9} {'out of memory':>13}")
            continue
        speed = f"{row['checked_rows_per_second']:>13,.0f} {row['random_rows_per_second']:>9,.0f}"
        memory = f"{row['peak_mb']:>8.0f} {row['peak_cache_mb']:>6.0f}"
        print(f"{row['form']:<6} {row['file_mb']:>8.0f} {limit:>9} {speed} {memory}")
    write_report(args.out, {**facts, "import": imported, "read": found})


if __name__ == "__main__":
    main()
