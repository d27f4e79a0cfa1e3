"""gui_step on screenshots of one pixel and of 48 million: read, encoded within the model's limits, and learned from."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from ganglion.core.cli import main  # noqa: E402
from ganglion.core.datafile import read_datafile  # noqa: E402
from ganglion.core.errors import InputError  # noqa: E402
from ganglion.core.paths import write_json  # noqa: E402
from ganglion.core.tasks import GUI_STEP, Example  # noqa: E402
from ganglion.core.tasks.gui_grounding import pixel_at  # noqa: E402
from ganglion.core.tasks.gui_rows import COLUMNS, from_table  # noqa: E402
from ganglion.model.checkpoint import resolve_base  # noqa: E402
from ganglion.model.dialogue.batching import training_batch  # noqa: E402
from ganglion.model.processor import load_processor  # noqa: E402
from ganglion.training.data.rows import EncodedRows  # noqa: E402

pytestmark = pytest.mark.slow
BASE = "offline:qwen2_vl?untrained"
PIXEL, HUGE = (1, 1), (8000, 6000)
BOXES = {PIXEL: [0, 0, 1, 1], HUGE: [7960, 5960, 8000, 6000]}


@pytest.fixture(scope="module")
def processor() -> Any:
    return load_processor(resolve_base(BASE))


def stored(folder: Path, boxes: Mapping[tuple[int, int], Sequence[int]]) -> Path:
    """A data file with a screenshot of each size, and a click on its box."""
    table = []
    for (width, height), box in boxes.items():
        name = f"{width}x{height}.png"
        image = Image.new("RGB", (width, height), (30, 60, 90))
        image.paste((250, 250, 250), (width // 2, height // 2, width, height))
        image.save(folder / name, compress_level=1)
        cells = ("one", name, "press OK", '{"action": "click", "target": "OK"}', json.dumps({"box": box}))
        table.append(dict(zip(COLUMNS, cells, strict=True)))
    write_json(folder / "data.json", list(from_table(table)))
    return folder / "data.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("sizes"), BOXES)


@pytest.fixture(scope="module")
def examples(data: Path) -> Sequence[Example]:
    return read_datafile(data, GUI_STEP)


def test_the_expected_point_is_a_pixel_of_the_box_at_the_original_resolution(examples: Sequence[Example]) -> None:
    assert [example.context.size for example in examples] == [PIXEL, HUGE]
    for example in examples:
        point, screen = json.loads(example.answer)["point"], example.context
        x, y = pixel_at(point, screen.size)
        x0, y0, x1, y1 = BOXES[screen.size]
        assert screen.hit(point) and x0 <= x < x1 and y0 <= y < y1
    metrics = GUI_STEP.metrics(examples, [example.answer for example in examples])
    assert metrics["step_success"] == metrics["grounding_hit"] == 1
    assert metrics["point_distance_px_mean"] <= 8  # a thousandth of 8000 pixels


def test_either_becomes_as_many_tokens_as_the_model_takes_and_no_more(
    processor: Any, examples: Sequence[Example]
) -> None:
    rows = EncodedRows(processor, examples, 512)
    limits, patch = processor.image_processor.size, processor.image_processor.patch_size
    for index, row in enumerate(rows[k] for k in range(len(rows))):
        (image,) = row.images
        _, height, width = (int(side) * patch for side in image.image_grid_thw)
        assert limits.shortest_edge <= width * height <= limits.longest_edge
        assert len(image.pixel_values) == width * height // patch**2 == 4 * int(row.text.token_types.sum())
        assert torch.isfinite(image.pixel_values).all()
        assert (width == height) == (index == 0), "the shape of the screenshot is kept"
    batch = training_batch([rows[0], rows[1]], processor.tokenizer.pad_token_id)
    assert len(batch["image_grid_thw"]) == 2


def test_a_step_of_training_learns_from_both(data: Path, tmp_path: Path) -> None:
    options = {
        "task": "gui_step",
        "base": BASE,
        "data": data,
        "out": tmp_path / "run",
        "steps": 1,
        "batch_size": 2,
        "quantization": "none",
        "lora.r": 4,
        "lora.dropout": 0,
        "optim.warmup_steps": 0,
        "logging_steps": 1,
        "threads": 1,
    }
    assert main(["train", "sft", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]) == 0
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == 1 and math.isfinite(losses[0]) and losses[0] > 0
    assert (tmp_path / "run" / "adapter_model.safetensors").is_file()


def test_a_box_that_no_thousandth_of_a_huge_screenshot_falls_into_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no thousandth of 8000 x 6000 falls into it"):
        read_datafile(stored(tmp_path, {HUGE: [4001, 3001, 4005, 3004]}), GUI_STEP)


def test_a_screenshot_that_is_all_width_is_refused_before_the_first_step(processor: Any, tmp_path: Path) -> None:
    """Qwen-VL takes sides of up to 200 to 1."""
    (example,) = read_datafile(stored(tmp_path, {(8100, 40): [0, 0, 100, 40]}), GUI_STEP)
    with pytest.raises(InputError, match=r"8100 x 40 pixels") as refused:
        EncodedRows(processor, [example], 512)
    assert "\n" not in str(refused.value) and "8100x40.png" in str(refused.value)
    assert (
        len(EncodedRows(processor, read_datafile(stored(tmp_path, {(7900, 40): [0, 0, 100, 40]}), GUI_STEP), 512)) == 1
    )
