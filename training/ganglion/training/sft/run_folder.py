"""The folder of one fine-tuning run: what it holds in the end. Whose it is: ganglion.training.claim.

adapter_model.safetensors  adapter_config.json   what PEFT loads
run.json                                         task, base and its hash, data hash, seed, size, versions; written last
config.yaml  history.json  README.md             resolved config, loss curve, model card
checkpoints/                                     while it is unfinished
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganglion.core.bundle import sha256_file
from ganglion.core.paths import write_json, written_aside
from ganglion.core.tasks import Example
from ganglion.training.claim import RUN_FILE
from ganglion.training.sft.config import SftConfig

HISTORY_FILE, CARD_FILE = "history.json", "README.md"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
CHECKPOINTS = "checkpoints"
LEAVES = (CHECKPOINTS, "evaluation", HISTORY_FILE, CARD_FILE, *ADAPTER_FILES)
_MERGE_NOTE = (
    "`ganglion export` merges it into the dequantized NF4 base: the original weights are not what it was trained on.\n"
)


def data_hash(examples: Sequence[Example]) -> str:
    """Sha256 (hex) over everything that is learned from: prompts, answers, image files."""
    digest, hash_of = hashlib.sha256(), functools.cache(sha256_file)
    for example in examples:
        images = [hash_of(path) for path in example.images]
        digest.update(json.dumps([example.prompt, example.answer, images]).encode())
    return digest.hexdigest()


def finish(out: Path, config: SftConfig, model: Any, history: list[dict[str, float]], run: dict[str, Any]) -> None:
    """Write everything a finished run leaves; run.json comes last and says that it is finished."""
    model.peft_config["default"].base_model_name_or_path = config.base  # not a path in this machine's cache
    weights, adapter_config = ADAPTER_FILES
    with written_aside(out / weights) as aside:
        model.save_pretrained(aside.parent / "adapter", save_embedding_layers=False)
        (aside.parent / "adapter" / adapter_config).replace(out / adapter_config)
        (aside.parent / "adapter" / weights).replace(aside)
    write_json(out / HISTORY_FILE, history)
    with written_aside(out / CARD_FILE) as aside:
        aside.write_text(_card(config, run, history), encoding="utf-8")
    write_json(out / RUN_FILE, run)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def _card(config: SftConfig, run: dict[str, Any], history: list[dict[str, float]]) -> str:
    """The model card, in the hub's form."""
    lora, optim = config.lora, config.optim
    return f"""---
base_model: {config.base}
library_name: peft
pipeline_tag: image-text-to-text
tags: [lora, qlora, ganglion, {run["task"]}]
---
# {run["task"]}: LoRA adapter for {config.base}

Made by `ganglion train sft`. Answers the task `{run["task"]}` in JSON: {run["summary"]}.

| | |
|---|---|
| base | {config.base}, sha256 `{run["base_hash"]}` |
| base while training | {"NF4, double quantization" if config.quantization == "nf4" else run["dtype"]} |
| adapter | r {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, targets {lora.target_modules} |
| data | {run["rows"]} rows, sha256 `{run["data_hash"]}` |
| steps | {run["steps"]} of {config.batch_size} x {config.accumulation} rows |
| optimizer | AdamW, lr {optim.lr:g}, {optim.schedule}, {optim.warmup_steps} warm-up steps |
| seed | {config.seed} |
| last loss | {history[-1]["loss"] if history else float("nan"):.4f} |

{_MERGE_NOTE if config.quantization == "nf4" else ""}\
`ganglion evaluate` measures it; no claim is made for images unlike those in the data.
"""
