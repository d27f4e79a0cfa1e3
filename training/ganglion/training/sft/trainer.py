"""transformers.Trainer, made to resume exactly: whole checkpoints, nothing pickled, the same history either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments

from ganglion.core.errors import GanglionError
from ganglion.core.paths import written_aside
from ganglion.training.sft.checkpoints import checkpoint_path, keep_newest, seal
from ganglion.training.sft.config import SftConfig

_KEPT_CHECKPOINTS = 2
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class ResumableTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """Writes each checkpoint aside, seals it and renames it into place."""

    _checkpoints: Path | None = None  # where Trainer is to write for the moment

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._checkpoints or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        with written_aside(checkpoint_path(folder, self.state.global_step)) as aside:
            self._checkpoints = aside.parent
            super()._save_checkpoint(model, trial)
            seal(aside)
        self._checkpoints = None
        keep_newest(folder, _KEPT_CHECKPOINTS)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save the adapter only: Trainer would pickle its arguments, and PEFT would ask the hub about embeddings."""
        self.model.save_pretrained(output_dir or self.args.output_dir, save_embedding_layers=False)


class ExactHistory(TrainerCallback):  # type: ignore[misc]  # as above
    """Logs at every checkpoint too, so that a resumed run's history has the same entries; stops at a broken loss."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Have the loss noted before a checkpoint is written."""
        if control.should_save:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Refuse to go on with a loss that is not finite."""
        loss = (logs or {}).get("loss", 0.0)
        if not abs(loss) < float("inf"):
            raise GanglionError(
                f"the loss became {loss} by step {state.global_step}",
                remedy="lower --optim.lr, and give --force to discard this run's checkpoints",
            )


class Progress(TrainerCallback):  # type: ignore[misc]  # as above
    """A progress bar with the last loss; silent where standard error is no terminal."""

    _bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar where the run stands."""
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="fine-tuning", unit="step", disable=None
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One step further."""
        self._bar.update()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Show the loss."""
        if logs and "loss" in logs:
            self._bar.set_postfix(loss=f"{logs['loss']:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        self._bar.close()


def arguments(config: SftConfig, folder: Path) -> TrainingArguments:
    """Trainer's arguments; checkpoints go to `folder`."""
    optim, on_gpu = config.optim, torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
        learning_rate=optim.lr,
        lr_scheduler_type=_SCHEDULES[optim.schedule],
        warmup_steps=optim.warmup_steps,
        weight_decay=optim.weight_decay,
        adam_beta1=optim.betas[0],
        adam_beta2=optim.betas[1],
        max_grad_norm=optim.max_grad_norm,
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(including_emulation=False),
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,
        save_steps=config.save_steps,
        save_total_limit=None,  # keep_newest does it: Trainer would look in the folder set aside
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
