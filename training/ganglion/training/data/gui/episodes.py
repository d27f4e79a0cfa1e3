"""Synthetic GUI episodes of 3 to 6 steps: what has to be done, on which pages, and the right answer to each.

Each answer follows from goal, screen and memory. The screens show no state: a button never looks pressed, a field shows
nothing of what was typed, and most pages stay as they are until the episode is done. Of fields there are two kinds:
those that say "hidden" don't show which was clicked last, those with asterisks do. Without memory open are

    code      which word of the grid; then how far one is (grid with Confirm) or what the question is about
    panel     all steps: which of the buttons that the goal names is next, or none
    count     all steps: how often it was pressed
    form      all steps; where the focus is shown, all but the first click
    transfer  all steps on page Two; where the focus is shown, all but the first click there
    dialogs   none: the control

and determined are the first screen of code and transfer, which show what to remember, and a last screen that says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ganglion.training.data.gui.goals import entry, goal, in_order, times
from ganglion.training.data.gui.plans import CodePlan, DialogsPlan, FormPlan, Plan, PressPlan, TransferPlan
from ganglion.training.data.gui.words import CODES, COMMANDS, COUNTERS, DEVICES, FIELDS

_DONE_TITLES = ("Ready", "Finished", "Thank you")
_SENDING = ("Submit", "Save", "Send")


def plan_code(rng: random.Random, phrasing: str) -> CodePlan:
    """Draw an episode of the kind "code"."""
    words = tuple(rng.sample(CODES, rng.randint(4, 6)))
    code = rng.choice(words)
    asked = None
    if rng.random() < 0.5:
        asked = code if rng.random() < 0.5 else rng.choice([word for word in words if word != code])
    said = goal(rng, "code_confirm" if asked is None else "code_question", phrasing)
    titles = (rng.choice(("Message", "Notice", "Info")), rng.choice(("Codes", "Choice")), rng.choice(_DONE_TITLES))
    return CodePlan(said, code, words, asked, titles, rng.choice(("Your code is", "The code is", "Code today")))


def plan_panel(rng: random.Random, phrasing: str) -> PressPlan:
    """Draw an episode of the kind "panel"."""
    offered = tuple(rng.sample(DEVICES, rng.randint(4, 6)))
    presses = tuple(rng.sample(offered, rng.randint(2, 4)))
    said = goal(rng, "panel", phrasing, presses=in_order(rng, presses))
    return PressPlan("panel", said, presses, offered, (), rng.choice(("Panel", "Control", "House")))


def plan_count(rng: random.Random, phrasing: str) -> PressPlan:
    """Draw an episode of the kind "count"."""
    offered = tuple(rng.sample(COUNTERS, rng.randint(2, 4)))
    below = tuple(rng.sample(COMMANDS, rng.randint(1, 2)))
    last = rng.choice(below)
    counts = rng.choice(((2,), (3,), (1, 2), (2, 1), (2, 2), (1, 1)))
    counted = list(zip(rng.sample(offered, len(counts)), counts, strict=True))
    presses = [name for name, count in counted for _ in range(count)]
    said = in_order(rng, [*(times(rng, name, count) for name, count in counted), last])
    said = goal(rng, "count", phrasing, presses=said)
    return PressPlan("count", said, (*presses, last), offered, below, rng.choice(("Counter", "Steps", "Remote")))


def plan_form(rng: random.Random, phrasing: str) -> FormPlan:
    """Draw an episode of the kind "form"."""
    names = tuple(rng.sample(FIELDS, rng.randint(2, 3)))
    chosen = rng.sample(names, 1 if rng.random() < 0.2 else 2)
    entries = tuple((field, rng.choice(CODES)) for field in chosen)
    below = tuple(rng.sample(_SENDING, rng.randint(1, 2)))
    send = rng.choice(below)
    said = in_order(rng, [entry(rng, *one) for one in entries])
    said = goal(rng, "form", phrasing, entries=said, send=send)
    return FormPlan(said, entries, names, send, below, rng.random() < 0.3, rng.choice(("Form", "Entry", "Sign in")))


def plan_transfer(rng: random.Random, phrasing: str) -> TransferPlan:
    """Draw an episode of the kind "transfer"."""
    names = rng.sample(FIELDS, rng.randint(1, 2))
    field = rng.choice(names)
    others = [name for name in FIELDS if name != field]
    asked = [field, *rng.sample(others, rng.randint(0, 1))]
    rng.shuffle(asked)
    below = tuple(rng.sample(_SENDING, rng.randint(1, 2)))
    send = rng.choice(below)
    told = tuple((name, rng.choice(CODES)) for name in names)
    said = goal(rng, "transfer", phrasing, field=field, send=send)
    title = rng.choice(("Pages", "Record", "Visit"))
    return TransferPlan(said, field, told, tuple(asked), send, below, rng.random() < 0.3, title)


def plan_dialogs(rng: random.Random, phrasing: str) -> DialogsPlan:
    """Draw an episode of the kind "dialogs"."""
    names = rng.sample(COMMANDS + DEVICES, rng.randint(4, 8))
    middle = len(names) // 2
    offered = (tuple(names[:middle]), tuple(names[middle:]))
    chosen = (rng.choice(offered[0]), rng.choice(offered[1]))
    said = goal(rng, "dialogs", phrasing, first=chosen[0], second=chosen[1])
    return DialogsPlan(said, offered, chosen, ("Question", "Question", rng.choice(_DONE_TITLES)))


_KINDS: dict[str, tuple[float, Callable[[random.Random, str], Plan]]] = {  # share of the episodes
    "code": (0.24, plan_code),
    "panel": (0.18, plan_panel),
    "count": (0.18, plan_count),
    "form": (0.16, plan_form),
    "transfer": (0.16, plan_transfer),
    "dialogs": (0.08, plan_dialogs),
}
KINDS = tuple(_KINDS)


def draw_plan(seed: int, index: int, phrasing: str) -> Plan:
    """The plan of episode `index` of the data set `seed`."""
    rng = random.Random(f"gui {phrasing} {seed} {index}")
    kind = rng.choices(KINDS, [share for share, _ in _KINDS.values()])[0]
    return _KINDS[kind][1](rng, phrasing)
