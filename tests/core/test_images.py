"""A photograph is seen as it was taken, whichever way the sensor lay."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from ganglion.core.errors import InputError
from ganglion.core.images import open_image, upright, upright_size


@pytest.fixture(params=range(1, 9))
def photograph(request, tmp_path):
    """A 12 x 8 picture, red on top, stored with one of the eight EXIF orientations."""
    seen = np.zeros((8, 12, 3), np.uint8)
    seen[:4, :, 0] = 255
    stored = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.transpose(1, 0, 2),
        6: seen.transpose(1, 0, 2)[::-1],
        7: seen.transpose(1, 0, 2)[::-1, ::-1],
        8: seen.transpose(1, 0, 2)[:, ::-1],
    }[request.param]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = request.param
    path = tmp_path / "photograph.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    return path, seen


def test_it_is_turned_as_the_camera_noted(photograph):
    path, seen = photograph
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(upright(image)), seen)


def test_its_size_is_known_from_the_header(photograph):
    path, _ = photograph
    with Image.open(path) as image:
        assert upright_size(image) == (12, 8)


def test_an_image_without_a_note_is_only_made_rgb():
    assert upright(Image.new("L", (3, 2), 7)).getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("written", [0, 9])
def test_a_note_that_says_nothing_turns_nothing(tmp_path, written):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = written
    Image.new("RGB", (3, 2)).save(tmp_path / "one.png", exif=exif)
    with Image.open(tmp_path / "one.png") as image:
        assert upright_size(image) == upright(image).size == (3, 2)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.jpg: can't be decoded"):
        open_image(tmp_path / "nothing.jpg")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(array):
    with pytest.raises(InputError, match="give uint8"):
        open_image(array)
