"""transformers.Trainer, made to resume exactly: whole checkpoints, nothing pickled, the same history either way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from ganglion.training.processes import is_main, process_count, wait_for_all, written_aside_by_all
from ganglion.training.sft.checkpoints import checkpoint_path, keep_newest, seal
from ganglion.training.sft.compute import ComputeMeter
from ganglion.training.sft.config import OptimOptions, SftConfig
from ganglion.training.sft.order import LengthOrder
from ganglion.training.sft.publish import PROJECT
from ganglion.training.sft.validation import PREFIX, Validation, best_step

_KEPT_CHECKPOINTS = 2
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
# Muon is none of those that arguments name: SftTrainer brings it along.
_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "paged_adamw_8bit", "muon": "adamw_torch_fused"}


class SftTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """Writes each checkpoint aside, seals it and renames it into place; validates and orders rows in our way."""

    control: Any

    def __init__(
        self, config: SftConfig, lengths: Sequence[int], validation: Validation | None = None, **options: Any
    ) -> None:
        self._config, self._lengths, self._validation = config, lengths, validation
        self._checkpoints: Path | None = None  # where Trainer is to write for the moment
        self.meter = ComputeMeter()
        if config.optim.name == "muon":
            options["optimizer_cls_and_kwargs"] = torch.optim.Muon, _muon(config.optim)
        super().__init__(**options)
        self.add_callback(self.meter)  # the last one: it counts what the others decided

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self._config.group_by_length:
            return super()._get_train_sampler(train_dataset)
        rows_per_step = self.args.train_batch_size * process_count() * self.args.gradient_accumulation_steps
        return LengthOrder(self._lengths, rows_per_step, self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass, counted."""
        with self.meter.measuring(inputs, inputs.pop("rows", None)):
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Validate, log the scores and tell the callbacks."""
        assert self._validation is not None
        scores = {PREFIX + name: value for name, value in self._validation.score(self.model).items()}
        self.log(scores)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._checkpoints or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        with written_aside_by_all(checkpoint_path(folder, self.state.global_step)) as aside:
            self._checkpoints = aside.parent
            super()._save_checkpoint(model, trial)
            wait_for_all()
            if is_main():
                seal(aside)
        self._checkpoints = None
        if is_main():
            best = best_step(self.state.log_history, self._config.validation)
            keep_newest(folder, _KEPT_CHECKPOINTS, also=best if self._config.validation.keep_best else None)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save the adapter only: Trainer would pickle its arguments, and PEFT would ask the hub about embeddings."""
        self.model.save_pretrained(output_dir or self.args.output_dir, save_embedding_layers=False)


def _muon(optim: OptimOptions) -> dict[str, Any]:
    """Its steps scaled to the size of AdamW's (Liu et al. 2025), so that learning rates carry over."""
    return {"lr": optim.lr, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}


def arguments(config: SftConfig, dtype: torch.dtype, folder: Path, unused_parameters: bool) -> TrainingArguments:
    """Trainer's arguments.

    Args:
        config: checked.
        dtype: what the model computes in.
        folder: where checkpoints go.
        unused_parameters: some batches may leave parts of the adapter without a gradient.
    """
    optim, on_gpu = config.optim, torch.cuda.is_available()
    parallel: dict[str, Any] = {}
    if process_count() > 1:
        parallel = {"ddp_backend": "nccl" if on_gpu else "gloo", "ddp_find_unused_parameters": unused_parameters}
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        optim=_OPTIMIZERS[optim.name],
        learning_rate=optim.lr,
        lr_scheduler_type=_SCHEDULES[optim.schedule],
        warmup_steps=optim.warmup_steps if optim.warmup_ratio is None else optim.warmup_ratio,
        weight_decay=optim.weight_decay,
        adam_beta1=optim.betas[0],
        adam_beta2=optim.betas[1],
        max_grad_norm=optim.max_grad_norm,
        use_cpu=not on_gpu,
        bf16=on_gpu and dtype == torch.bfloat16,
        fp16=on_gpu and dtype == torch.float16,
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,
        save_steps=config.save_steps,
        save_total_limit=None,  # keep_newest does it: Trainer would look in the folder set aside
        report_to="none",  # publish.trackers does it
        run_name=folder.parent.name,
        project=PROJECT,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=config.workers,
        dataloader_persistent_workers=config.workers > 0,
        dataloader_pin_memory=on_gpu,
        **parallel,
    )
