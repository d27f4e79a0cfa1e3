"""How well `ganglion train sft --estimate` predicts memory and time, on models that a CPU holds.

    python benchmarks/estimate.py

For two Qwen2-VL models, the small offline one and one of 100 M random weights, each unquantized and in NF4, with and
without gradient checkpointing: the estimate, made from the config, and what a process of its own then really takes to
train a few steps on random rows. Peak memory is the kernel's high-water mark of resident memory, set back once the
model is loaded; "beyond process" leaves out what the process took before, which flatters small models. Step time is the
median without the first step. Where it checkpoints, large blocks are mapped (ganglion.training.heap), but not
in the last row. Writes runs/benchmarks/estimate.json (--out).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import machine, make_parser, write_report

WIDE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 10, "num_attention_heads": 12}
WIDE_VISION = {"embed_dim": 512, "hidden_size": 768, "depth": 6, "num_heads": 8}
CASES = [
    *((size, kept, gc, gc) for size in ("offline", "wide") for kept in ("none", "nf4") for gc in (0, 1)),
    ("wide", "nf4", 1, 0),  # what ganglion.training.heap is for
]
BATCHES = {"offline": 16, "wide": 3}
ANSWER_TOKENS, TEXT_TOKENS, SIDE = 40, 160, 224


def checkpoint(size: str, folder: Path) -> str:
    """A folder with a checkpoint of that size."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    from ganglion.model.checkpoint import resolve_base

    base = resolve_base("offline:qwen2_vl?untrained")
    if size == "offline":
        return base
    config = AutoConfig.from_pretrained(base)
    text = config.text_config.to_dict() | WIDE_TEXT
    text["rope_parameters"] = config.text_config.rope_parameters | {"mrope_section": [8, 12, 12]}
    text.pop("layer_types", None)
    vision = config.vision_config.to_dict() | WIDE_VISION
    AutoModelForImageTextToText.from_config(
        type(config)(**config.to_dict() | {"text_config": text, "vision_config": vision})
    ).save_pretrained(folder)
    return str(folder)


def one_case(base: str, size: str, quantization: str, checkpointing: bool, mapped: bool, steps: int) -> dict[str, Any]:
    """Estimate, then train; in a process of its own."""
    import torch

    from ganglion.model.vlm import load_vlm, preferred_dtype
    from ganglion.training.estimate import get_device, read_config
    from ganglion.training.estimate.devices import FIRST_STEP_BYTES
    from ganglion.training.heap import map_large_blocks
    from ganglion.training.sft.adapter import add_adapter
    from ganglion.training.sft.config import LoraOptions
    from ganglion.training.sft.estimate import Plan, estimate

    if mapped:
        map_large_blocks()
    config = read_config(base)
    dtype = str(preferred_dtype(config, torch.device("cpu"))).removeprefix("torch.")
    plan = Plan(
        quantization=quantization,
        dtype=dtype,
        autocast=False,
        batch_size=BATCHES[size],
        text_tokens=TEXT_TOKENS,
        answer_tokens=ANSWER_TOKENS,
        image_size=(SIDE, SIDE),
        gradient_checkpointing=checkpointing,
    )
    device = get_device("cpu", dtype)
    predicted = estimate(config, plan, device)
    model = add_adapter(load_vlm(base, quantization=None if quantization == "none" else quantization), LoraOptions())
    model.train()
    model.config.use_cache = False
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = random_batch(config, plan.batch_size, predicted.image_tokens)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    peak = high_water_bytes()
    before = device.overhead_bytes - FIRST_STEP_BYTES
    beyond = peak - before, predicted.total - before
    step = sorted(seconds[1:])[len(seconds[1:]) // 2]
    return {
        "model": size,
        "quantization": quantization,
        "gradient_checkpointing": checkpointing,
        "mapped_blocks": mapped,
        "parameters": predicted.parameters,
        "predicted_bytes": predicted.total,
        "measured_bytes": peak,
        "ratio": predicted.total / peak,
        "process_bytes": before,
        "ratio_beyond_process": beyond[1] / beyond[0],
        "step_flops": predicted.step_flops,
        "device_flops_per_second": device.flops,
        "predicted_step_seconds": predicted.step_seconds,
        "measured_step_seconds": step,
        "time_ratio": predicted.step_seconds / step,
        "reached_share": predicted.step_flops / step / device.flops,
        "parts": predicted.as_json()["activations"],
    }


def random_batch(config: Any, rows: int, image_tokens: int) -> dict[str, Any]:
    """Rows as the trainer's collator makes them, with random content; the first is padded."""
    import torch

    vision = config.vision_config
    patches = image_tokens * vision.spatial_merge_size**2
    side = int(patches**0.5)
    ids = torch.randint(20, 200, (rows, TEXT_TOKENS + image_tokens))
    ids[:, 4 : 4 + image_tokens] = config.image_token_id
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    values = 3 * vision.temporal_patch_size * vision.patch_size**2
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == config.image_token_id).long(),
        "labels": torch.randint(20, 200, (rows, ANSWER_TOKENS + 1)),
        "logits_to_keep": ANSWER_TOKENS + 1,
        "pixel_values": torch.randn(rows * patches, values),
        "image_grid_thw": torch.tensor([[1, side, side]] * rows),
    }


def high_water_bytes() -> int:
    """The largest resident memory since it was set back."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def measure(steps: int) -> list[dict[str, Any]]:
    """All cases, one process each."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bases = {size: checkpoint(size, Path(folder) / size) for size in BATCHES}
        for size, quantization, gc, mapped in CASES:
            case = ["--case", bases[size], size, quantization, str(gc), str(mapped)]
            call = [sys.executable, __file__, *case, "--steps", str(steps)]
            done = subprocess.run(call, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(row_line(rows[-1]), flush=True)
    return rows


def row_line(row: dict[str, Any]) -> str:
    """One row of the table."""
    options = " ".join((["checkpointed"] + ["not mapped"] * (not row["mapped_blocks"])) * row["gradient_checkpointing"])
    kind = f"{row['model']:<8} {row['quantization']:<5} {options:<23}"
    memory = f"{row['predicted_bytes'] / 2**20:7.0f} {row['measured_bytes'] / 2**20:7.0f} MiB {row['ratio']:5.2f}"
    seconds = f"{row['predicted_step_seconds']:7.2f} {row['measured_step_seconds']:7.2f} s {row['time_ratio']:5.2f}"
    return f"{kind} {memory} {row['ratio_beyond_process']:7.2f}   {seconds}"


def main() -> None:
    parser = make_parser(__doc__, "estimate")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--case", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.case:
        base, size, quantization, gc, mapped = args.case
        print(json.dumps(one_case(base, size, quantization, gc == "1", mapped == "1", args.steps)))
        return
    hardware = machine("torch", "transformers", "peft")
    print(f"{'':<38} {'predicted measured':>18}     ratio  beyond process   predicted measured   ratio")
    rows = measure(args.steps)
    write_report(args.out, {"hardware": hardware, "rows": rows})


if __name__ == "__main__":
    main()
