"""What the five systems lose on their way to each target: every build's task metric beside the trained model's.

    python benchmarks/export_matrix.py --folder runs/export_matrix

One command, from nothing: it makes data, trains the four instruction VLMs by their recipes, exports each to every
target that applies, verifies each bundle, and drives the insertion policy's builds in closed loop. Given again it goes
on where it was interrupted. The insertion policy is the one that benchmarks/closed_loop.py trained (--policy). Writes
runs/benchmarks/export_matrix.json (--out) and the table beside it (.md). --quick goes through all of it in minutes,
with figures that mean nothing.

Builds are exported with --gate false, so that one that its gate would have stopped is in the table, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import machine, make_parser, write_report
from resumable import run_unfinished

from ganglion.core.manifest import ParityRow
from ganglion.core.paths import recipe
from ganglion.core.tasks import get_task
from ganglion.demo.quickstart.stages import Stage

GANGLION = ("-m", "ganglion.core.cli")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *GANGLION)
FIRST_SEED, SEEDS = 30_000_000, 50  # of the closed loop; nothing was chosen by these


@dataclass(frozen=True)
class System:
    """One instruction VLM.

    train, test  options of `data synth`, without its --out
    data         the file that it writes
    processes    of its training
    """

    task: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    data: str = "data.json"
    processes: int = 1


SYSTEMS = (
    System(
        "exo_assist",
        ("--count", "5280", "--seed", "1", "--limit_share", "0.3", "--rows_per_image", "2"),
        ("--count", "120", "--seed", "41"),
    ),
    System(
        "robot_code",
        ("--count", "5000", "--seed", "0", "--compound_share", "0.65"),
        ("--count", "120", "--seed", "41", "--paraphrases", "heldout"),
    ),
    System(
        "gui_step",
        ("--count", "4000", "--seed", "1"),
        ("--count", "30", "--seed", "41", "--phrasing", "heldout"),
        "data.csv",
        processes=2,
    ),
    System("chess_board", ("--count", "10000", "--seed", "1"), ("--count", "60", "--seed", "41"), processes=2),
)
BUILDS: dict[str, tuple[str, ...]] = {
    "onnx float32": (),
    "onnx float16": ("--device", "cuda"),
    "onnx int8": ("--precision.language", "int8", "--precision.vision", "int8"),
    "onnx int4": ("--precision.language", "int4"),
    "triton int8": ("--target", "triton", "--precision.language", "int8"),
    "hf bfloat16": ("--target", "hf"),
    "vllm fp8": ("--target", "vllm", "--precision.language", "fp8"),
    "vllm int8": ("--target", "vllm", "--precision.language", "int8"),
    "vllm int4": ("--target", "vllm", "--precision.language", "int4"),
    "vllm int4, gptq": ("--target", "vllm", "--precision.language", "int4", "--calibration", "TRAIN"),
    "vllm, beside nf4": ("--target", "vllm", "--device", "cuda", "--merge", "none"),
}
POLICY_BUILDS: dict[str, tuple[str, ...]] = {
    "onnx float32": (),
    "onnx float16": ("--precision.head", "float16"),
    "onnx int8": ("--precision.head", "int8"),
    "onnx int8, all": ("--precision.head", "int8", "--precision.language", "int8", "--precision.vision", "int8"),
    "triton int8": ("--target", "triton", "--precision.head", "int8"),
}


def main() -> None:
    parser = make_parser(__doc__, "export_matrix")
    parser.add_argument("--folder", type=Path, default=Path("runs/export_matrix"), help="for what is made on the way")
    parser.add_argument("--policy", type=Path, default=Path("runs/closed_loop/policies/concat"), help="for insertion")
    parser.add_argument("--only", nargs="+", default=[*(s.task for s in SYSTEMS), "insertion"], help="these systems")
    parser.add_argument("--lanes", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument("--quick", action="store_true", help="little data, few steps and seeds, to see it run")
    args = parser.parse_args()
    systems = [system for system in SYSTEMS if system.task in args.only]
    stages = [stage for system in systems for stage in _vlm_stages(system, args.folder, args.quick)]
    if "insertion" in args.only:
        stages += _policy_stages(args.policy, args.folder, args.quick)
    run_unfinished(stages, args.folder, args.lanes)
    found = [row for system in systems for row in _vlm_rows(system, args.folder)]
    if "insertion" in args.only:
        found += _policy_rows(args.folder)
    table = _table(found)
    print(table)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text(table + "\n", encoding="utf-8")
    write_report(args.out, {"machine": machine("torch", "onnxruntime", "transformers"), "builds": found})


def _vlm_stages(system: System, folder: Path, quick: bool) -> list[Stage]:
    own = folder / system.task
    train, test = own / "train" / system.data, own / "test" / system.data
    few = ("--count", "8") if quick else ()
    stages = [
        Stage(
            f"{system.task} {name}", (*GANGLION, "data", "synth", system.task, "--out", str(own / name), *drawn, *few)
        )
        for name, drawn in (("train", system.train), ("test", system.test))
    ]
    length = ("--steps", "2") if quick else ()
    learn = (
        "--config",
        str(recipe(f"{system.task}.yaml")),
        "--data",
        str(train),
        "--out",
        str(own / "adapter"),
        *length,
    )
    launch = GANGLION if system.processes == 1 else TORCHRUN
    name = f"{system.task} adapter"
    argv, needs, count = (*launch, "train", "sft", *learn), (f"{system.task} train",), system.processes
    stages.append(Stage(name, argv, needs, threads=count, processes=count))
    for build, options in BUILDS.items():
        given = [str(train) if option == "TRAIN" else option for option in options]
        out = own / build.replace(" ", "_").replace(",", "")
        wanted = (
            "--adapter",
            str(own / "adapter"),
            "--data",
            str(test),
            "--out",
            str(out),
            "--gate",
            "false",
            "--force",
        )
        needs = (name, f"{system.task} test")
        stages.append(Stage(f"{system.task} {build}", (*GANGLION, "export", *wanted, *given), needs))
        verify = (*GANGLION, "export", "verify", str(out), "--report", str(out.with_suffix(".verify.json")))
        stages.append(Stage(f"{system.task} {build}, verified", _either(verify), (f"{system.task} {build}",)))
    return stages


def _policy_stages(policy: Path, folder: Path, quick: bool) -> list[Stage]:
    own, stages = folder / "insertion", []
    script, count = str(Path(__file__).with_name("closed_loop_trials.py")), "2" if quick else str(SEEDS)
    drive = (script, str(policy), "--first", str(FIRST_SEED), "--count", count)
    stages.append(Stage("insertion trained", (*drive, "--trials", str(own / "trained.json"))))
    for build, options in POLICY_BUILDS.items():
        out = own / build.replace(" ", "_").replace(",", "")
        wanted = ("--policy", str(policy), "--out", str(out), "--gate", "false", "--force")
        stages.append(Stage(f"insertion {build}", (*GANGLION, "export", *wanted, *options)))
        to = ("--bundle", str(out), "--trials", str(out.with_suffix(".trials.json")))
        stages.append(Stage(f"insertion {build}, driven", (*drive, *to), (f"insertion {build}",)))
        verify = (*GANGLION, "export", "verify", str(out), "--report", str(out.with_suffix(".verify.json")))
        stages.append(Stage(f"insertion {build}, verified", _either(verify), (f"insertion {build}",)))
    return stages


def _either(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command, whether or not a gate stops it: its report says."""
    return ("-c", f"import subprocess, sys; subprocess.run([sys.executable, *{list(command)!r}])")


