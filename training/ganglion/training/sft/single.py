"""One run: one model, one data file, from nothing or from an adapter, resumed where it was left."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ganglion.core.bundle import sha256_file
from ganglion.core.errors import InputError
from ganglion.core.tasks import Example, get_task
from ganglion.training.claim import RUN_FILE, claim
from ganglion.training.data.episodes import chosen
from ganglion.training.processes import is_main, main_first, process_count, wait_for_all
from ganglion.training.quiet import quiet
from ganglion.training.sft.config import SftConfig, binding, resolved
from ganglion.training.sft.publish import trackers
from ganglion.training.sft.run_folder import ADAPTER_FILES, CHECKPOINTS, LEAVES, data_hash, finish

Data = Mapping[Path, Sequence[Example]]


def train_single(config: SftConfig, out: Path, data: Data) -> None:
    """Train, or go on with an interrupted run, or find it finished.

    Args:
        config: checked, without stages and variants.
        out: the run's folder.
        data: the examples of each data file that the config names.

    Raises:
        InputError: a row, the base or the adapter to start from can't be used, or the folder holds another run.
        GanglionError: the loss is no longer finite, or the disk is full.
    """
    quiet()
    from ganglion.model.checkpoint import base_hash, resolve_base

    with main_first():
        base = resolve_base(config.base)
    examples, held_out = _examples(config, data)
    identity = {"data_hash": data_hash(examples), "base_hash": base_hash(base)}
    if held_out:
        identity["validation_hash"] = data_hash(held_out)
    if config.init_adapter:
        identity["init_hash"] = _adapter_hash(config.init_adapter)
    wanted = {**binding(config), **identity, "processes": process_count()}
    with main_first():
        if is_main() and claim(out, wanted, resolved(config), LEAVES, config.force):
            print(f"{out} holds this run, finished; --force trains it again")
    if (out / RUN_FILE).is_file():
        return
    from ganglion.training.sft.compute import compute_report

    trainer, rows = prepare(config, base, examples, held_out, out, identity["base_hash"])
    _train(trainer, config, out / CHECKPOINTS)
    if is_main():
        summary = _summary(config, trainer, rows, identity)
        finish(out, config, trainer.model, trainer.state.log_history, summary, compute_report(trainer.meter))
    wait_for_all()


def _examples(config: SftConfig, data: Data) -> tuple[Sequence[Example], Sequence[Example]]:
    from ganglion.training.data.split import split_examples

    assert config.data is not None
    options, task = config.validation, get_task(str(config.task))
    examples = chosen(task, data[config.data], config.task_start, config.task_end)
    if options.data:
        return examples, data[options.data]
    if options.split:
        episode = task.sequential.episode if task.sequential else None
        return split_examples(examples, options.split, config.seed, episode)
    return examples, []


def _adapter_hash(folder: Path) -> str:
    try:
        return sha256_file(folder / ADAPTER_FILES[0])
    except OSError as error:
        raise InputError(
            f"holds no adapter ({error.strerror})", where=folder, remedy="give a folder that 'ganglion train sft' wrote"
        ) from None


def prepare(
    config: SftConfig, base: str, examples: Sequence[Example], held_out: Sequence[Example], out: Path, base_hash: str
) -> tuple[Any, Any]:
    """Everything seeded, loaded and put together.

    Args:
        config: checked, without stages and variants.
        base: resolved.
        examples: to learn from.
        held_out: to validate on; may be empty.
        out: the run's folder.
        base_hash: of the base.

    Returns:
        A trainer at step 0, and the rows it learns from.
    """
    import torch
    import transformers

    from ganglion.model.dialogue.batching import packed_batch, training_batch
    from ganglion.model.processor import load_processor
    from ganglion.model.tuning import checkpoint_layers
    from ganglion.model.vlm import load_vlm
    from ganglion.training.data.rows import EncodedRows, PackedRows
    from ganglion.training.heap import map_large_blocks
    from ganglion.training.sft.adapter import add_adapter, continue_adapter
    from ganglion.training.sft.callbacks import Flow, Progress
    from ganglion.training.sft.hardware import chosen_dtype
    from ganglion.training.sft.trainer import SftTrainer, arguments
    from ganglion.training.sft.validation import Validation

    if config.threads:
        torch.set_num_threads(config.threads)
    if config.gradient_checkpointing and not torch.cuda.is_available():
        map_large_blocks()  # else it would save no memory
    dtype = chosen_dtype(config)
    processor = load_processor(base, config.max_pixels)
    longest = _longest(config, base)
    encoded = functools.partial(EncodedRows, processor, longest=longest, memory_bytes=config.image_memory_mb * 2**20)
    rows = encoded(examples, truncate=config.too_long == "truncate")
    if rows.truncated.rows and is_main():
        print(f"{rows.truncated.rows} rows lost {rows.truncated.tokens} answer tokens to --max_length {longest}")
    pad = processor.tokenizer.pad_token_id
    learned: Any = rows
    batch: Any = functools.partial(training_batch, pad_token_id=pad)
    if config.packing:
        if any(turn.images for example in examples for turn in example.turns):
            raise InputError("--packing is for rows without images", remedy="use --group_by_length instead")
        learned = PackedRows(rows, longest, config.seed)
        batch = functools.partial(packed_batch, pad_token_id=pad, positions=4 if processor.image_token else 1)
    task = get_task(str(config.task))
    validation = None
    if held_out:
        scored = encoded(held_out, truncate=True)
        validation = Validation(config.validation, task, held_out, scored, processor, config.batch_size)

    model = load_vlm(base, quantization=None if config.quantization == "none" else config.quantization, dtype=dtype)
    transformers.set_seed(config.seed)  # the adapter's weights are drawn next
    if config.init_adapter:
        tuned = continue_adapter(model, config.init_adapter, config.lora, base_hash)
    else:
        tuned = add_adapter(model, config.lora)
    if config.gradient_checkpointing:
        checkpoint_layers(tuned)
    blind = processor.image_token and not all(turn.images for example in examples for turn in example.turns)
    trainer = SftTrainer(
        config,
        learned.lengths,
        validation,
        model=tuned,
        args=arguments(config, model.dtype, out / CHECKPOINTS, unused_parameters=bool(blind)),
        train_dataset=learned,
        data_collator=batch,
        callbacks=[Flow(config.validation, validation is not None), Progress(out.name), *trackers(config, out)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer, rows


def _longest(config: SftConfig, base: str) -> int:
    """Most tokens of a row: what is asked for, within what the model takes."""
    from transformers import AutoConfig

    takes = int(AutoConfig.from_pretrained(base).get_text_config().max_position_embeddings)
    if config.max_length and config.max_length > takes:
        raise InputError(f"--max_length is {config.max_length}", remedy=f"the model takes {takes}")
    return config.max_length or takes


def _train(trainer: Any, config: SftConfig, checkpoints: Path) -> None:
    """Train from a checkpoint on, or from the start; leave the best adapter in the model where that is asked for."""
    from transformers import TrainerState

    from ganglion.training.sft.checkpoints import named, newest_whole
    from ganglion.training.sft.validation import best_step, should_stop

    with main_first():
        found = newest_whole(checkpoints) if config.resume_from == "latest" else named(checkpoints, config.resume_from)
    if found is None:
        trainer.train()
    else:
        if is_main():
            print(f"going on from {found}")
        state = TrainerState.load_from_json(str(found / "trainer_state.json"))
        if state.global_step < state.max_steps and not should_stop(state.log_history, config.validation):
            trainer.train(resume_from_checkpoint=str(found))
        else:  # interrupted after its last step; Trainer would take one more
            trainer._load_from_checkpoint(str(found))
            trainer.state = state
            trainer.meter.restore(state)
    if config.validation.keep_best:
        best = best_step(trainer.state.log_history, config.validation)
        if best is not None and best != trainer.state.global_step:
            _load_adapter(trainer.model, checkpoints / f"checkpoint-{best}")


def _load_adapter(model: Any, checkpoint: Path) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(checkpoint / ADAPTER_FILES[0]))


def _summary(config: SftConfig, trainer: Any, rows: Any, identity: dict[str, str]) -> dict[str, Any]:
    """What run.json says."""
    from ganglion.training.sft.validation import best_step

    task, model, history = get_task(str(config.task)), trainer.model, trainer.state.log_history
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
        "rows": len(rows),
        "truncated_rows": rows.truncated.rows,
        "truncated_tokens": rows.truncated.tokens,
        "steps": trainer.state.global_step,
        "best_step": best_step(history, config.validation) if config.validation.keep_best else None,
        "processes": process_count(),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "versions": {name: version(name) for name in ("ganglion", "torch", "transformers", "peft", "bitsandbytes")},
    }
