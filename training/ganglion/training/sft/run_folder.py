"""The folder of one fine-tuning run: whose it is, whether it is finished, and what it holds in the end.

adapter_model.safetensors  adapter_config.json   what PEFT loads
run.json                                         task, base and its hash, data hash, seed, size, versions; written last
config.yaml  history.json  README.md             resolved config, loss curve, model card
checkpoints/                                     while it is unfinished
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ganglion.core.bundle import sha256_file
from ganglion.core.errors import InputError
from ganglion.core.paths import write_json, written_aside
from ganglion.core.tasks import Example
from ganglion.training.sft.config import SftConfig, binding, resolved

RUN_FILE, CONFIG_FILE, HISTORY_FILE, CARD_FILE = "run.json", "config.yaml", "history.json", "README.md"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
CHECKPOINTS, _STARTED = "checkpoints", "started.json"
_MERGE_NOTE = (
    "`ganglion export` merges it into the dequantized NF4 base: the original weights are not what it was trained on.\n"
)


def data_hash(examples: Sequence[Example]) -> str:
    """Sha256 (hex) over everything that is learned from: prompts, answers, image files."""
    digest = hashlib.sha256()
    for example in examples:
        images = [sha256_file(path) for path in example.images]
        digest.update(json.dumps([example.prompt, example.answer, images]).encode())
    return digest.hexdigest()


def claim(out: Path, config: SftConfig, identity: dict[str, str]) -> bool:
    """Make `out` this run's folder; True if the run in it is finished already.

    Args:
        out: the folder.
        config: what is asked for.
        identity: hashes of what the config only names, data and base.

    Raises:
        InputError: it holds another run, or something else.
    """
    wanted = {**_flat(json.loads(json.dumps(binding(config)))), **identity}
    if not out.exists() or all(path.name.startswith(".") for path in out.iterdir()):
        return _start(out, config, wanted)
    try:
        started: dict[str, Any] = json.loads((out / _STARTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            "holds something other than a training run", where=out, remedy="choose another --out"
        ) from None
    if config.force:
        _clear(out)
        return _start(out, config, wanted)
    changed = [key for key in wanted if wanted[key] != started.get(key)]
    if changed:
        key = changed[0]
        raise InputError(
            f"holds a run with another {key} ({_short(started.get(key))}, now {_short(wanted[key])})",
            where=out,
            remedy="choose another --out, undo the change, or --force to start anew",
        )
    return (out / RUN_FILE).is_file()


def _start(out: Path, config: SftConfig, wanted: dict[str, Any]) -> bool:
    write_json(out / _STARTED, wanted)
    _write_yaml(out / CONFIG_FILE, resolved(config))
    return False


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


def _clear(out: Path) -> None:
    """Remove what a run and its evaluation leave, and nothing else; the mark of a run goes last."""
    for name in (CHECKPOINTS, "evaluation"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (RUN_FILE, CONFIG_FILE, HISTORY_FILE, CARD_FILE, *ADAPTER_FILES, _STARTED):
        (out / name).unlink(missing_ok=True)


def _write_yaml(path: Path, data: dict[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as on the command line."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 48 else text[:45] + "..."


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
