"""What memory an export takes, stage by stage, next to the bytes of the largest part of the model.

    OMP_NUM_THREADS=1 python benchmarks/export_memory.py [--size 2b] [--language int4] [--folder DIR]

A Qwen2-VL-shaped checkpoint with random weights and a random LoRA on it are written first; --folder keeps them for
another run, and stages of a run that was stopped are not done again. Each stage runs in a process of its own:

    trained   the base with the adapter beside it, asked for one token
    merged    the adapter merged into files, and the model that maps them asked for one token
    graphs    merged into files, from which the graphs in --language are written
    sessions  the graphs opened and asked for one token
    export    all of `ganglion export`, which asks each stage for 64 tokens after one prompt with its pictures

"peak" is resident memory beyond that of the imports. Pages of a mapped file count as resident; the system takes them
back when it needs memory, so "of which own" (anonymous memory) is what a machine must have. The largest part is the
largest of the graphs. Writes runs/benchmarks/export_memory.json (--out).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from peak_memory import Peak
from random_vlm import SIZES, write_adapter, write_base
from report import machine, make_parser, write_report

STAGES = ("trained", "merged", "graphs", "sessions", "export")


def run_stage(stage: str, adapter_folder: Path, graphs: Path, language: str) -> dict[str, Any]:
    """One stage in this process: seconds, and bytes at its peak."""
    import torch.onnx  # noqa: F401  # counts as an import, and does much itself when it is first used
    from transformers.models.qwen2_vl import modeling_qwen2_vl  # noqa: F401

    from ganglion.export import onnx_runner, onnx_vlm  # noqa: F401
    from ganglion.export.merge import load_trained, open_adapter
    from ganglion.export.quiet import quiet

    quiet()
    adapter = open_adapter(adapter_folder)
    calls: dict[str, Callable[[], object]] = {
        "trained": lambda: ask_model(load_trained(adapter)),
        "merged": lambda: ask_merged(adapter, graphs.parent),
        "graphs": lambda: write_graphs(adapter, graphs, language),
        "sessions": lambda: ask_graphs(graphs, language),
        "export": lambda: export(adapter_folder, graphs.parent / "bundle", language),
    }
    start = time.perf_counter()
    with Peak() as peak:
        kept = calls[stage]()
    del kept
    return {"seconds": time.perf_counter() - start, "peak_bytes": peak.beyond_start}


def ask_model(model: Any) -> object:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.arange(8)[None])


def ask_merged(adapter: Any, room: Path) -> object:
    from ganglion.export.merge import load_merged, merged_once

    with merged_once(adapter, room=room) as weights:
        return ask_model(load_merged(weights))


def write_graphs(adapter: Any, folder: Path, language: str) -> None:
    from ganglion.export.merge import merged_once
    from ganglion.export.onnx_vlm import VlmGraphs
    from ganglion.export.weights import make_skeleton, reader

    with merged_once(adapter, room=folder.parent) as weights:
        skeleton = make_skeleton(weights.folder)
        VlmGraphs(skeleton).write(folder, read=reader(skeleton, weights), language=language)


def ask_graphs(folder: Path, language: str) -> object:
    import numpy as np

    from ganglion.export.onnx_runner import OnnxVlm
    from ganglion.export.targets import Precision

    onnx = OnnxVlm(folder, precision=Precision(language=language))
    ids = np.arange(8)[None]
    list(onnx.logits({"input_ids": ids}, np.tile(ids, (3, 1, 1)), 1, last=1))
    return onnx


def export(adapter: Path, bundle: Path, language: str) -> None:
    from ganglion.core.cli import main

    options = ("--precision.language", language, "--parity_samples", "1", "--gate", "false", "--force")
    with redirect_stdout(sys.stderr):
        assert main(["export", "--adapter", str(adapter), "--out", str(bundle), *options]) == 0


def parts(folder: Path) -> dict[str, int]:
    """Bytes of each graph with its weights."""
    sizes: dict[str, int] = {}
    for file in folder.iterdir():
        name = file.name.removesuffix(".data").removesuffix(".onnx")
        sizes[name] = sizes.get(name, 0) + file.stat().st_size
    return dict(sorted(sizes.items()))


def measure(size: str, language: str, folder: Path, stages: list[str]) -> dict[str, Any]:
    """Every stage in a process of its own, those already measured in that folder left out."""
    base = write_base(size, folder / "base")
    write_adapter(base, folder / "adapter")
    graphs = folder / language
    done = folder / f"{language}.json"
    found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
    for stage in stages:
        if stage not in found:
            command = [sys.executable, __file__, "--stage", stage, "--language", language, "--folder", str(folder)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[stage] = json.loads(said.splitlines()[-1])
            done.write_text(json.dumps(found), encoding="utf-8")
        mb = {name: value / 1e6 for name, value in found[stage]["peak_bytes"].items()}
        print(f"{stage:<10}{found[stage]['seconds']:>8.1f} s{mb['all']:>10,.0f} MB, of which own {mb['own']:,.0f}")
    sizes = parts(graphs if graphs.is_dir() else folder / "bundle" / "vlm")
    largest = max(sizes.values())
    print("  ".join(f"{name} {value / 1e6:,.0f} MB" for name, value in sizes.items()))
    for stage in stages:
        found[stage]["over_largest"] = {k: v / largest for k, v in found[stage]["peak_bytes"].items()}
        print(f"{stage:<10}" + "  ".join(f"{k} {v:.2f}" for k, v in found[stage]["over_largest"].items()))
    return {"parts_bytes": sizes, "largest_bytes": largest, "stages": found}


def main() -> None:
    parser = make_parser(__doc__, "export_memory")
    parser.add_argument("--size", choices=tuple(SIZES), default="1b")
    parser.add_argument("--language", choices=("float32", "int8", "int4"), default="int4")
    parser.add_argument("--folder", type=Path, help="scratch, kept; default: a temporary one")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--stage", choices=STAGES, help="of a folder that is there, in this process: what the others start"
    )
    options = parser.parse_args()
    if options.stage:
        folder = options.folder
        print(json.dumps(run_stage(options.stage, folder / "adapter", folder / options.language, options.language)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        found = measure(options.size, options.language, folder, options.stages)
    facts = {"hardware": machine("onnxruntime", "torch", "transformers"), "size": options.size}
    write_report(options.out, {**facts, "language": options.language, **found})


if __name__ == "__main__":
    main()
