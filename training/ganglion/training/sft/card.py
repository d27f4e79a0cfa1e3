"""The model card that lies beside an adapter, in the hub's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganglion.model.processor import PROCESSORS
from ganglion.training.sft.config import SftConfig

_QUANTIZED = {"nf4": "NF4, double quantization", "int8": "LLM.int8"}
_MERGE_NOTE = (
    "`ganglion export` merges it into the dequantized NF4 base: the original weights are not what it was trained on.\n"
)


def model_card(
    config: SftConfig, run: Mapping[str, Any], history: Sequence[Mapping[str, float]], compute: Sequence[str]
) -> str:
    """The card as Markdown.

    Args:
        config: the run's.
        run: what run.json says.
        history: losses by step.
        compute: lines of the compute table; none where compute.json has more than one report.
    """
    lora, optim = config.lora, config.optim
    pipeline = "image-text-to-text" if run["model_type"] in PROCESSORS else "text-generation"
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
`ganglion evaluate` measures it; no claim is made for data unlike those.
{_table(compute)}"""


def _warmup(config: SftConfig) -> str:
    optim = config.optim
    return f"{optim.warmup_steps} steps" if optim.warmup_ratio is None else f"{optim.warmup_ratio:.0%}"


def _table(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in ("", *lines)) if lines else "\nWhat it took is in compute.json.\n"
