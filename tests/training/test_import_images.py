"""Images as people have them: which are taken, what comes of them, and how much memory one may use."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.images import upright
from ganglion.core.tasks import CHAT


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


RED = Image.new("RGB", (40, 30), "red")
GRAY_16 = Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40))
TAKEN = {
    "1 x 1": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
    "GIF": encoded(RED, "GIF"),
    "animated GIF": encoded(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 30), "blue")]),
    "palette": encoded(RED.convert("P"), "PNG"),
    "palette with transparency": encoded(RED.convert("P"), "PNG", transparency=0),
    "black and white": encoded(RED.convert("1"), "PNG"),
    "gray": encoded(RED.convert("L"), "JPEG"),
    "gray with transparency": encoded(RED.convert("LA"), "PNG"),
    "transparency": encoded(RED.convert("RGBA"), "PNG"),
    "16 bits": encoded(GRAY_16, "PNG"),
    "16 bits, big end first": encoded(GRAY_16, "TIFF"),
    "CMYK": encoded(RED.convert("CMYK"), "JPEG"),
    "YCbCr": encoded(RED.convert("YCbCr"), "JPEG"),
    "WebP": encoded(RED, "WEBP"),
    "BMP": encoded(RED, "BMP"),
    "progressive JPEG": encoded(RED, "JPEG", progressive=True),
}
REFUSED = {
    "empty": b"",
    "text": b"hello",
    "cut off": encoded(Image.effect_noise((90, 90), 50), "JPEG")[:-400],
    "PNG cut off": encoded(Image.effect_noise((90, 90), 50), "PNG")[:-400],
    "a PNG with a spoiled middle": encoded(Image.effect_noise((90, 90), 50), "PNG").replace(b"IDAT", b"IDAT\0", 1),
    "a bomb": encoded(Image.new("1", (9000, 9000)), "PNG"),
    "a greater bomb": encoded(Image.new("1", (30_000, 30_000)), "PNG"),
    "a GIF of nothing": b"GIF89a" + bytes(20),
}


def stored(data: bytes, folder: Path) -> Path:
    (folder / "a.png").write_bytes(data)
    (folder / "a.json").write_text(json.dumps([{"prompt": "?", "answer": "!", "images": "a.png"}]))
    return folder / "a.json"


@pytest.mark.parametrize("case", TAKEN)
def test_an_image_is_taken_and_seen_in_rgb(case: str, tmp_path: Path) -> None:
    path = stored(TAKEN[case], tmp_path)
    assert main(["data", "import", "json", str(path), "--task", "chat", "--out", str(tmp_path / "out")]) == 0
    (example,) = read_datafile(tmp_path / "out/data.arrow", CHAT)
    with Image.open(example.images[0]) as image:
        seen = upright(image)
    assert seen.mode == "RGB"
    if case in ("GIF", "animated GIF", "palette", "CMYK", "transparency", "WebP", "1 x 1"):
        red, green, blue = seen.getpixel((0, 0))
        assert red > 200 and green < 60 and blue < 60
    if case.startswith("16"):
        assert 120 < np.asarray(seen).mean() < 135, "16 bits are scaled, not cut off"


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_image_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(REFUSED[case], tmp_path)
    assert main(["data", "import", "json", str(path), "--task", "chat", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "row 0: column 'image_path': " in line and "a.png" in line and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_smallest_and_a_huge_screenshot_are_preprocessed_within_bounds(tmp_path: Path) -> None:
    """8000 x 6000 pixels are 183 MiB as Pillow holds them; reading and scaling may take a few times that."""
    paths = []
    for name, size in {"smallest": (1, 1), "huge": (8000, 6000)}.items():
        (tmp_path / name).mkdir()
        paths.append(str(stored(encoded(Image.new("RGB", size, "red"), "PNG"), tmp_path / name)))
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from ganglion.core.datafile import read_datafile\n"
        "from ganglion.core.tasks import CHAT\n"
        "from ganglion.model.checkpoint import resolve_base\n"
        "from ganglion.model.processor import load_processor\n"
        "from ganglion.training.data.rows import EncodedRows\n"
        "processor = load_processor(resolve_base('offline:qwen2_vl?untrained'), None)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"for path in {paths!r}:\n"
        "    rows = EncodedRows(processor, read_datafile(Path(path), CHAT), 4096)\n"
        "    assert rows[0].images[0].pixel_values.shape[0] >= 4\n"
        "print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1100


@pytest.mark.slow
def test_an_image_far_too_long_for_the_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(encoded(Image.new("RGB", (3, 900)), "PNG"), tmp_path)
    options = ["--task", "chat", "--base", "offline:qwen2_vl?untrained", "--steps", "1"]
    assert main(["train", "sft", "--data", str(path), "--out", str(tmp_path / "run"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.png: 3 x 900 pixels" in line and "crop the image" in line
