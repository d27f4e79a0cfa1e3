"""What was installed where a bundle was made: every package that ganglion needs, directly or not, with its version."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_EXTRAS = ("export",)


def installed_packages(root: str = "ganglion") -> dict[str, str]:
    """Name -> version of `root` and all that it requires for exporting, as far as it is installed, by name."""
    found: dict[str, str] = {}
    waiting = [Requirement(f"{root}[{','.join(_EXTRAS)}]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = version(name)
            needs = requires(name) or []
        except PackageNotFoundError:  # another system's, or an alternative
            continue
        for line in needs:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                waiting.append(need)
    return dict(sorted(found.items()))
