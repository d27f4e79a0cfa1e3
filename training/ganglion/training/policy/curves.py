"""Loss, validation loss and learning rates of a run over its steps, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganglion.core.paths import written_aside


def plot_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Write the picture of a history (loop.py), PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    loss, rates = figure.subplots(2, 1, sharex=True)
    trained = [entry for entry in history if "loss" in entry]
    validated = [entry for entry in history if "validation_loss" in entry]
    loss.plot([e["step"] for e in trained], [e["loss"] for e in trained], label="training")
    if epochs := [entry for entry in history if "epoch_loss" in entry]:
        loss.plot([e["step"] for e in epochs], [e["epoch_loss"] for e in epochs], "s", label="epoch")
    if validated:
        steps = [entry["step"] for entry in validated]
        loss.plot(steps, [entry["validation_loss"] for entry in validated], "o-", label="validation")
    loss.set(ylabel="loss", yscale="log")
    loss.legend()
    for name in sorted({name for entry in trained for name in entry["learning_rates"]}):
        with_it = [entry for entry in trained if name in entry["learning_rates"]]
        rates.plot([e["step"] for e in with_it], [e["learning_rates"][name] for e in with_it], label=name)
    rates.set(xlabel="step", ylabel="learning rate", yscale="log")
    rates.legend()
    with written_aside(path) as aside:
        FigureCanvasAgg(figure).print_png(aside)
