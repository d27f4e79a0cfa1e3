"""Assistance over a walk: the rules' percent, whatever is answered within its limits, and never a jump."""

import json

import numpy as np
import pytest

from ganglion.core.tasks.exo_assistance import RATE_PERCENT_S, Assistance
from ganglion.core.tasks.exo_rules import FEEDBACK, TERRAINS, expected_answer


def look(assistance: Assistance, terrain: str, kind: str = "none") -> None:
    assistance.ask([b""])
    assistance.take(json.dumps(expected_answer(terrain, kind, assistance.level)))


def test_the_level_is_the_terrains_initial_assistance_and_what_was_said_on_top() -> None:
    assistance = Assistance()
    assert assistance.level == 0 and assistance.terrain is None
    look(assistance, "stairs_up")
    assert assistance.level == 9
    for kind, level in (("more", 11), ("pain", 16), ("less", 14), ("vague_less", 13), ("none", 13)):
        look(assistance, "stairs_up", kind)
        assert assistance.level == level


def test_another_terrain_counts_once_two_answers_in_a_row_name_it_and_what_was_said_stays() -> None:
    assistance = Assistance()
    look(assistance, "flat")
    look(assistance, "flat", "more")
    look(assistance, "uphill_steep")
    assert (assistance.terrain, assistance.level) == ("flat", 5)
    look(assistance, "flat")
    look(assistance, "uphill_steep")
    assert assistance.terrain == "flat"
    look(assistance, "uphill_steep")
    assert (assistance.terrain, assistance.level) == ("uphill_steep", 11)


def test_the_percent_follows_at_its_rate_and_arrives() -> None:
    assistance = Assistance(rate_percent_s=4.0)
    look(assistance, "stairs_down")
    percents = [assistance.advance(0.5) for _ in range(5)]
    assert percents == [2.0, 4.0, 6.0, 6.0, 6.0]


def test_what_was_said_is_asked_again_until_an_answer_is_valid_and_then_no_more() -> None:
    assistance = Assistance()
    look(assistance, "flat")
    assistance.say("need more help")
    for _ in range(2):
        assert "need more help" in assistance.ask([b""]).prompt
        assistance.take("the terrain is")
        assert assistance.level == 3
    assert "need more help" in assistance.ask([b""]).prompt
    assistance.take(json.dumps(expected_answer("flat", "more", 3)))
    assert assistance.level == 5 and assistance.said == ""
    assert "none" in assistance.ask([b""]).prompt


@pytest.mark.parametrize("seed", range(5))
def test_no_answers_lead_out_of_the_limits_or_faster_than_allowed(seed: int) -> None:
    rng, assistance, before = np.random.default_rng(seed), Assistance(), 0.0
    for _ in range(200):
        assistance.say(str(rng.choice([phrase for kind in FEEDBACK.values() for phrase in kind.phrases])))
        assistance.ask([b""])
        answer = expected_answer(str(rng.choice(list(TERRAINS))), "none", 10)
        answer["assistance_delta"] = int(rng.integers(-20, 21))
        assistance.take("{" if rng.random() < 0.2 else json.dumps(answer))
        for _ in range(10):
            percent = assistance.advance(0.02)
            assert 0 <= percent <= 20 and 0 <= assistance.level <= 20
            assert abs(percent - before) <= RATE_PERCENT_S * 0.02 + 1e-12
            before = percent
