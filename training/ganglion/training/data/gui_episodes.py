"""Synthetic GUI episodes of 3 to 6 steps: what has to be done, on which pages, and the right answer to each.

Each answer follows from goal, screen and memory. The screens show no state: a button looks pressed never, a field shows
nothing of what was typed, and most pages stay as they are until the episode is done. Without memory open are

    code      which word of the grid; then how far one is (grid with Confirm) or what the question is about
    panel     all steps: which of the buttons that the goal names is next, or none
    count     all steps: how often it was pressed
    form      all steps; where the focus is shown, only what follows the typing
    transfer  all steps on page Two, and what to type there
    dialogs   none: the control

and determined are the first screen of code and transfer, which show what to remember, and a last screen that says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ganglion.training.data.gui_goals import entry, goal, in_order, times
from ganglion.training.data.gui_pages import Episode, Page, Step, buttons, commands, fields, message, shown, tabs, text
from ganglion.training.data.gui_words import CODES, COMMANDS, COUNTERS, DEVICES, FIELDS, TABS, values_of

_DONE_TITLES = ("Ready", "Finished", "Thank you")


@dataclass(frozen=True)
class CodePlan:
    """A dialog shows a code word; the next page lets choose among some; then it's confirmed or asked about.

    asked  the word that the question is about; None where Confirm stands below the grid
    """

    goal: str
    code: str
    words: tuple[str, ...]
    asked: str | None
    titles: tuple[str, str, str]
    said: str

    def episode(self) -> Episode:
        """The pages and the right answers."""
        seen = Page(self.titles[0], (message(self.said, shown(self.code)), commands("OK")))
        first = Step(0, "click", "OK", remember=f"code: {self.code}")
        chosen = Step(1, "click", self.code, given=1 / len(self.words))
        grid = (text("Choose your code"), buttons(*self.words))
        if self.asked is None:
            below = Page(self.titles[1], (*grid, commands("Confirm")))
            return Episode(
                "code", self.goal, (seen, below), (first, chosen, Step(1, "click", "Confirm"), Step(1, "done"))
            )
        asked = Page("Question", (message("Is your code", shown(self.asked) + " ?"), commands("Yes", "No")))
        answered = Step(2, "click", "Yes" if self.asked == self.code else "No", given=0.5)
        pages = (seen, Page(self.titles[1], grid), asked, _last(self.titles[2]))
        return Episode("code", self.goal, pages, (first, chosen, answered, Step(3, "done")))


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


@dataclass(frozen=True)
class PressPlan:
    """A page of buttons of which some are to be pressed in order; it never changes. kind: "panel" or "count"."""

    kind: str
    goal: str
    presses: tuple[str, ...]
    offered: tuple[str, ...]
    below: tuple[str, ...]
    title: str

    def episode(self) -> Episode:
        """The pages and the right answers."""
        groups = (buttons(*self.offered), *([commands(*self.below)] if self.below else []))
        steps = (*(Step(0, "click", name) for name in self.presses), Step(0, "done"))
        return Episode(self.kind, self.goal, (Page(self.title, groups),), steps)


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


@dataclass(frozen=True)
class FormPlan:
    """Fields to fill in, on one page. focused: the page shows which field was clicked last."""

    goal: str
    entries: tuple[tuple[str, str], ...]
    shown: tuple[str, ...]
    send: str
    focused: bool
    title: str

    def episode(self) -> Episode:
        """The pages and the right answers."""
        pages = [_form(self.title, self.shown, self.send)]
        steps = []
        for field, value in self.entries:
            steps.append(Step(len(pages) - 1, "click", field))
            if self.focused:
                pages.append(_form(self.title, self.shown, self.send, field))
            steps.append(Step(len(pages) - 1, "type", text=value))
        steps += [Step(len(pages) - 1, "click", self.send), Step(len(pages) - 1, "done")]
        return Episode("form", self.goal, tuple(pages), tuple(steps))


def plan_form(rng: random.Random, phrasing: str) -> FormPlan:
    """Draw an episode of the kind "form"."""
    names = tuple(rng.sample(FIELDS, rng.randint(2, 3)))
    chosen = rng.sample(names, 1 if rng.random() < 0.2 else 2)
    entries = tuple((field, rng.choice(values_of(field))) for field in chosen)
    send = rng.choice(("Submit", "Save", "Send"))
    said = in_order(rng, [entry(rng, *one) for one in entries])
    said = goal(rng, "form", phrasing, entries=said, send=send)
    return FormPlan(said, entries, names, send, rng.random() < 0.3, rng.choice(("Form", "Entry", "Sign in")))


@dataclass(frozen=True)
class TransferPlan:
    """Page One shows values, page Two has fields for them. focused: page Two shows which field was clicked last."""

    goal: str
    field: str
    told: tuple[tuple[str, str], ...]
    asked: tuple[str, ...]
    send: str
    focused: bool
    title: str

    def episode(self) -> Episode:
        """The pages and the right answers."""
        value = dict(self.told)[self.field]
        lines = tuple(message(name, shown(known)) for name, known in self.told)
        pages = [Page(self.title, lines, tabs(*TABS, front="One")), _form(self.title, self.asked, self.send, tab="Two")]
        if self.focused:
            pages.append(_form(self.title, self.asked, self.send, self.field, tab="Two"))
        last = len(pages) - 1
        steps = (
            Step(0, "click", "Two", remember=f"{self.field.lower()}: {value}"),
            Step(1, "click", self.field),
            Step(last, "type", text=value, given=1 / len(values_of(self.field))),
            Step(last, "click", self.send),
            Step(last, "done"),
        )
        return Episode("transfer", self.goal, tuple(pages), steps)


def plan_transfer(rng: random.Random, phrasing: str) -> TransferPlan:
    """Draw an episode of the kind "transfer"."""
    names = rng.sample(FIELDS, rng.randint(1, 2))
    field = rng.choice(names)
    others = [name for name in FIELDS if name != field]
    asked = [field, *rng.sample(others, rng.randint(0, 1))]
    rng.shuffle(asked)
    send = rng.choice(("Submit", "Save", "Send"))
    told = tuple((name, rng.choice(values_of(name))) for name in names)
    said = goal(rng, "transfer", phrasing, field=field, send=send)
    title = rng.choice(("Pages", "Record", "Visit"))
    return TransferPlan(said, field, told, tuple(asked), send, rng.random() < 0.3, title)


@dataclass(frozen=True)
class DialogsPlan:
    """Two dialogs in turn, each with one of the buttons that the goal names: no memory is needed."""

    goal: str
    offered: tuple[tuple[str, ...], tuple[str, ...]]
    chosen: tuple[str, str]
    titles: tuple[str, str, str]

    def episode(self) -> Episode:
        """The pages and the right answers."""
        pages = [Page(title, (buttons(*names),)) for title, names in zip(self.titles[:2], self.offered, strict=True)]
        steps = (*(Step(at, "click", name) for at, name in enumerate(self.chosen)), Step(2, "done"))
        return Episode("dialogs", self.goal, (*pages, _last(self.titles[2])), steps)


def plan_dialogs(rng: random.Random, phrasing: str) -> DialogsPlan:
    """Draw an episode of the kind "dialogs"."""
    names = rng.sample(COMMANDS + DEVICES, rng.randint(4, 8))
    middle = len(names) // 2
    offered = (tuple(names[:middle]), tuple(names[middle:]))
    chosen = (rng.choice(offered[0]), rng.choice(offered[1]))
    said = goal(rng, "dialogs", phrasing, first=chosen[0], second=chosen[1])
    return DialogsPlan(said, offered, chosen, ("Question", "Question", rng.choice(_DONE_TITLES)))


Plan = CodePlan | PressPlan | FormPlan | TransferPlan | DialogsPlan
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


def _form(title: str, names: tuple[str, ...], send: str, focus: str = "", tab: str = "") -> Page:
    return Page(title, (fields(*names, focus=focus), commands(send)), tabs(*TABS, front=tab) if tab else ())


def _last(title: str) -> Page:
    return Page(title, (text("All is done"),))
