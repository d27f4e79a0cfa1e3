"""`ganglion train sft`: data is checked whole before any model is loaded; then QLoRA, resumed where it was left."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ganglion.core.datafile import read_datafile
from ganglion.core.tasks import Task, get_task
from ganglion.training.claim import claim
from ganglion.training.quiet import quiet
from ganglion.training.sft.config import SftConfig, binding, checked, resolved
from ganglion.training.sft.run_folder import CHECKPOINTS, LEAVES, data_hash, finish


def run(config: SftConfig) -> None:
    """Fine-tune as the config says and print where the adapter is."""
    print(f"adapter in {train_sft(config)}")


def train_sft(config: SftConfig) -> Path:
    """Fine-tune, or go on with an interrupted run, or find it finished; returns the adapter folder.

    Raises:
        InputError: an option or a row is bad, or the folder holds another run. Nothing was trained.
        GanglionError: the loss is no longer finite, or the disk is full.
    """
    task_name, data, out = checked(config)
    task = get_task(task_name)
    examples = read_datafile(data, task)

    quiet()
    from ganglion.model.checkpoint import base_hash, resolve_base

    base = resolve_base(config.base)
    identity = {"data_hash": data_hash(examples), "base_hash": base_hash(base)}
    if claim(out, {**binding(config), **identity}, resolved(config), LEAVES, config.force):
        print(f"{out} holds this run, finished; --force trains it again")
        return out

    trainer = _prepare(config, base, examples, out)
    _train(trainer, out / CHECKPOINTS)
    history = [
        {key: entry[key] for key in ("step", "loss", "learning_rate")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    finish(out, config, trainer.model, history, _summary(config, task, trainer, len(examples), identity))
    return out


def _prepare(config: SftConfig, base: str, examples: Any, out: Path) -> Any:
    """Everything seeded, loaded and put together: a trainer at step 0."""
    import torch
    import transformers

    from ganglion.model.processor import load_processor
    from ganglion.model.vlm import load_vlm
    from ganglion.training.data.encoding import EncodedExamples, training_batch
    from ganglion.training.sft.adapter import add_adapter
    from ganglion.training.sft.trainer import ExactHistory, Progress, ResumableTrainer, arguments

    if config.threads:
        torch.set_num_threads(config.threads)
    processor = load_processor(base, config.max_pixels)
    model = load_vlm(base, quantization=None if config.quantization == "none" else config.quantization)
    longest = model.config.get_text_config().max_position_embeddings
    transformers.set_seed(config.seed)  # the adapter's weights are drawn next
    trainer = ResumableTrainer(
        model=add_adapter(model, config.lora),
        args=arguments(config, out / CHECKPOINTS),
        train_dataset=EncodedExamples(processor, examples, config.image_memory_mb * 2**20, longest),
        data_collator=functools.partial(training_batch, pad_token_id=processor.tokenizer.pad_token_id),
        callbacks=[ExactHistory(), Progress()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _train(trainer: Any, checkpoints: Path) -> None:
    """Train from the newest whole checkpoint on, or from the start."""
    from transformers import TrainerState

    from ganglion.training.sft.checkpoints import newest_whole

    newest = newest_whole(checkpoints)
    if newest is None:
        trainer.train()
        return
    print(f"going on from {newest}")
    state = TrainerState.load_from_json(str(newest / "trainer_state.json"))
    if state.global_step < state.max_steps:
        trainer.train(resume_from_checkpoint=str(newest))
    else:  # interrupted after its last step; Trainer would take one more
        trainer._load_from_checkpoint(str(newest))
        trainer.state = state


def _summary(config: SftConfig, task: Task, trainer: Any, rows: int, identity: dict[str, str]) -> dict[str, Any]:
    """What run.json says."""
    model = trainer.model
    return {
        "task": task.name,
        "summary": task.summary,
        "base": config.base,
        **identity,
        "model_type": model.config.model_type,
        "quantization": config.quantization,
        "dtype": str(model.dtype).removeprefix("torch."),
        "max_pixels": config.max_pixels,
        "seed": config.seed,
        "rows": rows,
        "steps": trainer.state.global_step,
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "versions": {name: version(name) for name in ("ganglion", "torch", "transformers", "peft", "bitsandbytes")},
    }
