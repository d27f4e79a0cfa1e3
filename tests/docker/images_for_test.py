"""Dockerfiles and compose.yaml, read as far as tests need them: what a stage inherits, what a service runs."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from yaml import safe_load

from ganglion.core.cli import COMMANDS, _find, _parse

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker"
FILES = sorted(FOLDER.glob("*.Dockerfile"))


@dataclass(frozen=True)
class Stage:
    """A stage of a Dockerfile, with all it inherits: (instruction, arguments) in order."""

    file: Path
    name: str
    base: str
    lines: tuple[tuple[str, str], ...]

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.lines if word == instruction]

    def last(self, instruction: str) -> str | None:
        return (self.all(instruction) or [None])[-1]

    @property
    def words(self) -> list[str]:
        return [*json.loads(self.last("ENTRYPOINT") or "[]"), *json.loads(self.last("CMD") or "[]")]

    @property
    def env(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for rest in self.all("ENV") for pair in shlex.split(rest))

    @property
    def ports(self) -> set[int]:
        return {int(port) for rest in self.all("EXPOSE") for port in rest.split()}


def stages_of(file: Path) -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, *alias = re.split(r"\s+AS\s+", rest)
            name = alias[0] if alias else file.stem.lower()
            above = found.get(base, Stage(file, name, base, ()))
            found[name] = Stage(file, name, above.base, above.lines)
        elif word:
            stage = found[name]
            found[name] = Stage(file, name, stage.base, (*stage.lines, (word, rest.strip())))
    return found


def interpolated(text: str) -> str:
    """What compose makes of it where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


COMPOSE_TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE = safe_load(interpolated(COMPOSE_TEXT))
SERVICES = COMPOSE["services"]
STAGES = [stage for file in FILES for stage in stages_of(file).values()]


def built(service: dict) -> Stage:
    build = service["build"]
    found = stages_of((FOLDER / build["context"] / build["dockerfile"]).resolve())
    return found[build["target"]] if "target" in build else list(found.values())[-1]


IMAGES = {name: built(service) for name, service in SERVICES.items()}


def words_of(name: str) -> list[str]:
    """What a service runs: the command that compose gives it, else the image's."""
    image, service = IMAGES[name], SERVICES[name]
    return [*json.loads(image.last("ENTRYPOINT") or "[]"), *service["command"]] if "command" in service else image.words


def parsed(words: list[str]) -> object:
    assert words[0] == "ganglion"
    name, rest = _find(words[1:])
    return _parse(name, COMMANDS[name], rest)
