"""Walks in closed loop: what is answered is what is given, what is wrong gives nothing, and all within limits."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ganglion.core.tasks.exo_dialogue import Question
from ganglion.core.tasks.exo_rules import expected_answer, feedback_kind
from ganglion.simulation.exo_walk import Assist, Walk, draw_walk
from ganglion.simulation.exo_walk import world as walk_world
from ganglion.simulation.exo_walk.robot import MAX_RATE_NM_S, MAX_TORQUE_NM
from ganglion.simulation.scenario import get_scenario
from ganglion.training.closed_loop.walks import Laws, Walked, draw_script, walk_all
from ganglion.training.demonstrations.simulated import record

pytestmark = pytest.mark.slow
ASKED = re.compile(r'User feedback: (?:"(.*)"|none). Previous assistance: (.+)%. Assess')


@pytest.fixture(autouse=True)
def unseen(monkeypatch) -> None:
    """What is tested here does not depend on pixels: looking works without OpenGL, too."""
    blank = np.zeros((112, 112, 3), np.uint8)
    monkeypatch.setattr(walk_world.ExoWalk, "frame", lambda self, camera="forward": blank)


def by_the_rules(questions: Sequence[Question]) -> list[str]:
    """A model that sees uphill_steep everywhere and knows the rules; it is told what a model is told."""
    texts = []
    for question in questions:
        said, previous = ASKED.match(question.prompt).groups()
        texts.append(json.dumps(expected_answer("uphill_steep", feedback_kind(said or ""), float(previous))))
    return texts


def short(seed: int, terrain: str) -> Walk:
    return replace(draw_walk(seed, terrain), start_m=2.0)


@pytest.fixture(scope="module")
def unassisted() -> Walked:
    return walk_all([short(5, "uphill_steep")], None, None, assisted=False)[0]


@pytest.fixture(scope="module")
def right() -> Walked:
    walks = [short(5, "uphill_steep")]
    return walk_all(walks, Laws(walks), None)[0]


def test_right_answers_give_the_right_percent_and_the_very_same_walk(right: Walked) -> None:
    walks = [short(5, "uphill_steep")]
    (seen,) = walk_all(walks, Laws(walks), by_the_rules)
    assert seen.percents == right.percents == right.right and max(seen.percents) > 5
    assert seen.summary == right.summary
    assert [look.time_s for look in seen.looks] == pytest.approx(np.arange(len(seen.looks)) * 0.5)
    assert {look.task for look in seen.looks} == {"uphill_steep"}
    said = [look.said for look in seen.looks if look.said]
    assert said == [each.text for each in draw_script(walks[0], len(seen.percents) / 50)][: len(said)] and said


def test_the_percent_begins_at_zero_reaches_the_rules_level_and_keeps_its_rate(right: Walked) -> None:
    percents = np.array(right.percents)
    assert (percents[:25] == 0).all()  # the first look's answer comes with the second look
    assert right.levels[25] == 9
    assert np.abs(np.diff(percents)).max() <= 4 / 50 + 1e-12 and percents.min() >= 0 and percents.max() <= 20


def test_help_at_the_right_percent_lowers_effort_within_the_limits_of_torque(right: Walked, unassisted: Walked) -> None:
    assert right.summary.finished and unassisted.summary.finished
    assert right.summary.effort.net_j < 0.99 * unassisted.summary.effort.net_j
    assert 1 < right.summary.peak_torque_nm <= MAX_TORQUE_NM
    assert right.summary.peak_rate_nm_s <= MAX_RATE_NM_S * (1 + 1e-9)


def test_answers_that_are_none_leave_the_wearer_alone(unassisted: Walked) -> None:
    walks = [short(5, "uphill_steep")]
    (walked,) = walk_all(walks, Laws(walks), lambda questions: ["a slope"] * len(questions))
    assert not any(walked.percents) and any(walked.right)
    assert {look.task for look in walked.looks} == {None}
    assert walked.summary == unassisted.summary


def test_a_recorded_walk_holds_the_law_of_what_was_read_and_asked() -> None:
    scenario = get_scenario("exo_walk")
    trial = scenario.begin(500_001, replace(scenario.robot, cameras=()))
    episode = record(
        trial.world,
        trial.act,
        seconds=3.0,
        instruction=trial.instruction,
        session="1",
        noise=trial.noise,
        rest_s=1.0,
    )
    device, actions = Assist(draw_walk(500_001)), episode.actions.values
    samples = next(iter(episode.sensors.values())).values.reshape(-1, 13, 16).astype(np.float32)
    percent = episode.state.values[:, 1]
    assert percent.max() > 5 and np.abs(np.diff(percent)).max() < 0.081
    for number in range(1, len(actions), 7):
        hop = 50 + number
        law = device.torque(samples[hop - 1], episode.state.values[hop])
        assert actions[number] == pytest.approx(law, abs=0.1)
    assert trial.judge()["success"]
