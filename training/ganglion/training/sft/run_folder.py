"""The folder of one fine-tuning run: what it holds in the end. Whose it is: ganglion.training.claim.

adapter_model.safetensors  adapter_config.json   what PEFT loads
run.json                                         task, base and its hash, data hash, seed, size, versions; written last
config.yaml  history.json  README.md             resolved config, loss curve, model card
compute.json                                     what it took: time, tokens, FLOPs, memory, energy
validation.json                                  scores while training, where there were rows to validate on
checkpoints/                                     while it is unfinished
tensorboard/                                     the loss, where it was asked for there
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
from ganglion.training.sft.card import model_card
from ganglion.training.sft.config import SftConfig
from ganglion.training.sft.publish import TENSORBOARD

HISTORY_FILE, VALIDATION_FILE, COMPUTE_FILE = "history.json", "validation.json", "compute.json"
CARD_FILE = "README.md"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
CHECKPOINTS, STAGES = "checkpoints", "stages"
LEAVES = (
    CHECKPOINTS,
    TENSORBOARD,
    "evaluation",
    HISTORY_FILE,
    VALIDATION_FILE,
    COMPUTE_FILE,
    CARD_FILE,
    *ADAPTER_FILES,
)


def data_hash(examples: Sequence[Example]) -> str:
    """Sha256 (hex) over everything that is learned from: prompts, answers, image files."""
    digest, hash_of = hashlib.sha256(), functools.lru_cache(maxsize=2**14)(sha256_file)
    for example in examples:
        for turn in example.turns:
            images = [hash_of(path) for path in turn.images]
            digest.update(json.dumps([turn.prompt, turn.answer, images]).encode())
    return digest.hexdigest()


def finish(
    out: Path,
    config: SftConfig,
    model: Any,
    log: Sequence[Mapping[str, Any]],
    run: dict[str, Any],
    compute: dict[str, Any],
) -> None:
    """Write everything a finished run leaves; run.json comes last and says that it is finished.

    Args:
        out: the run's folder.
        config: the run's.
        model: the PeftModel.
        log: transformers' log history.
        run: what run.json says.
        compute: what compute.json says.
    """
    from ganglion.training.sft.compute import compute_lines

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
    write_json(out / COMPUTE_FILE, compute)
    _finish(out, config, history, scores, run, compute_lines(compute))
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
    parts = {folder.name: json.loads((folder / COMPUTE_FILE).read_text(encoding="utf-8")) for folder in stages}
    write_json(out / COMPUTE_FILE, {"stages": parts})
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
    out: Path,
    config: SftConfig,
    history: list[dict[str, Any]],
    scores: list[dict[str, Any]],
    run: dict[str, Any],
    compute: Sequence[str] = (),
) -> None:
    write_json(out / HISTORY_FILE, history)
    if scores:
        write_json(out / VALIDATION_FILE, scores)
    with written_aside(out / CARD_FILE) as aside:
        aside.write_text(model_card(config, run, history, compute), encoding="utf-8")
    write_json(out / RUN_FILE, run)
