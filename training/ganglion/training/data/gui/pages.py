"""What a screen of a GUI episode holds, before anything is said about where and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Widget:
    """One thing on a page.

    kind    "text", "value" (text to be read), "button", "field" or "tab"
    label   what is drawn on it; of a field, what stands beside it
    name    what an answer calls it
    marked  the field that has the focus, the default button, the tab in front
    note    what a field shows, whatever was typed
    badge   the word whose badge stands before the label, or in the field
    """

    kind: str
    label: str
    name: str = ""
    marked: bool = False
    note: str = ""
    badge: str = ""


@dataclass(frozen=True)
class Group:
    """Widgets of a kind that stand together. kind: "text", "buttons", "commands" or "fields"."""

    kind: str
    widgets: tuple[Widget, ...]


@dataclass(frozen=True)
class Page:
    """The window of a screen: groups from top to bottom, beneath tabs if there are any."""

    title: str
    groups: tuple[Group, ...]
    tabs: tuple[Widget, ...] = ()

    def without_focus(self) -> Page:
        """The same page before a field was clicked."""
        plain = [
            replace(group, widgets=tuple(replace(widget, marked=False) for widget in group.widgets))
            if group.kind == "fields"
            else group
            for group in self.groups
        ]
        return replace(self, groups=tuple(plain))


@dataclass(frozen=True)
class Step:
    """The right answer to one screen.

    page     number of the page in its episode
    action   "click", "type" or "done"
    target   name of the widget to click
    text     what to type
    remember what to keep in the long-term memory
    given    chance that a player without memory names the right value, where it knows how far the episode is
    """

    page: int
    action: str
    target: str = ""
    text: str = ""
    remember: str = ""
    given: float = 1.0


@dataclass(frozen=True)
class Episode:
    """One task from its first screen to "done"."""

    kind: str
    goal: str
    pages: tuple[Page, ...]
    steps: tuple[Step, ...]


def text(*lines: str) -> Group:
    """Lines that need not be read."""
    return Group("text", tuple(Widget("text", line) for line in lines))


def message(line: str, word: str, end: str = "") -> Group:
    """A line and below it the word that it is about."""
    return Group("text", (Widget("text", line), _value(word, end)))


def told(field: str, word: str) -> Group:
    """The name of a field and below it the word that is its value."""
    return Group("text", (Widget("text", field, badge=field), _value(word)))


def buttons(*names: str) -> Group:
    """Buttons among which the page lets choose."""
    return Group("buttons", tuple(Widget("button", shown(name), name, badge=name) for name in names))


def commands(*names: str) -> Group:
    """The buttons below a page, the first the default."""
    lined_up = (Widget("button", name, name, marked=not at, badge=name) for at, name in enumerate(names))
    return Group("commands", tuple(lined_up))


def fields(*names: str, focused: bool, focus: str = "") -> Group:
    """Fields that don't show what was typed. focused: of a kind that shows which has the focus."""
    note = "****" if focused else "hidden"
    return Group("fields", tuple(Widget("field", name, name, name == focus, note, name) for name in names))


def shown(name: str) -> str:
    """How a screen writes a name: code words in capitals."""
    return name.upper() if name.islower() else name


def tabs(*names: str, front: str) -> tuple[Widget, ...]:
    """Tabs of which one is in front."""
    return tuple(Widget("tab", name, name, marked=name == front, badge=name) for name in names)


def _value(word: str, end: str = "") -> Widget:
    return Widget("value", shown(word) + end, badge=word)
