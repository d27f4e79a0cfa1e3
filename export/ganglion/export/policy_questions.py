"""What the stages of a policy are asked: fresh random streams, and real moments that its training kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ganglion.export.policy_stages import Array, PolicyStage
from ganglion.model.policy.config import PolicyConfig
from ganglion.model.policy.context import context_fields
from ganglion.model.policy.kept_moments import KeptMoments

_STREAMS = 4
_WINDOWS = 4  # length of each stream, in windows
_EVERY = 7  # frames between decisions of a stream
_DECISIONS = 8  # of a policy without a sensor, for each stream


@dataclass(frozen=True)
class Question:
    """One stream of samples, and the decisions asked for along it.

    samples       (1, N * hop, channels) normalized; None where no sensor is read, as is the next
    present       (1, N, groups) of 1 and 0
    ends          frames after which a decision is asked for
    others        at each of them what else the policy reads, by field of Context
    noise         at each of them what a flow head starts from, else None
    picture       which of the stages' own VL features are read; None for those in `others`
    demonstrated  (horizon, dim) what was done, NaN where nothing was commanded; None where nobody did anything
    """

    samples: Array | None
    present: Array | None
    ends: Sequence[int]
    others: Sequence[Mapping[str, Array]]
    noise: Sequence[Array | None]
    picture: int | None = None
    demonstrated: Array | None = None

    def fields(self, stage: PolicyStage) -> list[dict[str, Array]]:
        """All that the policy reads at each decision, as that stage has it."""
        found = [dict(other) for other in self.others]
        if self.picture is not None:
            for fields in found:
                fields["vl_features"] = stage.features[self.picture]
                fields["vl_mask"] = np.ones(fields["vl_features"].shape[:2], np.float32)
        if self.samples is not None and self.present is not None:
            for fields, frames, end in zip(
                found, stage.frames(self.samples, self.present, self.ends), self.ends, strict=True
            ):
                fields["frames"] = frames
                fields["present"] = self.present[:, end - frames.shape[1] : end]
        return found


def fresh_questions(config: PolicyConfig, pictures: int) -> list[Question]:
    """Random streams, states and ages.

    Args:
        config: of the policy.
        pictures: of how many images the stages have VL features.
    """
    random, questions = np.random.default_rng(20), []
    for stream in range(_STREAMS):
        samples, present, ends = None, None, list(range(_DECISIONS))
        if config.channel_groups:
            hops = _WINDOWS * config.window_frames
            samples = random.standard_normal((1, hops * config.hop_samples, config.channels), np.float32)
            present = np.ones((1, hops, len(config.channel_groups)), np.float32)
            ends = list(range(config.window_frames, hops + 1, _EVERY))
        others = [_drawn(config, stream > 0, random) for _ in ends]
        noise = [_noise(config, random) for _ in ends]
        questions.append(Question(samples, present, ends, others, noise, stream % pictures if pictures else None))
    return questions


def kept_questions(config: PolicyConfig, moments: KeptMoments) -> list[Question]:
    """Each moment as a stream of one window with a decision at its end."""
    random, questions = np.random.default_rng(22), []
    arrays = {name: value.float().numpy() for name, value in moments.tensors().items()}
    for row in range(len(moments)):
        own = {name: value[row : row + 1] for name, value in arrays.items()}
        others = {name: own[name] for name in context_fields(config) if name not in ("frames", "present")}
        done = np.where(own["real"][0, :, None] > 0, own["actions"][0], np.float32(np.nan))
        questions.append(
            Question(
                own.get("samples"),
                own.get("present"),
                [config.window_frames],
                [others],
                [_noise(config, random)],
                demonstrated=done,
            )
        )
    return questions


def _noise(config: PolicyConfig, random: np.random.Generator) -> npt.NDArray[np.float32] | None:
    drawn = random.standard_normal((1, config.horizon, config.action_dim), np.float32)
    return drawn if config.head == "flow" else None


def _drawn(config: PolicyConfig, known: bool, random: np.random.Generator) -> dict[str, Array]:
    """State and age; `known`: whether there is a state."""
    fields = {
        "state": random.standard_normal((1, config.state_dim), np.float32),
        "state_known": np.full(1, known, np.float32),
        "vl_age_s": random.uniform(0.0, 0.2, 1).astype(np.float32),
    }
    return {name: value for name, value in fields.items() if name in context_fields(config)}
