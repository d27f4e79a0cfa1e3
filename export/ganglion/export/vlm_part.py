"""The VLM half of a bundle: from an adapter folder to vlm/ and its rows of the parity table."""

from __future__ import annotations

from pathlib import Path

from ganglion.core.manifest import ParityRow, VlmPart
from ganglion.export.config import ExportConfig
from ganglion.export.merge import load_trained, open_adapter
from ganglion.export.onnx_file import OPSET
from ganglion.export.onnx_vlm import check_family
from ganglion.export.references import write_references
from ganglion.export.release import release
from ganglion.export.stages import Report, Stages
from ganglion.export.targets import form_of
from ganglion.export.text_graph import image_token_id
from ganglion.export.vlm_forms import FORMS, VlmWork
from ganglion.export.weights import make_skeleton
from ganglion.model.checkpoint import checkpoint_folder
from ganglion.model.processor import image_settings, load_processor


def add_vlm(config: ExportConfig, adapter_folder: Path, out: Path, report: Report) -> tuple[VlmPart, list[ParityRow]]:
    """Merge, export and measure an adapter's VLM; write it into `out`/vlm, what it was asked into `out`/parity.

    Args:
        config: names its base, target and precisions, and what to measure on.
        adapter_folder: what `ganglion train sft` wrote.
        out: the bundle in the making.
        report: told what is being done.

    Raises:
        InputError: the adapter, its base or the data can't be used.
    """
    adapter = open_adapter(adapter_folder, config.base)
    skeleton = make_skeleton(checkpoint_folder(adapter.base))
    check_family(skeleton)
    processor = load_processor(adapter.base, adapter.run.get("max_pixels"))
    stages = Stages(config, adapter, skeleton, processor, report)
    stages.begin(load_trained(adapter).get_base_model())
    release()
    work, form = VlmWork(config, adapter, skeleton, processor, stages, report), form_of(config.target, config.merge)
    FORMS[form](work, out / "vlm")
    write_references(out / "parity" / "vlm.npz", stages)
    return _describe(work, form), stages.rows


def _describe(work: VlmWork, form: str) -> VlmPart:
    skeleton, processor, adapter = work.skeleton, work.processor, work.adapter
    ends = skeleton.generation_config.eos_token_id
    known = [*(ends if isinstance(ends, list) else [ends]), processor.tokenizer.eos_token_id]
    return VlmPart(
        task=adapter.run["task"],
        model_type=skeleton.config.model_type,
        base_id=adapter.base_id,
        base_hash=adapter.base_hash,
        adapter_hash=adapter.hash,
        image_token_id=image_token_id(skeleton),
        eos_token_ids=tuple(sorted({end for end in known if end is not None})),
        context_tokens=skeleton.config.get_text_config().max_position_embeddings,
        image_processor=image_settings(processor) if processor.image_token else {},
        precision=work.precision.vlm,
        opset=OPSET if form == "onnx" else None,
        form=form,
        merge=work.config.merge,
    )
