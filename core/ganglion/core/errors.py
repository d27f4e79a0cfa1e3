"""The errors a user meets, by what the user must do about them.

    GanglionError          exit 1, something failed while it ran
    ├── InputError         exit 2, data, a recipe or an argument is wrong: correct it and run again
    │   └── MissingExtra   exit 2, a package is absent: install the named extra
    └── BundleError        exit 1, a bundle was refused before anything was loaded: export or copy it again

Every error is one line: where, what is wrong, what to do. The command prints it and exits with `exit_code`.
"""

from __future__ import annotations


class GanglionError(Exception):
    """Base of every error this project raises on purpose.

    Args:
        what: what is wrong, with the offending value.
        where: the file, row, column, field or address it concerns.
        remedy: what the user can do now.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        line = f"{where}: {what}" if where is not None else what
        super().__init__(f"{line}; {remedy}" if remedy else line)


class InputError(GanglionError):
    """Data, a recipe or an argument is wrong. Nothing was changed."""

    exit_code = 2


class MissingExtra(InputError):
    """A package that this command needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", remedy=f"pip install 'ganglion[{extra}]'")


class BundleError(GanglionError):
    """A bundle was refused: missing or changed file, newer format, shapes that contradict each other."""
