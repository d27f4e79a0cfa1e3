"""Fine-tuning speed and memory beside TRL's SFTTrainer: same checkpoint, data, adapter, batch and precision, one run.

    pip install 'ganglion[train,bench]'
    OMP_NUM_THREADS=1 python benchmarks/training.py

Each trainer runs in processes of its own, in turns, over the same rows twice: in the first pass images are new, in the
second they have been seen. Figures are medians over the repetitions; ratios are medians of the ratio of neighbors.
--profile says where our time goes. Writes runs/benchmarks/training.json (--out).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import machine, make_parser, write_report

TRAINERS = ("ganglion", "trl")
WARM_STEPS = 2  # left out at the start of the first pass
LORA = {"r": 16, "alpha": 32.0, "dropout": 0.0}


def main() -> None:
    args = parse()
    if args.worker:
        print(json.dumps(work(args)))
        return
    hardware = machine("torch", "transformers", "peft", "bitsandbytes", "trl")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        command = [sys.executable, "-m", "ganglion.core.cli", "data", "synth", "exo_assist", "--out", str(data)]
        subprocess.run([*command, "--count", str(args.rows), "--seed", "3"], check=True, capture_output=True)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAINERS}
        for repetition in range(args.repeats):
            for name in TRAINERS:
                runs[name].append(in_process(name, data / "data.json", args))
                print(f"{repetition + 1}/{args.repeats} {name:<9}", told(runs[name][-1]))
        profile = in_process("ganglion", data / "data.json", args, "--profile") if args.profile else {"profile": []}
    report = {
        "hardware": hardware,
        "options": vars(args) | {"out": str(args.out)},
        "runs": runs,
        **compared(runs),
        **profile,
    }
    print()
    print(f"{'':<22}{'ganglion':>10}{'trl':>10}{'ratio':>8}")
    for key, row in report["compared"].items():
        print(f"{key:<22}{row['ganglion']:>10.2f}{row['trl']:>10.2f}{row['ratio']:>8.2f}")
    for line in profile["profile"]:
        print(f"{line['share']:>7.1%}  {line['name']}")
    write_report(args.out, report)


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, "training")
    parser.add_argument("--base", default="offline:qwen2_vl", help="what both fine-tune")
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quantization", choices=("nf4", "none"), default="nf4")
    parser.add_argument("--profile", action="store_true", help="say where our time goes")
    parser.add_argument("--worker", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def in_process(name: str, data: Path, args: argparse.Namespace, *more: str) -> dict[str, Any]:
    options = ["--base", args.base, "--batch_size", str(args.batch_size), "--quantization", args.quantization]
    command = [sys.executable, __file__, "--worker", name, "--data", str(data), *options, *more]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compared(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians and ratios; a ratio above 1 is in our favor for rows per second, below 1 for memory."""
    rows = {}
    for key in ("first_pass_rows_per_s", "second_pass_rows_per_s", "peak_memory_mib", "first_loss"):
        ours, theirs = ([run[key] for run in runs[name]] for name in TRAINERS)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        rows[key] = {"ganglion": statistics.median(ours), "trl": statistics.median(theirs), "ratio": ratio}
    return {"compared": rows}


def told(run: dict[str, Any]) -> str:
    first, second = run["first_pass_rows_per_s"], run["second_pass_rows_per_s"]
    return (
        f"{first:6.1f} rows/s, then {second:6.1f}; {run['peak_memory_mib']:.0f} MiB, first loss {run['first_loss']:.4f}"
    )


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Train with one of the two in this process."""
    import torch
    import transformers

    torch.set_num_threads(1)
    trainer, clock = (ganglion_trainer if args.worker == "ganglion" else trl_trainer)(args)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(clock)
    if args.profile:
        return {"profile": profiled(trainer)}
    trainer.train()
    steps = len(clock.ends) // 2
    first = (clock.ends[steps - 1] - clock.ends[WARM_STEPS - 1]) / (steps - WARM_STEPS)
    second = (clock.ends[-1] - clock.ends[steps - 1]) / steps
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        memory = torch.cuda.max_memory_allocated() / 2**20
    return {
        "first_pass_rows_per_s": args.batch_size / first,
        "second_pass_rows_per_s": args.batch_size / second,
        "peak_memory_mib": memory,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def profiled(trainer: Any) -> list[dict[str, Any]]:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        trainer.train()
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [{"name": event.key, "share": event.self_cpu_time_total / total} for event in events[:15]]


def make_clock() -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    return Clock()


def ganglion_trainer(args: argparse.Namespace) -> tuple[Any, Any]:
    from ganglion.core.datafile import read_datafile
    from ganglion.core.tasks import get_task
    from ganglion.model.checkpoint import base_hash, resolve_base
    from ganglion.training.sft.config import LoraOptions, OptimOptions, SftConfig
    from ganglion.training.sft.single import prepare

    config = SftConfig(
        base=args.base,
        task="exo_assist",
        data=args.data,
        quantization=args.quantization,
        lora=LoraOptions(r=int(LORA["r"]), alpha=LORA["alpha"], dropout=LORA["dropout"]),
        optim=OptimOptions(lr=1e-3, warmup_steps=0, schedule="constant"),
        epochs=2,
        batch_size=args.batch_size,
        logging_steps=1,
        save_steps=10**6,
    )
    base = resolve_base(args.base)
    examples = read_datafile(args.data, get_task("exo_assist"))
    trainer, _ = prepare(config, base, examples, [], Path(tempfile.mkdtemp()), base_hash(base))
    return trainer, make_clock()


def trl_trainer(args: argparse.Namespace) -> tuple[Any, Any]:
    import torch
    import transformers
    from datasets import Dataset, Features, Image, List, Value
    from datasets.table import InMemoryTable
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from ganglion.core.datafile import read_datafile
    from ganglion.core.tasks import get_task
    from ganglion.model.checkpoint import resolve_base
    from ganglion.model.processor import load_processor
    from ganglion.model.vlm import load_vlm

    base = resolve_base(args.base)
    processor = load_processor(base)
    examples = read_datafile(args.data, get_task("exo_assist"))
    part = {"type": Value("string"), "text": Value("string")}
    message = {"role": Value("string"), "content": List(part)}
    features = Features({"prompt": List(message), "completion": List(message), "images": List(Image())})
    rows = [
        {
            "prompt": [
                {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": e.prompt}]}
            ],
            "completion": [{"role": "assistant", "content": [{"type": "text", "text": e.answer}]}],
            "images": [{"bytes": None, "path": str(path)} for path in e.images],
        }
        for e in examples
    ]
    model = load_vlm(base, quantization=None if args.quantization == "none" else args.quantization)
    transformers.set_seed(0)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            num_train_epochs=2,
            per_device_train_batch_size=args.batch_size,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            max_length=None,
            completion_only_loss=True,
            gradient_checkpointing=False,
            bf16=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            seed=0,
            data_seed=0,
        ),
        train_dataset=Dataset(InMemoryTable.from_pylist(rows, schema=features.arrow_schema), fingerprint="rows"),
        processing_class=processor,
        peft_config=LoraConfig(
            r=int(LORA["r"]), lora_alpha=LORA["alpha"], lora_dropout=LORA["dropout"], target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )  # fmt: skip
    return trainer, make_clock()


if __name__ == "__main__":
    main()
