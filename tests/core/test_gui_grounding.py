"""Pixels and thousandths: which answers hit a box, and which point an answer should give."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganglion.core.tasks import RowError
from ganglion.core.tasks.gui_grounding import Screen, find_screen, pixel_at, read_grounding, screen_size

THOUSAND = (1000, 1000)  # a thousandth is a pixel


@pytest.mark.parametrize(
    ("answered", "hit"),
    [
        ([100, 200], True),  # upper left corner
        ([99, 200], False),  # one left of it
        ([100, 199], False),  # one above it
        ([149, 219], True),  # lower right corner
        ([150, 219], False),  # one right of it
        ([149, 220], False),  # one below it
        (None, False),
    ],
)
def test_a_box_is_half_open_at_all_four_edges(answered: Any, hit: bool) -> None:
    assert read_grounding({"box": [100, 200, 150, 220]}, THOUSAND).hit(answered) is hit


@pytest.mark.parametrize(
    ("answered", "hit"),
    # 1024 wide: 97 thousandths are 99.3 pixels, 98 are 100.4; 146 are 149.5, 147 are 150.5. 768 high: 261 are 200.4.
    [([98, 265], True), ([97, 265], False), ([146, 265], True), ([147, 265], False), ([98, 260], False)],
)
def test_thousandths_become_pixels_of_the_original_screenshot(answered: list[int], hit: bool) -> None:
    assert read_grounding({"box": [100, 200, 150, 220]}, (1024, 768)).hit(answered) is hit


def test_the_last_thousandth_is_the_last_pixel() -> None:
    assert pixel_at([1000, 1000], (8000, 6000)) == (7999, 5999)
    assert pixel_at([0, 1000], (1, 1)) == (0, 0)
    assert read_grounding({"box": [7990, 5990, 8000, 6000]}, (8000, 6000)).hit([1000, 1000])


@pytest.mark.parametrize(
    ("grounding", "size", "point"),
    [
        ({"box": [0, 0, 1, 1]}, (1, 1), [500, 500]),
        ({"box": [0, 0, 8000, 6000]}, (8000, 6000), [500, 500]),
        ({"box": [100, 200, 150, 220]}, (1024, 768), [120, 270]),
        ({"box": [100, 200, 118, 215]}, (1024, 768), [106, 270]),
        ({"box": [2.4, 3.6, 4.4, 5.2]}, (100, 100), [30, 44]),
        ({"box": [13, 13, 14, 14]}, THOUSAND, [13, 13]),
        ({"point": [512, 384]}, (1024, 768), [500, 500]),
        ({"point": [1023, 767]}, (1024, 768), [999, 999]),
        ({"point": [0, 0], "box": None}, (1, 1), [0, 0]),
        ({}, (1, 1), None),
        (None, (1, 1), None),
    ],
)
def test_the_expected_point_is_the_middle_in_thousandths_of_long_sides_in_tens(
    grounding: Any, size: tuple[int, int], point: Any
) -> None:
    assert read_grounding(grounding, size).answer_point() == point


@given(st.data())
def test_the_expected_point_of_a_box_hits_it_or_the_box_is_refused(data: st.DataObject) -> None:
    width, height = size = (data.draw(st.integers(1, 9000)), data.draw(st.integers(1, 9000)))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    screen = read_grounding({"box": [x0, y0, x1, y1]}, size)
    try:
        assert screen.hit(screen.answer_point())
    except RowError:
        pixels = {axis: {min(t * size[axis] // 1000, size[axis] - 1) for t in range(1001)} for axis in (0, 1)}
        assert not (pixels[0] & set(range(x0, x1)) and pixels[1] & set(range(y0, y1)))


def test_a_box_between_two_thousandths_is_refused() -> None:
    with pytest.raises(RowError, match="no thousandth of 8000 x 6000 falls into it"):
        read_grounding({"box": [1, 1, 4, 4]}, (8000, 6000)).answer_point()


def test_distance_is_in_pixels_of_the_original_screenshot() -> None:
    screen = read_grounding({"box": [500, 380, 524, 388]}, (1024, 768))  # middle 512, 384
    assert screen.distance([500, 500]) == 0
    assert screen.distance([625, 500]) == pytest.approx(128)
    assert read_grounding({"point": [0, 0]}, (1000, 1000)).distance([30, 40]) == pytest.approx(50)
    assert screen.distance(None) is None
    assert Screen((1, 1)).distance([0, 0]) is None
    assert read_grounding({"point": [0, 0]}, (9, 9)).hit([0, 0]) is None


def test_a_screenshot_is_found_beside_the_file_or_in_images_with_or_without_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "images/b.png", "images/v1.2.jpg", "images/two.png", "two.jpg", "images/a.png"):
        Image.new("RGB", (3, 2)).save(tmp_path / name)
    for name, place in {
        "a.png": "a.png",
        "b.png": "images/b.png",
        "b": "images/b.png",
        "v1.2": "images/v1.2.jpg",
        "images/b": "images/b.png",
        "none": "none",
    }.items():
        assert find_screen(tmp_path, name) == tmp_path / place
    for name in ("two", "a"):
        with pytest.raises(RowError, match="may be any of 2 files"):
            find_screen(tmp_path, name)
    assert screen_size(tmp_path / "a.png") == (3, 2)
