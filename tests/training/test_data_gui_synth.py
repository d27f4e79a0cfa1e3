"""Synthetic GUI episodes: drawn where they say, readable, and not to be answered without the memory they need."""

import csv
import itertools
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from ganglion.core.cli import main
from ganglion.training.data.gui.ceiling import answer, memoryless_chances, needs_memory
from ganglion.training.data.gui.data_set import COLUMNS, screens_of
from ganglion.training.data.gui.drawing import draw_screen
from ganglion.training.data.gui.episodes import KINDS, draw_plan
from ganglion.training.data.gui.goals import PHRASINGS, templates
from ganglion.training.data.gui.layout import Screen
from ganglion.training.data.gui.looks import ACCENTS, FONTS, THEMES, UNITS, WHITE, Color, draw_look
from ganglion.training.data.gui.pages import Episode, Page, Step
from ganglion.training.data.gui.plans import CodePlan, Plan, TransferPlan
from ganglion.training.data.gui.words import BUTTONS, CODES, FIELDS

GOALS = ("code_confirm", "code_question", "panel", "count", "form", "transfer", "dialogs")


def synth(out: Path, *options: str) -> int:
    return main(["data", "synth", "gui_step", "--out", str(out), "--workers", "1", *options])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "data.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def plans(count: int, phrasing: str = "train", seed: int = 3) -> Iterator[tuple[int, Plan]]:
    return ((index, draw_plan(seed, index, phrasing)) for index in range(count))


# The files


def test_a_table_of_steps_with_json_in_its_cells(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "40", "--seed", "5") == 0
    found = rows(tmp_path / "d")
    assert tuple(found[0]) == COLUMNS
    tasks = [[*steps] for _, steps in itertools.groupby(found, lambda row: row["Task_id"])]
    assert len(tasks) == len({row["Task_id"] for row in found}) == 40
    for steps in tasks:
        outputs = [json.loads(row["Output"]) for row in steps]
        assert 3 <= len(steps) <= 6 and len({row["Instruction"] for row in steps}) == 1
        assert [output["action"] == "done" for output in outputs] == [False] * (len(steps) - 1) + [True]
        for row, output in zip(steps, outputs, strict=True):
            assert output["action"] in ("click", "type", "done") and all(output.values())
            assert set(output) - {"remember"} == {"action", *ARGUMENT.get(output["action"], [])}
            assert bool(row["Grounding"]) == (output["action"] == "click")
            with Image.open(tmp_path / "d" / row["Image_id"]) as image:
                if row["Grounding"]:
                    x0, y0, x1, y1 = json.loads(row["Grounding"])["box"]
                    assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height


ARGUMENT = {"click": ["target"], "type": ["text"]}


def test_what_memory_is_worth_is_told_beside_the_data(tmp_path: Path) -> None:
    assert synth(tmp_path / "d", "--count", "60", "--seed", "5") == 0
    steps = json.loads((tmp_path / "d/steps.json").read_text())
    assert [step["task_id"] for step in steps] == [row["Task_id"] for row in rows(tmp_path / "d")]
    told = json.loads((tmp_path / "d/synth.json").read_text())
    assert told["task"] == "gui_step" and told["phrasing"] == "train" and told["steps"] == len(steps)
    assert told["needs_memory_share"] == pytest.approx(np.mean([step["needs_memory"] for step in steps]), abs=1e-4)
    assert told["memoryless_ceiling"] == pytest.approx(np.mean([s["memoryless_chance"] for s in steps]), abs=1e-4)
    assert all(step["memoryless_chance"] < 1 for step in steps if step["needs_memory"])
    assert all(step["memoryless_chance"] == 1 for step in steps if not step["needs_memory"])


