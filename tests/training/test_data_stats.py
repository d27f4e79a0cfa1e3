"""`ganglion data stats`: what it counts, counted by hand here."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.tasks import CHAT, EXO_ASSIST, Example, Turn, write_answer
from ganglion.core.tasks.chess_schema import board_row
from ganglion.core.tasks.exo_rules import expected_answer
from ganglion.core.tasks.gui_rows import COLUMNS, from_table
from ganglion.training.data.description.looks import Looks, near
from ganglion.training.data.description.measures import balance, bare, histogram
from ganglion.training.data.exo.rows import exo_image, exo_row

ROWS = [
    {"input": "Stop!", "output": "stop()", "category": "movement"},
    {"input": "stop", "output": "stop()", "category": "movement"},
    {"input": "stop", "output": "wait(1)", "category": "movement"},
    {"input": "stop", "output": "wait(duration=1.0)", "category": "movement"},
    {"input": "wait 0.5 s", "output": "wait(0.5)", "category": "pause"},
]


def stats(file: Path, rows: list[Any], *options: str) -> dict[str, Any]:
    if rows:
        file.write_text(json.dumps(rows))
    out = file.with_name("stats.json")
    assert main(["data", "stats", str(file), "--out", str(out), *options]) == 0
    return json.loads(out.read_text())


def test_rows_lengths_categories_and_duplicates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = stats(tmp_path / "data.json", ROWS, "--task", "robot_code")
    assert found["rows"] == 5
    assert found["balance"] == {"category": {"movement": 4, "pause": 1}}
    answers = found["characters"]["answer"]
    assert (answers["least"], answers["median"], answers["largest"]) == (6, 7, 18)
    assert sum(count for _, _, count in answers["bins"]) == 5
    assert found["duplicates"]["same_input"] == {"count": 2, "rows": [2, 3]}
    assert found["duplicates"]["same_input_other_answer"] == {"count": 1, "rows": [2]}  # row 3 says what row 2 says
    printed = capsys.readouterr().out
    assert "5 rows of robot_code" in printed and "4  movement" in printed and "leakage" not in printed


def test_leakage_is_found_exactly_and_but_for_case_and_marks(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([ROWS[1], {**ROWS[4], "input": "Wait  0.5 s."}]))
    leaked = stats(tmp_path / "data.json", ROWS, "--task", "robot_code", "--against", str(other))["leakage"]
    assert leaked["same_input"] == {"count": 3, "rows": [1, 2, 3]}
    assert leaked["same_input_but_for_case_and_marks"] == {"count": 5, "rows": [0, 1, 2, 3, 4]}


def test_an_image_that_another_file_has_too_is_found_by_its_content(tmp_path: Path) -> None:
    for folder, index in (("a", 0), ("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        exo_image(0, index, 56).save(tmp_path / folder / f"{index}.png")
    (tmp_path / "b/copy.png").write_bytes((tmp_path / "a/1.png").read_bytes())
    files = {name: tmp_path / name / "data.json" for name in "ab"}
    rows = {
        "a": [{"image_path": f"{index}.png", **exo_row(0, index)} for index in (0, 1)],
        "b": [{"image_path": "2.png", **exo_row(0, 2)}, {"image_path": "copy.png", **exo_row(5, 3)}],
    }
    files["a"].write_text(json.dumps(rows["a"]))
    found = stats(files["b"], rows["b"], "--task", "exo_assist", "--against", str(files["a"]))
    assert found["leakage"]["same_image"] == {"count": 1, "rows": [1]}
    assert found["leakage"]["same_input"]["count"] == 0
    assert set(found["balance"]) == {"task", "terrain_difficulty", "initial_assistance"}
    assert sum(found["balance"]["task"].values()) == 2


def test_boards_are_counted_by_view_coordinates_and_pieces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SCENE.save(tmp_path / "a.png")
    boards = [
        ({"e1": "K", "e8": "k", "a2": "P", "b2": "P"}, "white", True, "book"),
        ({"e1": "K", "e8": "k", "a2": "P"}, "black", False, None),
    ]
    rows = [board_row(str(k), "a.png", *board) for k, board in enumerate(boards)]
    found = stats(tmp_path / "data.json", rows, "--task", "chess_board")
    assert found["balance"] == {
        "view": {"black": 1, "white": 1},
        "coordinates": {"false": 1, "true": 1},
        "pieces": {"K": 2, "P": 3, "k": 2},
        "source": {"book": 1},
    }
    printed = capsys.readouterr().out.splitlines()
    assert printed[(at := printed.index("pieces")) : at + 4] == [
        "pieces",
        "        2  K",
        "        3  P",
        "        2  k",
    ]


def test_steps_are_counted_by_action_grounding_and_what_they_remember(tmp_path: Path) -> None:
    SCENE.save(tmp_path / "a.png")
    steps = [
        ('{"action": "click", "target": "A", "remember": "n: 3"}', '{"box": [20, 20, 60, 40]}'),
        ('{"action": "click", "target": "B"}', '{"point": [20, 20]}'),
        ('{"action": "done"}', ""),
    ]
    table = [dict(zip(COLUMNS, ("one", "a.png", "do it", *step), strict=True)) for step in steps]
    found = stats(tmp_path / "data.json", list(from_table(table)), "--task", "gui_step")
    assert found["balance"] == {
        "action": {"click": 2, "done": 1},
        "grounding": {"box": 1, "none": 1, "point": 1},
        "remember": {"a fact": 1, "nothing": 2},
    }


def test_a_task_without_labels_is_counted_by_what_its_schema_enumerates_in_every_turn() -> None:
    said = [write_answer(expected_answer(terrain, "none", 0)) for terrain in ("flat", "flat", "stairs_up")]
    turns = [Turn((), "?", text) for text in said]
    dialogue = Example((), "?", said[-1], {}, tuple(turns[:-1]))
    counted = balance([dialogue], EXO_ASSIST)
    assert counted["task"] == {"flat": 2, "stairs_up": 1}
    assert counted["initial_assistance"] == {"3": 2, "9": 1}
    own = replace(EXO_ASSIST, labels=lambda turn: {"earlier": [str(len(turn.history))] * 2, "never": []})
    assert balance([dialogue], own) == {"earlier": {"0": 2, "1": 2, "2": 2}}
    assert balance([dialogue], CHAT) == {}


@pytest.mark.slow
def test_tokens_are_counted_by_the_base_named(tmp_path: Path) -> None:
    base = "offline:qwen2_vl?untrained"
    found = stats(tmp_path / "data.json", ROWS, "--task", "robot_code", "--base", base)
    assert 2 <= found["tokens"]["answer"]["least"] < found["characters"]["answer"]["least"] + 1


@pytest.mark.parametrize(
    ("text", "same"),
    [("Stop!", "stop"), ("  stop,  now ", "Stop now."), ("go 0.5 m", "Go 0.5 m!"), ("pi/2 rad", "pi / 2 rad")],
)
def test_bare_text_has_no_case_marks_or_doubled_spaces(text: str, same: str) -> None:
    assert bare(text) == bare(same)


def test_bare_text_keeps_what_makes_numbers_differ() -> None:
    assert bare("go 0.5 m") != bare("go 5 m") and bare("go 1.5 m") != bare("go 15 m")


@pytest.mark.parametrize("values", [[7], [0, 0], [1, 10], [1, 11], list(range(100)), [3, 1000]])
def test_every_value_is_in_one_bin_of_at_most_ten(values: list[int]) -> None:
    found = histogram(values)
    assert len(found["bins"]) <= 10 and sum(count for _, _, count in found["bins"]) == len(values)
    for low, high, count in found["bins"]:
        assert count == sum(low <= value < high for value in values)


def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data.json").write_text("[]")
    assert main(["data", "stats", str(tmp_path / "data.json"), "--task", "robot_code"]) == 2
    assert "data.json: holds no rows" in capsys.readouterr().err


def pictures(folder: Path, **images: Image.Image) -> Path:
    """A data file with a row for each image, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    rows = [{"prompt": f"<b>What</b> is {name}?", "answer": f"{name} & co", "images": f"{name}.png"} for name in images]
    (folder / "data.json").write_text(json.dumps(rows))
    return folder / "data.json"


