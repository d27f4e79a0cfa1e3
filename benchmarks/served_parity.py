"""Ten minutes of one robot, through a session in this process and through Triton: hop by hop the same?

    python benchmarks/served_parity.py [BUNDLE] [--minutes 10] [--no_record]

The stream never repeats itself and is sent as fast as it goes. Chunks may differ by 1e-5, in the action's units; flags,
the newest sample, readiness and the age of camera features must be equal. Which frame a reply of Triton's used is read
off that age, and the session here is shown that frame before that hop (see checked_robot.py).

The result becomes a row of the bundle's parity table, "served by triton" against "in-process", which `ganglion export
verify` shows and holds to its limit; a row of an earlier run gives way to it. Without BUNDLE a `tiny` policy of the
default robot with random weights is served. Writes runs/benchmarks/served_parity.json (--out).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from checked_robot import TOLERANCE, Stream, Verdict, check, drive, read_records
from policy_server import PolicyServer, add_server_options, server_options
from random_policy import random_bundle
from report import machine, make_parser, write_report

from ganglion.core.bundle import Bundle, open_bundle, record_parity
from ganglion.core.errors import GanglionError
from ganglion.core.manifest import ParityRow
from ganglion.robot_bridge.triton_client import TritonPolicyClient
from ganglion.serving.policy.engine import PolicyEngine

PATIENT_MS = 60_000.0
HOLD_AFTER_MS = 60_000.0  # frames are encoded as fast as it goes, and so are hops: ages say nothing about a robot's


def main() -> int:
    parser = make_parser(__doc__, "served_parity")
    parser.add_argument("bundle", type=Path, nargs="?", help="with a policy and its Triton models; default: random")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the robot's time (default 10)")
    parser.add_argument("--frame_every", type=int, default=50, help="hops from frame to frame (default 50)")
    parser.add_argument("--no_record", dest="record", action="store_false", help="leave the bundle's manifest as it is")
    add_server_options(parser)
    options = parser.parse_args()
    if not options.minutes > 0 or options.frame_every < 1:
        parser.error("--minutes and --frame_every must be positive")
    hardware = machine("onnxruntime", "tritonclient")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = options.bundle or random_bundle(folder, size="tiny")
        try:
            found = compare(open_bundle(root), folder, options)
            if options.bundle and options.record:
                record_parity(root, parity_row(found))
        except GanglionError as error:
            parser.error(str(error))
    verdict: Verdict = found.pop("verdict")
    print(
        f"{found['hops']} hops in {found['served_s']:.0f} s, checked in {found['checked_s']:.0f} s: "
        f"{verdict.counts['compared']} chunks compared, {verdict.counts['held']} held, "
        f"{verdict.counts['wrong']} hops wrong, largest difference {verdict.largest:.1e}"
    )
    for example in verdict.examples:
        print(f"  {example}")
    equal = is_equal(verdict)
    if options.bundle and options.record:
        print(f"recorded in {options.bundle / 'manifest.json'}")
    counts = dict(verdict.counts)
    write_report(
        options.out, {"hardware": hardware, **found, "largest": verdict.largest, "counts": counts, "equal": equal}
    )
    return 0 if equal else 1


def compare(bundle: Bundle, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Serve the bundle, send it the stream, and check what it answered."""
    assert bundle.robot is not None
    stream = Stream(bundle.robot, start=0, blocks=None, frame_every=options.frame_every)
    hops = round(60e9 * options.minutes / stream.hop_ns)
    record, began = folder / "replies", time.perf_counter()
    with (
        PolicyServer(bundle.root, folder, "--hold_after_ms", str(HOLD_AFTER_MS), *server_options(options)) as server,
        TritonPolicyClient(server.address, bundle.robot, deadline_ms=PATIENT_MS) as client,
        record.open("wb") as file,
    ):
        drive(client, stream, hops, file.write, paced=False)
    served_s = time.perf_counter() - began
    with PolicyEngine.open(bundle, hold_after_ms=HOLD_AFTER_MS) as engine:
        verdict = check(engine, stream, read_records(record, bundle.robot))
    checked_s = time.perf_counter() - began - served_s
    return {"hops": hops, "served_s": served_s, "checked_s": checked_s, "verdict": verdict}


def is_equal(verdict: Verdict) -> bool:
    """No hop was wrong or without an answer, and most could be compared chunk by chunk."""
    counts = verdict.counts
    return not counts["wrong"] and not counts["unanswered"] and counts["compared"] > counts["held"]


def parity_row(found: dict[str, Any]) -> ParityRow:
    """The row of the manifest; a hop that was wrong in another way than its chunk breaks its limit, too."""
    verdict: Verdict = found["verdict"]
    bad = verdict.counts["wrong"] + verdict.counts["unanswered"]
    return ParityRow(
        "policy",
        "served by triton",
        "in-process",
        verdict.counts["compared"],
        verdict.largest,
        {"max_wrong_hops": float(bad)},
        {"max_abs": TOLERANCE, "max_wrong_hops": 0.0},
    )


if __name__ == "__main__":
    raise SystemExit(main())
