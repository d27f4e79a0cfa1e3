"""Small random Qwen-VLs of each family, exported once per worker, and a trained adapter."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from adapter_for_test import train_adapter
from traces_for_test import kept_traces

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="session", autouse=True)
def traces():
    with kept_traces():
        yield


@dataclass(frozen=True)
class Exported:
    """A model of two layers each, its processor for images up to 280 x 280, and the folder of its ONNX files."""

    model: Any
    processor: Any
    folder: Path


def shallow(family):
    """The offline base's classes and widths at depth 2, with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from ganglion.model.offline import offline_base

    base = offline_base(family, pretext=False)
    config = AutoConfig.from_pretrained(base)
    text, vision = config.text_config, config.vision_config
    text.num_hidden_layers = vision.depth = 2
    if hasattr(text, "layer_types"):
        text.layer_types = text.layer_types[:2]
    if hasattr(vision, "fullatt_block_indexes"):
        vision.fullatt_block_indexes = [1]
    if hasattr(vision, "deepstack_visual_indexes"):
        vision.deepstack_visual_indexes = [0]
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config, dtype=torch.float32).eval(), base


@pytest.fixture(scope="session", params=FAMILIES)
def exported(request, tmp_path_factory):
    from ganglion.export.onnx_vlm import VlmGraphs
    from ganglion.model.processor import load_processor

    model, base = shallow(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    VlmGraphs(model).write(folder)
    return Exported(model, load_processor(base, max_pixels=280 * 280), folder)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(adapter folder, traces of the very model in memory that was trained, prompts they are of)."""
    shallower, whole = shallow("qwen2_vl")
    base = tmp_path_factory.mktemp("base")
    for path in Path(whole).iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, base / path.name)
    shallower.save_pretrained(base)
    return train_adapter(str(base), tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="session")
def bundle(trained, tmp_path_factory):
    from ganglion.core.cli import main

    out = tmp_path_factory.mktemp("export") / "bundle"
    assert main(["export", "--adapter", str(trained[0]), "--out", str(out), "--parity_samples", "2"]) == 0
    return out


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """Rows of the adapter's task."""
    from ganglion.core.cli import main

    folder = tmp_path_factory.mktemp("rows") / "set"
    options = ["--count", "6", "--size", "56", "--workers", "1", "--turns_max", "2"]
    assert main(["data", "synth", "exo_assist", "--out", str(folder), *options]) == 0
    return folder / "data.json"
