"""The VLM half of a bundle: from an adapter folder to vlm/ and its rows of the parity table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.datafile import read_datafile
from ganglion.core.manifest import ParityRow, VlmPart
from ganglion.core.tasks import get_task
from ganglion.export.config import ExportConfig
from ganglion.export.merge import Adapter, load_merged, load_trained, merged_weights, open_adapter
from ganglion.export.onnx_file import OPSET
from ganglion.export.onnx_vlm import check_family, export_vlm
from ganglion.export.parity import (
    Prompt,
    example_cases,
    fresh_cases,
    make_prompts,
    merge_parity,
    onnx_parity,
    prompt_logits,
)
from ganglion.export.prompt_files import write_prompt_files
from ganglion.export.weights import make_skeleton, reader
from ganglion.model.checkpoint import checkpoint_folder
from ganglion.model.processor import image_settings, load_processor


def add_vlm(config: ExportConfig, folder: Path, report: Callable[[str], None]) -> tuple[VlmPart, list[ParityRow]]:
    """Merge, export and measure the adapter's VLM; write it into `folder`/vlm.

    Args:
        config: names the adapter, its base and what to measure on.
        folder: the bundle in the making.
        report: told what is being done.

    Raises:
        InputError: the adapter or its base can't be used.
    """
    assert config.adapter is not None
    adapter = open_adapter(config.adapter, config.base)
    cases = _cases(config, adapter)
    report("load the trained model")
    processor = load_processor(adapter.base, adapter.run.get("max_pixels"))
    trained = load_trained(adapter).get_base_model()
    check_family(trained)
    prompts = make_prompts(trained, processor, cases)
    expected = prompt_logits(trained, prompts)
    del trained
    report("merge")
    model = load_merged(adapter)
    rows = [merge_parity(expected, prompt_logits(model, prompts))]
    rows.append(_to_onnx(adapter, model, processor, prompts, folder / "vlm", report))
    return _describe(adapter, model, processor), rows


def _cases(config: ExportConfig, adapter: Adapter) -> Sequence[tuple[Sequence[Image.Image], str]]:
    if config.parity_data is None:
        return fresh_cases(config.parity_samples)
    return example_cases(read_datafile(config.parity_data, get_task(adapter.run["task"])), config.parity_samples)


def _to_onnx(
    adapter: Adapter, model: Any, processor: Any, prompts: Sequence[Prompt], folder: Path, report: Callable[[str], None]
) -> ParityRow:
    report("VLM to ONNX")
    skeleton = make_skeleton(checkpoint_folder(adapter.base))
    export_vlm(skeleton, folder, read=reader(skeleton, merged_weights(adapter)))
    write_prompt_files(processor, folder)
    report("compare VLM and ONNX")
    return onnx_parity(model, folder, prompts)


def _describe(adapter: Adapter, model: Any, processor: Any) -> VlmPart:
    ends = model.generation_config.eos_token_id
    known = [*(ends if isinstance(ends, list) else [ends]), processor.tokenizer.eos_token_id]
    return VlmPart(
        task=adapter.run["task"],
        model_type=model.config.model_type,
        base_id=adapter.base_id,
        base_hash=adapter.base_hash,
        adapter_hash=adapter.hash,
        image_token_id=model.config.image_token_id,
        eos_token_ids=tuple(sorted({end for end in known if end is not None})),
        context_tokens=model.config.get_text_config().max_position_embeddings,
        image_processor=image_settings(processor),
        precision="float32",
        opset=OPSET,
    )
