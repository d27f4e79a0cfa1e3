"""What the quickstart does, as stages: each is a command a user could type, or a module of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganglion.core.paths import recipe
from ganglion.demo.quickstart.config import QuickstartConfig
from ganglion.demo.quickstart.stages import Stage

TASK = "exo_assist"
_TRAIN_COUNT = 5280  # each row is seen once: 660 steps of 8
# For training only: fresh rows have an image each, and their assistance so far is drawn evenly.
_ENRICHED = ("--limit_share", "0.3", "--rows_per_image", "2")
_BASE_ROWS = 200  # the untuned base answers so many of the fresh rows
_SCORERS = 2
_BUILD_BASE = "from ganglion.model.offline import offline_base; print(offline_base())"
# Seeds of what is only evaluated or streamed, away from those that training uses.
_EVAL_SEED, _STREAM_SEED = 700_000, 800_000


@dataclass(frozen=True)
class Layout:
    """Where each stage puts what it makes."""

    root: Path

    @property
    def train_data(self) -> Path:
        """Training rows of the VLM task."""
        return self.root / "data/train"

    @property
    def eval_data(self) -> Path:
        """Fresh rows that the VLM is scored on."""
        return self.root / "data/eval"

    @property
    def adapter(self) -> Path:
        """The trained adapter."""
        return self.root / "adapter"

    @property
    def evaluation(self) -> Path:
        """Scores of the trained adapter and of the untuned base."""
        return self.root / "evaluation"

    @property
    def policy(self) -> Path:
        """The trained sensor policy."""
        return self.root / "policy"

    @property
    def policy_bundle(self) -> Path:
        """The policy exported on its own, while the VLM is still being trained."""
        return self.root / "policy-bundle"

    @property
    def bundle(self) -> Path:
        """What export wrote and serving loads."""
        return self.root / "bundle"

    @property
    def stream(self) -> Path:
        """What the bridge measured."""
        return self.root / "stream"

    def answers(self, part: int) -> Path:
        """The served model's answers, one file per scoring process."""
        return self.root / f"served/answers-{part}.json"


def plan(config: QuickstartConfig) -> list[Stage]:
    """All stages; where there is a choice, the earlier one is started first: what most waits for comes before."""
    at = Layout(config.out)
    if config.sensor_data:
        return _policy_stages(config, at)
    return [*_vlm_stages(config, at), *_policy_stages(config, at), *_scoring_stages(config, at)]


def _vlm_stages(config: QuickstartConfig, at: Layout) -> list[Stage]:
    return [
        Stage("offline base", ("-c", _BUILD_BASE), threads=2),
        Stage(
            "render training images",
            _synth(at.train_data, _TRAIN_COUNT, config.seed, workers=2, more=_ENRICHED),
            threads=2,
        ),
        Stage(
            "train exo_assist",
            _command(
                *("train", "sft", "--config", str(recipe("exo_assist.yaml")), "--out", str(at.adapter)),
                *("--data", str(at.train_data / "data.json"), "--seed", str(config.seed), "--threads", "1"),
            ),
            needs=("offline base", "render training images"),
        ),
    ]


def _policy_stages(config: QuickstartConfig, at: Layout) -> list[Stage]:
    recorded = config.sensor_data is not None
    given = ("--config", str(recipe("policy_oct.yaml" if recorded else "policy.yaml")))
    data = ("--data", str(config.sensor_data)) if recorded else ()
    train = Stage(
        "train policy",
        _command(
            *("train", "policy", *given, *data, "--out", str(at.policy)),
            *("--seed", str(config.seed), "--threads", "1"),
        ),
        needs=() if recorded else ("offline base",),
    )
    serve = Stage(
        "serve the robot",
        _module(
            "stream",
            *(str(at.bundle), str(at.policy), str(at.stream), str(config.seconds)),
            *(str(config.seed + _STREAM_SEED), str(config.sensor_data or "")),
        ),
        needs=("export",),
        threads=2,
        alone=True,
    )
    if recorded:
        return [train, Stage("export", _export("--policy", at.policy, at.bundle), needs=("train policy",)), serve]
    return [
        train,
        Stage("export policy", _export("--policy", at.policy, at.policy_bundle), needs=("train policy",)),
        Stage(
            "export",
            _export("--adapter", at.adapter, at.bundle, "--policy", str(at.policy_bundle)),
            needs=("train exo_assist", "export policy"),
        ),
        serve,
    ]


def _scoring_stages(config: QuickstartConfig, at: Layout) -> list[Stage]:
    eval_file = str(at.eval_data / "data.json")
    return [
        Stage("render fresh images", _synth(at.eval_data, config.eval_count, config.seed + _EVAL_SEED, workers=1)),
        Stage(
            "evaluate trained and base",
            _command(
                *("evaluate", "--adapter", str(at.adapter), "--data", eval_file, "--out", str(at.evaluation)),
                *("--base_limit", str(_BASE_ROWS)),
            ),
            needs=("train exo_assist", "render fresh images"),
        ),
        *(
            Stage(
                f"score the served model {part + 1} of {_SCORERS}",
                _module("score", str(at.bundle), eval_file, str(at.answers(part)), str(part), str(_SCORERS)),
                needs=("export", "render fresh images"),
            )
            for part in range(_SCORERS)
        ),
    ]


def _export(part: str, source: Path, out: Path, *more: str) -> tuple[str, ...]:
    return _command("export", part, str(source), *more, "--out", str(out), "--force")


def _synth(out: Path, count: int, seed: int, *, workers: int, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    numbers = ("--count", str(count), "--seed", str(seed), "--workers", str(workers), *more)
    return _command("data", "synth", TASK, "--out", str(out), *numbers, "--force")


def _command(*args: str) -> tuple[str, ...]:
    return ("-m", "ganglion.core.cli", *args)


def _module(name: str, *args: str) -> tuple[str, ...]:
    return ("-m", f"ganglion.demo.quickstart.{name}", *args)
