"""`ganglion train policy --estimate`: what a run would take, from its options and the config of its base alone."""

from __future__ import annotations

from ganglion.core.paths import write_json
from ganglion.training.policy.config import PolicyTrainConfig, resolved
from ganglion.training.policy.estimate import estimate, estimate_lines, remedy
from ganglion.training.policy.estimate.shapes import data_shapes
from ganglion.training.quiet import quiet


def foresee(config: PolicyTrainConfig) -> list[str]:
    """Lines for the terminal; the same as data goes to `out`.estimate.json.

    Args:
        config: of the run, checked.

    Raises:
        InputError: data, base or device can't be used.
    """
    quiet()
    shapes = data_shapes(config)
    found = estimate(config, shapes)
    path = config.out.with_name(f"{config.out.name}.estimate.json")
    write_json(path, {"base": config.vl.base, "note": shapes.note, **found.as_json(), "config": resolved(config)})
    return [
        f"{config.size} policy on {found.device.name}: {shapes.note}",
        *estimate_lines(found, remedy(config, shapes, found)),
        f"written to {path}",
    ]
