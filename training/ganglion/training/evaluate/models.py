"""Every model of an evaluation in turn. Members that share a base share it in memory: adapters are swapped on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ganglion.training.evaluate.adapter import load_tuned
from ganglion.training.evaluate.members import BASE, Member

Ask = Callable[[str, Any, Any], None]
"""(name of the column, model, processor)"""


def ask_each(members: Sequence[Member], with_base: bool, ask: Ask) -> None:
    """Call `ask` once for each member, and once for the untuned base of the first; one base is in memory at a time.

    Raises:
        InputError: a base is missing or is not the one that was tuned.
    """
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        groups.setdefault(member.basis, []).append(member)
    for number, group in enumerate(groups.values()):
        _ask_group(group, with_base and number == 0, ask)


def _ask_group(group: Sequence[Member], with_base: bool, ask: Ask) -> None:
    first, *others = group
    model, processor = load_tuned(first.folder, first.run)
    ask(first.name, model, processor)
    if with_base:
        with model.disable_adapter():
            ask(BASE, model, processor)
    for number, member in enumerate(others, 1):
        slot = f"member_{number}"  # not the member's name: PEFT refuses some, such as those with a dot
        model.load_adapter(str(member.folder), adapter_name=slot, torch_device=str(model.device))
        model.set_adapter(slot, inference_mode=True)
        ask(member.name, model.eval(), processor)
        model.set_adapter("default", inference_mode=True)
        model.delete_adapter(slot)
