"""The folder of one fine-tuning run: what it holds in the end. Whose it is: ganglion.training.claim.

adapter_model.safetensors  adapter_config.json   what PEFT loads
run.json                                         task, base and its hash, data hash, seed, size, versions; written last
config.yaml  history.json  README.md             resolved config, loss curve, model card
validation.json                                  scores while training, where there were rows to validate on
checkpoints/                                     while it is unfinished
stages/                                          of a curriculum: each stage's own run
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganglion.core.bundle import sha256_file
from ganglion.core.paths import write_json, written_aside
from ganglion.core.tasks import Example
from ganglion.training.claim import RUN_FILE
from ganglion.training.sft.config import SftConfig

HISTORY_FILE, VALIDATION_FILE, CARD_FILE, ENSEMBLE_FILE = (
    "history.json",
    "validation.json",
    "README.md",
    "ensemble.json",
)
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
CHECKPOINTS, STAGES = "checkpoints", "stages"
LEAVES = (CHECKPOINTS, "evaluation", HISTORY_FILE, VALIDATION_FILE, CARD_FILE, *ADAPTER_FILES)
_QUANTIZED = {"nf4": "NF4, double quantization", "int8": "LLM.int8"}
_MERGE_NOTE = (
    "`ganglion export` merges it into the dequantized NF4 base: the original weights are not what it was trained on.\n"
)


def data_hash(examples: Sequence[Example]) -> str:
    """Sha256 (hex) over everything that is learned from: prompts, answers, image files."""
    digest, hash_of = hashlib.sha256(), functools.cache(sha256_file)
    for example in examples:
        for turn in example.turns:
            images = [hash_of(path) for path in turn.images]
            digest.update(json.dumps([turn.prompt, turn.answer, images]).encode())
    return digest.hexdigest()


def finish(out: Path, config: SftConfig, model: Any, log: Sequence[Mapping[str, Any]], run: dict[str, Any]) -> None:
    """Write everything a finished run leaves; run.json comes last and says that it is finished.

    Args:
        out: the run's folder.
        config: the run's.
        model: the PeftModel.
        log: transformers' log history.
        run: what run.json says.
    """
    model.peft_config["default"].base_model_name_or_path = config.base  # not a path in this machine's cache
    weights, adapter_config = ADAPTER_FILES
    with written_aside(out / weights) as aside:
        model.save_pretrained(aside.parent / "adapter", save_embedding_layers=False)
        (aside.parent / "adapter" / adapter_config).replace(out / adapter_config)
        (aside.parent / "adapter" / weights).replace(aside)
    history = [{key: entry[key] for key in ("step", "loss", "learning_rate")} for entry in log if "loss" in entry]
    scores = [
        {"step": entry["step"], **{key.removeprefix("eval_"): entry[key] for key in entry if key.startswith("eval_")}}
        for entry in log
        if "eval_loss" in entry
    ]
    _finish(out, config, history, scores, run)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def finish_curriculum(out: Path, config: SftConfig, stages: Sequence[Path]) -> None:
    """Make the last stage's adapter the run's, with the history of all stages."""
    for name in ADAPTER_FILES:
        with written_aside(out / name) as aside:
            shutil.copyfile(stages[-1] / name, aside)
    runs = [json.loads((folder / RUN_FILE).read_text(encoding="utf-8")) for folder in stages]
    histories = {name: _joined(stages, name, runs) for name in (HISTORY_FILE, VALIDATION_FILE)}
    steps = {folder.name: run["steps"] for folder, run in zip(stages, runs, strict=True)}
    run = {**runs[-1], "steps": sum(steps.values()), "stages": steps, "rows": sum(run["rows"] for run in runs)}
    _finish(out, config, histories[HISTORY_FILE], histories[VALIDATION_FILE], run)


def _joined(stages: Sequence[Path], name: str, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of all stages, their steps counted on."""
    entries: list[dict[str, Any]] = []
    before = 0
    for folder, run in zip(stages, runs, strict=True):
        if (folder / name).is_file():
            own = json.loads((folder / name).read_text(encoding="utf-8"))
            entries += [{**entry, "step": entry["step"] + before} for entry in own]
        before += run["steps"]
    return entries


def _finish(
    out: Path, config: SftConfig, history: list[dict[str, Any]], scores: list[dict[str, Any]], run: dict[str, Any]
) -> None:
    write_json(out / HISTORY_FILE, history)
    if scores:
        write_json(out / VALIDATION_FILE, scores)
    with written_aside(out / CARD_FILE) as aside:
        aside.write_text(_card(config, run, history), encoding="utf-8")
    write_json(out / RUN_FILE, run)


def _card(config: SftConfig, run: dict[str, Any], history: list[dict[str, float]]) -> str:
    """The model card, in the hub's form."""
    lora, optim = config.lora, config.optim
    pipeline = "image-text-to-text" if "vl" in run["model_type"] else "text-generation"
    return f"""---
base_model: {config.base}
library_name: peft
pipeline_tag: {pipeline}
tags: [lora, qlora, ganglion, {run["task"]}]
---
# {run["task"]}: LoRA adapter for {config.base}

Made by `ganglion train sft`. It does the task `{run["task"]}`: {run["summary"]}.

| | |
|---|---|
| base | {config.base}, sha256 `{run["base_hash"]}` |
| base while training | {_QUANTIZED.get(config.quantization, run["dtype"])} |
| adapter | r {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, targets {lora.target_modules} |
| data | {run["rows"]} rows, sha256 `{run["data_hash"]}` |
| steps | {run["steps"]} of {config.batch_size} x {config.accumulation} rows |
| optimizer | {optim.name}, lr {optim.lr:g}, {optim.schedule}, warm-up {_warmup(config)} |
| seed | {config.seed} |
| last loss | {history[-1]["loss"] if history else float("nan"):.4f} |

{_MERGE_NOTE if config.quantization == "nf4" else ""}\
`ganglion evaluate` measures it; no claim is made for images unlike those in the data.
"""


def _warmup(config: SftConfig) -> str:
    optim = config.optim
    return f"{optim.warmup_steps} steps" if optim.warmup_ratio is None else f"{optim.warmup_ratio:.0%}"