def test_result_does_not_depend_on_the_number_of_processes_and_is_the_same_again(tmp_path: Path) -> None:
    assert synth(tmp_path / "one", "--count", "8") == 0
    assert synth(tmp_path / "two", "--count", "8", "--workers", "2") == 0
    assert synth(tmp_path / "other", "--count", "8", "--seed", "1") == 0
    names = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")}
    assert names == {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*.*")}
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    assert rows(tmp_path / "one") != rows(tmp_path / "other")


def test_a_set_is_replaced_when_forced_and_another_tasks_set_never(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synth(tmp_path / "d", "--count", "2") == 0
    assert synth(tmp_path / "d", "--count", "3") == 2
    assert synth(tmp_path / "d", "--count", "3", "--force") == 0
    assert len({row["Task_id"] for row in rows(tmp_path / "d")}) == 3
    assert main(["data", "synth", "robot_code", "--out", str(tmp_path / "d"), "--force"]) == 2
    assert "data.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--phrasing", "both"], "--phrasing is 'both'; use one of train, heldout"),
        (["--workers", "0"], "--workers is 0"),
        (["--count", "0"], "--count is 0"),
        (["--paraphrases", "train"], "--paraphrases is no option of gui_step; leave it out; use phrasing, workers"),
    ],
)
def test_a_bad_option_is_named_in_one_line(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synth(tmp_path / "d", *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0] and not (tmp_path / "d").exists()


# What is drawn


def test_a_screen_without_a_widget_differs_in_the_widgets_box_and_nowhere_else() -> None:
    for index, plan in plans(60):
        for screen in screens_of(plan.episode(), 3, index):
            whole = draw_screen(screen)
            for placed in screen.placed:
                others = tuple(one for one in screen.placed if one is not placed)
                changed = ImageChops.difference(whole, draw_screen(replace(screen, placed=others))).getbbox()
                assert changed is not None
                if placed.widget.name:
                    assert changed == placed.box, (index, placed)
                else:  # letters don't fill their line
                    assert (np.array(changed[:2]) >= placed.box[:2]).all() and (
                        np.array(changed[2:]) <= placed.box[2:]
                    ).all(), (index, placed)


def test_widgets_lie_in_the_window_and_apart() -> None:
    for index, plan in plans(400):
        for screen in screens_of(plan.episode(), 3, index):
            x0, y0, x1, y1 = screen.window
            assert 0 <= x0 < x1 <= screen.look.size[0] and 0 <= y0 < y1 <= screen.look.size[1]
            for one in screen.placed:
                assert x0 <= one.box[0] < one.box[2] <= x1 and screen.title[3] <= one.box[1] < one.box[3] <= y1
            for one, other in itertools.combinations([placed.box for placed in screen.placed], 2):
                assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_each_target_is_on_its_screen_once_and_stands_elsewhere_in_other_episodes() -> None:
    places = set()
    for index, plan in plans(200):
        episode = plan.episode()
        screens = screens_of(episode, 3, index)
        for step in episode.steps:
            names = [placed.widget.name for placed in screens[step.page].placed]
            assert not step.target or names.count(step.target) == 1
            if step.target == "OK":
                (box,) = [p.box for p in screens[step.page].placed if p.widget.name == "OK"]
                places.add((box[0] // 20, box[1] // 20))
    assert len(places) > 20


def test_focus_moves_nothing() -> None:
    focused = 0
    for index, plan in plans(300):
        episode = plan.episode()
        screens = screens_of(episode, 3, index)
        for (page, screen), (other_page, other) in itertools.combinations(zip(episode.pages, screens, strict=True), 2):
            if page != other_page and page.without_focus() == other_page.without_focus():
                focused += 1
                assert [placed.box for placed in screen.placed] == [placed.box for placed in other.placed]
    assert focused > 10


def test_what_has_to_be_read_is_at_least_nine_pixels_high_on_a_screen_of_256_by_256() -> None:
    rng = random.Random(0)
    seen = Counter()
    for _ in range(300):
        look = draw_look(rng)
        seen[look.font] += 1
        for bold in (False, True):
            for letter, least in (("H", 11.5), ("x", 9), ("7", 11.5)):
                _, top, _, bottom = look.reading(bold).getbbox(letter)
                assert bottom - top >= int(least * look.unit), (look.font, letter)
        assert look.size[0] * look.size[1] == pytest.approx((look.unit * UNITS) ** 2)
    assert set(seen) == set(FONTS)


def test_words_stand_out_from_what_they_are_written_on() -> None:
    """Contrast by WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    for name, theme in THEMES.items():
        grounds = [theme.face, theme.button or theme.face, theme.heading or theme.face]
        assert min(contrast(theme.ink, ground) for ground in grounds) >= 4.5, name
    assert min(contrast(WHITE, accent) for accent in ACCENTS) >= 4.5


def contrast(one: Color, other: Color) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: Color) -> float:
    parts = [part / 255 for part in color]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_nothing_to_be_read_is_outside_the_closed_vocabulary() -> None:
    shown = {word.upper() for word in CODES} | {*BUTTONS, *FIELDS}
    seen = set()
    for _, plan in plans(1500):
        for page in plan.episode().pages:
            widgets = [widget for group in page.groups for widget in group.widgets] + [*page.tabs]
            seen |= {widget.label.removesuffix(" ?") for widget in widgets if widget.kind != "text"}
    assert seen == shown and len(CODES) == 16 and len(FIELDS) == 8 and len(BUTTONS) == 24


# What is asked


def test_every_kind_occurs_and_the_memoryless_ceiling_is_low() -> None:
    needs, chances, kinds = [], [], Counter()
    for _, plan in plans(2000):
        episode = plan.episode()
        kinds[episode.kind] += 1
        needs += needs_memory(episode)
        chances += memoryless_chances(episode)
        assert (episode.kind == "dialogs") == (not any(needs_memory(episode)))
    assert set(kinds) == set(KINDS) and kinds["dialogs"] < 0.15 * 2000
    assert np.mean(needs) > 0.5 and np.mean(chances) <= 0.55


def variants(plan: Plan) -> list[tuple[float, Episode]]:
    """The episode with every value that it might hold for all that its later screens show, and how likely each is."""
    if isinstance(plan, CodePlan):
        asked = [None] if plan.asked is None else plan.words
        others = [
            (1.0 if one is None or one == code else 1 / (len(plan.words) - 1), replace(plan, code=code, asked=one))
            for code in plan.words
            for one in asked
        ]
    elif isinstance(plan, TransferPlan):
        known = dict(plan.told)
        told = [tuple({**known, plan.field: value}.items()) for value in CODES]
        others = [(1.0, replace(plan, told=one)) for one in told]
    else:
        others = [(1.0, plan)]
    return [(weight / sum(w for w, _ in others), one.episode()) for weight, one in others]


def test_each_step_that_needs_memory_has_a_twin_with_the_same_goal_and_pixels_but_another_right_answer() -> None:
    twins = Counter()
    for index, plan in plans(150):
        episode = plan.episode()
        drawn = [np.asarray(draw_screen(screen)) for screen in screens_of(episode, 3, index)]
        others = [(other, screens_of(other, 3, index)) for _, other in variants(plan)]
        for at, needs in enumerate(needs_memory(episode)):
            if needs:
                twins[episode.kind] += 1
                assert any(
                    other.goal == episode.goal
                    and answer(step) != answer(episode.steps[at])
                    and memory_before(other, step_at) != memory_before(episode, at)
                    and np.array_equal(np.asarray(draw_screen(screens[step.page])), drawn[episode.steps[at].page])
                    for other, screens in others
                    for step_at, step in enumerate(other.steps)
                    if other.pages[step.page] == episode.pages[episode.steps[at].page]
                ), (episode.goal, at)
    assert set(twins) == set(KINDS) - {"dialogs"}


def test_each_step_that_needs_no_memory_has_one_answer_whatever_the_memory() -> None:
    answers: defaultdict[tuple[str, Page], set] = defaultdict(set)
    sure: set[tuple[str, Page]] = set()
    for _, plan in plans(1500):
        for _, episode in variants(plan):
            for step, needs in zip(episode.steps, needs_memory(episode), strict=True):
                key = episode.goal, episode.pages[step.page]
                answers[key].add(answer(step))
                if not needs:
                    sure.add(key)
    assert len(sure) > 1000 and all(len(answers[key]) == 1 for key in sure)


def test_the_memoryless_chance_is_what_going_through_all_that_may_be_gives() -> None:
    for _, plan in plans(400, seed=8):
        episode, others = plan.episode(), variants(plan)
        for step, chance in zip(episode.steps, memoryless_chances(episode), strict=True):
            right: Counter = Counter()
            for weight, other in others:
                for one in other.steps:
                    if other.pages[one.page] == episode.pages[step.page]:
                        right[answer(one)] += weight
            assert chance == pytest.approx(max(right.values()) / sum(right.values())), (episode, step)


# A player that reads the goal, the labels on the screen and both memories, and knows nothing else


Did = Sequence[tuple[str, str]]
TIMES = {"once": 1, "twice": 2, "two": 2, "2": 2, "three": 3, "3": 3}
NAME = r"\b(" + "|".join(BUTTONS) + r")\b"


def memory_before(episode: Episode, at: int) -> tuple[Did, Mapping[str, str]]:
    done = episode.steps[:at]
    facts = dict(step.remember.split(": ") for step in done if step.remember)
    return [(step.action, step.target or step.text) for step in done], facts


def play(goal: str, page: Page, did: Did, facts: Mapping[str, str]) -> tuple[str, str, str, str]:
    widgets = [widget for group in page.groups for widget in group.widgets]
    names = [widget.name for widget in widgets if widget.name]
    lines = [widget.label for widget in widgets if not widget.name]
    if [tab.name for tab in page.tabs if tab.marked] == ["One"]:
        field = re.search(r"\b(" + "|".join(FIELDS) + r")\b", goal)[1]
        return "click", "Two", "", f"{field}: {lines[lines.index(field) + 1].lower()}"
    if names == ["OK"]:
        return "click", "OK", "", f"code: {lines[-1].lower()}"
    if names == ["Yes", "No"]:
        return "click", "Yes" if facts.get("code", "") == lines[-1].removesuffix(" ?").lower() else "No", "", ""
    if not names:
        return "done", "", "", ""
    plan, past = planned(goal, page, names, lines, facts), len(did)
    if page.tabs or "Choose your code" in lines:
        past -= 1  # the first page
    return (*plan[past], "") if 0 <= past < len(plan) else ("done", "", "", "") if past >= 0 else (*plan[0], "")


def planned(
    goal: str, page: Page, names: Sequence[str], lines: Sequence[str], facts: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """All that is to be done on a page that doesn't change."""
    if "Choose your code" in lines:
        return [("click", facts.get("code", ""), ""), ("click", "Confirm", "")]
    if page.tabs:
        field = next(name for name in names if re.search(rf"\b{name}\b", goal))
        entries = [(field, facts.get(field, ""))]
    elif set(names) & set(FIELDS):
        entries = re.findall(r"\b(" + "|".join(FIELDS) + r")(?:: | = | )(\w+)", goal)
    else:
        found = re.findall(NAME + r"(?: (once|twice|\w+(?= times)))?", goal)
        return [("click", name, "") for name, times in found for _ in range(TIMES[times or "once"])]
    filled = [step for field, value in entries for step in (("click", field, ""), ("type", "", value))]
    return [*filled, ("click", re.findall(NAME, goal)[-1], "")]


def steps_of(phrasing: str) -> Iterator[tuple[Episode, int, Step]]:
    for _, plan in plans(1500, phrasing):
        episode = plan.episode()
        yield from ((episode, at, step) for at, step in enumerate(episode.steps))


@pytest.mark.parametrize("phrasing", PHRASINGS)
def test_a_player_with_memory_is_always_right(phrasing: str) -> None:
    for episode, at, step in steps_of(phrasing):
        played = play(episode.goal, episode.pages[step.page], *memory_before(episode, at))
        assert played == answer(step), (episode.goal, at)


def test_a_player_without_memory_stays_below_the_ceiling() -> None:
    right, chances = [], []
    for episode, at, step in steps_of("train"):
        right.append(play(episode.goal, episode.pages[step.page], [], {}) == answer(step))
        chances.append(memoryless_chances(episode)[at])
    assert np.mean(right) < np.mean(chances) <= 0.55


# How goals are said


def sentences(kind: str, phrasing: str) -> set[str]:
    return {one for template in templates(kind, phrasing) for one in either(template)}


def either(template: str) -> Iterator[str]:
    parts = [part.split("|") for part in re.split(r"[()]", template)]
    return ("".join(chosen) for chosen in itertools.product(*parts))


def words(said: set[str]) -> set[str]:
    return {word for one in said for word in re.findall(r"\w+", re.sub(r"\{\w+\}", "", one))}


@pytest.mark.parametrize("kind", GOALS)
def test_held_out_goals_are_no_training_goals_but_of_the_same_words(kind: str) -> None:
    train, heldout = sentences(kind, "train"), sentences(kind, "heldout")
    assert len(train) >= 5 and len(heldout) >= 3 and not train & heldout
    assert words(heldout) <= words(train)
    assert {tuple(sorted(re.findall(r"\{\w+\}", one))) for one in train | heldout} == {
        tuple(sorted(re.findall(r"\{\w+\}", next(iter(train)))))
    }


def test_no_held_out_goal_is_ever_said_in_training() -> None:
    said = {
        phrasing: {plan.episode().goal.lower().rstrip(".") for _, plan in plans(3000, phrasing)}
        for phrasing in PHRASINGS
    }
    assert not said["train"] & said["heldout"]


def test_screens_are_of_many_sizes_and_themes() -> None:
    looks = [screens_of(plan.episode(), 3, index)[0].look for index, plan in plans(300)]
    assert {look.theme for look in looks} == set(THEMES.values())
    assert len({look.size for look in looks}) >= 6


def test_a_screenshot_has_the_size_of_its_look() -> None:
    screen: Screen = screens_of(draw_plan(0, 0, "train").episode(), 0, 0)[0]
    assert draw_screen(screen).size == screen.look.size
