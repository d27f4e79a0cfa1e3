"""RLDS records as episodes.

RLDS has steps but no times: their stamps are made from a rate. All of an episode's streams share them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganglion.core.errors import InputError
from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.images import is_black
from ganglion.training.demonstrations.rlds.example import Values, decode_example
from ganglion.training.demonstrations.rlds.features import FEATURES, STEPS, Feature
from ganglion.training.demonstrations.rlds.layout import Layout
from ganglion.training.demonstrations.rlds.tfrecord import read_records

METADATA = "episode_metadata/"


@dataclass(frozen=True)
class EpisodeReader:
    """Records to episodes.

    layout    which features are what
    features  all there are
    robot     what the episodes are of: cameras it hasn't, and a state if it has none, are left out
    rate_hz   of the steps
    session   the feature of the metadata that tells it; None: each episode is one
    """

    layout: Layout
    features: Mapping[str, Feature]
    robot: RobotSpec
    rate_hz: float
    session: str | None

    def episodes(self, files: list[Path]) -> Iterator[Episode | InputError]:
        """The episodes of all files, an InputError in place of a bad one."""
        for file in files:
            for number, record in enumerate(read_records(file)):
                try:
                    if isinstance(record, InputError):
                        raise record
                    yield self._episode(record, f"{file.name}, record {number}")
                except InputError as error:
                    yield error

    def _episode(self, record: bytes, where: str) -> Episode:
        found = self._decoded(record, where)
        actions = self._numbers(self.layout.actions, found, where)
        at = np.rint(np.arange(len(actions)) * (1e9 / self.rate_hz)).astype(np.int64)
        told = {key.removeprefix(METADATA): _plain(found[key]) for key in self._metadata() if key in found}
        session = told.get(self.session.removeprefix(METADATA)) if self.session else None
        knows = self.robot.state is not None and self.layout.state
        seen = {one: CameraStream(at, list(found[STEPS + self.layout.cameras[one.name]])) for one in self.robot.cameras}
        black = [one.name for one, frames in seen.items() if is_black(frames, one, where)]
        return Episode(
            instruction=self._instruction(found, where),
            session=where if session in (None, "") else str(session),
            actions=Stream(at, actions),
            state=Stream(at, self._numbers(self.layout.state, found, where)) if knows else None,
            cameras={one.name: frames for one, frames in seen.items() if one.name not in black},
            notes={"record": where, "metadata": told, **({"black_cameras": black} if black else {})},
        )

    def _decoded(self, record: bytes, where: str) -> Mapping[str, Values]:
        """What an episode needs; metadata may lack."""
        layout = self.layout
        said = [layout.instruction] if layout.instruction else []
        images = [layout.cameras[camera.name] for camera in self.robot.cameras]
        steps = [STEPS + feature for feature in (*layout.actions, *layout.state, *said, *images)]
        found = decode_example(record, [*steps, *self._metadata()], where)
        if missing := [feature for feature in steps if feature not in found]:
            raise InputError(f"has no {missing[0]!r}", where=where, remedy=f"correct {FEATURES}")
        return found

    def _metadata(self) -> list[str]:
        return [name for name, one in self.features.items() if name.startswith(METADATA) and one.kind != "image"]

    def _numbers(self, names: tuple[str, ...], found: Mapping[str, Values], where: str) -> npt.NDArray[np.float32]:
        """(steps, dim) of these features end to end."""
        columns = []
        for name in names:
            dim, values = math.prod(self.features[STEPS + name].shape), found[STEPS + name]
            texts = isinstance(values, list) and len(values) > 0  # without any value, no kind is told
            if texts or len(values) % dim:
                held = f"{len(values)} {'texts' if texts else 'numbers'}"
                raise InputError(f"{name!r} has {held}, not {dim} a step", where=where, remedy=f"correct {FEATURES}")
            columns.append(np.asarray(values, np.float32).reshape(-1, dim))
        if len({len(column) for column in columns}) != 1:
            counts = ", ".join(f"{name}: {len(column)}" for name, column in zip(names, columns, strict=True))
            raise InputError(f"has features of different lengths ({counts})", where=where, remedy="write it again")
        return np.concatenate(columns, axis=1)

    def _instruction(self, found: Mapping[str, Values], where: str) -> str:
        if self.layout.instruction is None:
            return ""
        texts = list(map(_text, found[STEPS + self.layout.instruction]))
        if len(set(texts)) > 1:
            step = next(step for step, text in enumerate(texts) if text != texts[0])
            raise InputError(f"has another instruction from step {step} on", where=where, remedy="split the episode")
        return texts[0] if texts else ""


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _plain(values: Values) -> Any:
    """Metadata as JSON has it: one value where there is one, null for what is no finite number."""
    if isinstance(values, list):
        plain: list[Any] = list(map(_text, values))
    else:
        plain = [value if math.isfinite(value) else None for value in values.tolist()]
    return plain[0] if len(plain) == 1 else plain