def _vlm_rows(system: System, folder: Path) -> list[dict[str, Any]]:
    headline, rows = str(get_task(system.task).headline), []
    for build in BUILDS:
        out = folder / system.task / build.replace(" ", "_").replace(",", "")
        manifest = json.loads((out / "manifest.json").read_text())
        parity = [ParityRow(**row) for row in manifest["parity"]]
        last = parity[-1].metrics
        value, change = float(last[headline]), float(last[f"{headline}_change"])
        rows.append(
            {
                "system": system.task,
                "build": build,
                "metric": headline,
                "trained": value - change,
                "built": value,
                "change": change,
                "limit": parity[-1].limits[f"{headline}_change"],
                "agreement": float(last["argmax_agreement"]),
                "stopped_by": [reason for row in parity for reason in row.failures()],
                "verify": _verified(out),
                "mb": _megabytes(out / "vlm"),
            }
        )
    return rows


def _policy_rows(folder: Path) -> list[dict[str, Any]]:
    own, rows = folder / "insertion", []
    trained = _success(own / "trained.json")
    for build in POLICY_BUILDS:
        out = own / build.replace(" ", "_").replace(",", "")
        manifest = json.loads((out / "manifest.json").read_text())
        parity = [ParityRow(**row) for row in manifest["parity"]]
        built = _success(out.with_suffix(".trials.json"))
        rows.append(
            {
                "system": "insertion",
                "build": build,
                "metric": "success",
                "trained": trained,
                "built": built,
                "change": built - trained,
                "limit": -0.02 if "int8" in build else -0.01,
                "agreement": None,
                "stopped_by": [reason for row in parity for reason in row.failures()],
                "verify": _verified(out),
                "mb": _megabytes(out / "policy"),
            }
        )
    return rows


def _success(trials: Path) -> float:
    found = json.loads(trials.read_text())["trials"]
    return sum(one["success"] for one in found) / len(found)


def _verified(out: Path) -> str:
    path = out.with_suffix(".verify.json")
    if not path.is_file():
        return "no"
    return "passes" if not json.loads(path.read_text())["failed"] else "fails"


def _megabytes(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| system | build | metric | trained | built | change | limit | gate | verify | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: Mapping[str, Any]) -> str:
    gate = "stops it" if row["stopped_by"] else "kept"
    figures = f"{row['trained']:.3f} | {row['built']:.3f} | {row['change']:+.3f} | {row['limit']:+.2f}"
    ends = f"{gate} | {row['verify']} | {row['mb']:.1f}"
    return f"| {row['system']} | {row['build']} | {row['metric']} | {figures} | {ends} |"


if __name__ == "__main__":
    main()