SCENE = exo_image(0, 0, 112)
OTHER = exo_image(0, 40, 112)


def brighter(image: Image.Image) -> Image.Image:
    return image.point(lambda value: min(value + 6, 255))


def test_images_are_counted_by_content_size_and_likeness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = SCENE.resize((64, 64))
    path = pictures(tmp_path, a=SCENE, b=OTHER, again=SCENE, bright=brighter(SCENE), small=small)
    found = stats(path, [], "--task", "chat")
    assert found["images"] == {
        "shown": 5, "distinct": 4, "sizes": {"112 x 112": 4, "64 x 64": 1}, "other_sizes": 0
    }  # fmt: skip
    assert found["duplicates"]["same_image"] == {"count": 1, "rows": [2]}
    assert found["duplicates"]["near_image"] == {"count": 2, "rows": [3, 4]}
    printed = capsys.readouterr().out
    assert "5 shown, 4 of them distinct" in printed and "2  near image (row 3, 4)" in printed


def test_plain_surfaces_are_near_only_where_their_gray_is(tmp_path: Path) -> None:
    plain = {name: Image.new("L", (50, 50), gray) for name, gray in (("black", 0), ("white", 255), ("dark", 4))}
    assert stats(pictures(tmp_path, **plain), [], "--task", "chat")["duplicates"]["near_image"]["rows"] == [2]


