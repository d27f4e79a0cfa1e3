"""What happens between steps: when to log, validate, save and stop, and the progress bar."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from ganglion.core.errors import GanglionError
from ganglion.training.processes import is_main
from ganglion.training.sft.config import ValidationOptions
from ganglion.training.sft.validation import should_stop


class Flow(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Logs at every checkpoint too, so that a resumed run's history has the same entries; stops at a broken loss.

    Validates every so many steps and after the last, and saves then where what follows depends on it.
    """

    def __init__(self, validation: ValidationOptions, validated: bool) -> None:
        self._options, self._validated = validation, validated

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decide what this step ends with; the loss is noted before a checkpoint is written."""
        step, every = state.global_step, self._options.steps
        if self._validated and (step >= state.max_steps or (every and step % every == 0)):
            control.should_evaluate = True
            if self._options.keep_best or self._options.patience:
                control.should_save = True
        if control.should_save:
            control.should_log = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop where it no longer gets better."""
        if should_stop(state.log_history, self._options):
            control.should_training_stop = True

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

    def __init__(self, label: str = "fine-tuning") -> None:
        self._label = label

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar where the run stands."""
        hidden = None if is_main() else True
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self._label, unit="step", disable=hidden
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
