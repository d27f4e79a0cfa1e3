"""The kinds of GUI episodes: given what is on the pages and what is to be done, the pages and the right answers.

A plan with another value in it gives the same pages but for that value.
"""

from __future__ import annotations

from dataclasses import dataclass

from ganglion.training.data.gui.pages import Episode, Page, Step, buttons, commands, fields, message, tabs, text, told
from ganglion.training.data.gui.words import CODES, TABS


@dataclass(frozen=True)
class CodePlan:
    """A dialog shows a code word; the next page lets choose among some; then it's confirmed or asked about.

    asked   the word that the question is about, as often the code as not; None where Confirm stands below the grid
    titles  of the dialog, the grid and the last screen
    said    what the dialog says before the word
    """

    goal: str
    code: str
    words: tuple[str, ...]
    asked: str | None
    titles: tuple[str, str, str]
    said: str

    def episode(self) -> Episode:
        """The pages and the right answers."""
        seen = Page(self.titles[0], (message(self.said, self.code), commands("OK")))
        first = Step(0, "click", "OK", remember=f"code: {self.code}")
        chosen = Step(1, "click", self.code, given=1 / len(self.words))
        grid = (text("Choose your code"), buttons(*self.words))
        if self.asked is None:
            pages = (seen, Page(self.titles[1], (*grid, commands("Confirm"))))
            steps = (first, chosen, Step(1, "click", "Confirm"), Step(1, "done"))
            return Episode("code", self.goal, pages, steps)
        asked = Page("Question", (message("Is your code", self.asked, " ?"), commands("Yes", "No")))
        answered = Step(2, "click", "Yes" if self.asked == self.code else "No", given=0.5)
        return Episode(
            kind="code",
            goal=self.goal,
            pages=(seen, Page(self.titles[1], grid), asked, _last(self.titles[2])),
            steps=(first, chosen, answered, Step(3, "done")),
        )


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


@dataclass(frozen=True)
class FormPlan:
    """Fields to fill in, on one page; one of the buttons below sends it.

    entries  name and value of each field that the goal names, in its order
    asked    all fields on the page
    focused  the page shows which field was clicked last
    """

    goal: str
    entries: tuple[tuple[str, str], ...]
    asked: tuple[str, ...]
    send: str
    below: tuple[str, ...]
    focused: bool
    title: str

    def episode(self) -> Episode:
        """The pages and the right answers."""
        pages = [self._page(focus="")]
        steps = []
        for field, value in self.entries:
            steps.append(Step(len(pages) - 1, "click", field))
            if self.focused:
                pages.append(self._page(focus=field))
            steps.append(Step(len(pages) - 1, "type", text=value))
        steps += [Step(len(pages) - 1, "click", self.send), Step(len(pages) - 1, "done")]
        return Episode("form", self.goal, tuple(pages), tuple(steps))

    def _page(self, focus: str) -> Page:
        return Page(self.title, (fields(*self.asked, focused=self.focused, focus=focus), commands(*self.below)))


@dataclass(frozen=True)
class TransferPlan:
    """Page One shows values, page Two has fields for them.

    field    whose value is to be entered on page Two
    told     name and value of all that page One shows
    asked    all fields of page Two
    focused  page Two shows which field was clicked last
    """

    goal: str
    field: str
    told: tuple[tuple[str, str], ...]
    asked: tuple[str, ...]
    send: str
    below: tuple[str, ...]
    focused: bool
    title: str

    def episode(self) -> Episode:
        """The pages and the right answers."""
        value = dict(self.told)[self.field]
        lines = tuple(told(name, known) for name, known in self.told)
        pages = [
            Page(self.title, lines, tabs(*TABS, front="One")),
            self._second(focus=""),
        ]
        if self.focused:
            pages.append(self._second(focus=self.field))
        last = len(pages) - 1
        steps = (
            Step(0, "click", "Two", remember=f"{self.field}: {value}"),
            Step(1, "click", self.field),
            Step(last, "type", text=value, given=1 / len(CODES)),
            Step(last, "click", self.send),
            Step(last, "done"),
        )
        return Episode("transfer", self.goal, tuple(pages), steps)

    def _second(self, focus: str) -> Page:
        form = fields(*self.asked, focused=self.focused, focus=focus)
        return Page(self.title, (form, commands(*self.below)), tabs(*TABS, front="Two"))


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


Plan = CodePlan | PressPlan | FormPlan | TransferPlan | DialogsPlan


def _last(title: str) -> Page:
    return Page(title, (text("All is done"),))