def test_images_that_leak_are_found_by_content_and_by_likeness(tmp_path: Path) -> None:
    train = pictures(tmp_path / "train", x=OTHER, y=SCENE)
    test = pictures(tmp_path / "test", p=brighter(SCENE), q=OTHER, r=exo_image(0, 77, 112))
    found = stats(test, [], "--task", "chat", "--against", str(train))["leakage"]
    assert found["same_image"] == {"count": 1, "rows": [1]} and found["near_image"] == {"count": 1, "rows": [0]}
    assert found["same_input"]["count"] == 0


def test_near_images_are_those_that_a_plain_comparison_of_all_finds() -> None:
    random = np.random.default_rng(0)
    centers = random.integers(0, 2**63, 12, dtype=np.uint64)
    own, other = Looks([]), Looks([])
    for looks, count in ((own, 300), (other, 200)):
        flips = np.zeros(count, np.uint64)
        for _ in range(5):
            flips ^= np.uint64(1) << random.integers(0, 64, count, dtype=np.uint64)
        looks.hashes = random.choice(centers, count) ^ flips
        looks.grays = random.integers(100, 130, count).astype(np.int16)
        looks.content = random.integers(0, 250, count).astype(np.uint64)
        looks.rows = np.arange(count) // 2

    def plain(one: Looks, there: Looks) -> list[int]:
        found = []
        for k in range(len(one)):
            alike = [
                j
                for j in range(len(there))
                if (int(one.hashes[k]) ^ int(there.hashes[j])).bit_count() <= 4
                and abs(int(one.grays[k]) - int(there.grays[j])) <= 12
                and one.content[k] != there.content[j]
                and (one is not there or there.rows[j] < one.rows[k])
            ]
            found.append(alike[0] if alike else -1)
        return found

    assert near(own, other).tolist() == plain(own, other) and near(own, own).tolist() == plain(own, own)
    assert -1 < np.mean(near(own, other) >= 0) < 1


def test_the_page_has_all_figures_and_pictures_in_itself_and_escapes_all_text(tmp_path: Path) -> None:
    train = pictures(tmp_path / "train", x=OTHER)
    path = pictures(tmp_path / "<i>", a=SCENE, b=OTHER, again=SCENE)
    page = tmp_path / "page.html"
    stats(path, [], "--task", "chat", "--against", str(train), "--html", str(page), "--samples", "2")
    text = page.read_text()
    assert "&lt;b&gt;What&lt;/b&gt;" in text and "<b>What" not in text and "<i>/" not in text and "&amp; co" in text
    assert not re.search(r"<script|https?://|@import|url\(", text)
    images = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(images) == 2 + 2 + 2, "two sample rows, a pair shown again, a pair that leaks"
    for image in images:
        with Image.open(io.BytesIO(base64.b64decode(image))) as thumbnail:
            assert max(thumbnail.size) <= 240
    assert "leakage: same image" in text and "duplicates: same image" in text


def test_the_page_shows_other_rows_for_another_seed_and_the_same_for_the_same(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps([{"prompt": f"row-{k:03}", "answer": "x"} for k in range(200)]))

    def shown(seed: int) -> list[str]:
        stats(tmp_path / "data.json", [], "--task", "chat", "--html", str(tmp_path / "p.html"), "--seed", str(seed))
        return re.findall(r"row-\d+", (tmp_path / "p.html").read_text())

    assert len(shown(1)) == 24 and shown(1) == shown(1) != shown(2)


def test_stats_of_an_arrow_file_are_those_of_the_json_it_was_made_of(tmp_path: Path) -> None:
    path = pictures(tmp_path / "in", a=SCENE, b=OTHER, again=SCENE)
    assert main(["data", "import", "json", str(path), "--task", "chat", "--out", str(tmp_path / "out")]) == 0
    assert stats(tmp_path / "out/data.arrow", [], "--task", "chat") == stats(path, [], "--task", "chat")
