"""A small Qwen2-VL of random weights, and its bundle in ONNX."""

from pathlib import Path

from ganglion.core.bundle import Bundle, open_bundle, seal_bundle
from ganglion.core.manifest import FORMAT_VERSION, Manifest, VlmPart

CONTEXT_TOKENS = 512


def random_vlm():
    """(model, processor) of two layers each."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from ganglion.model.offline import offline_base
    from ganglion.model.processor import load_processor

    base = offline_base("qwen2_vl", pretext=False)
    config = AutoConfig.from_pretrained(base)
    config.text_config.num_hidden_layers = config.vision_config.depth = 2
    config.text_config.layer_types = config.text_config.layer_types[:2]
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config, dtype=torch.float32).eval(), load_processor(base)


def write_vlm_bundle(vlm, root: Path, language: str = "float32") -> Bundle:
    """The bundle of a `random_vlm` in `root`, its decoder in one of the precisions; opened."""
    from ganglion.export.onnx_vlm import VlmGraphs
    from ganglion.export.prompt_files import write_prompt_files
    from ganglion.model.processor import image_settings

    model, processor = vlm
    VlmGraphs(model).write(root / "vlm", language=language)
    write_prompt_files(processor, root / "vlm")
    part = VlmPart(
        task="exo_assist",
        model_type="qwen2_vl",
        base_id="offline:qwen2_vl?untrained",
        base_hash="",
        adapter_hash="",
        image_token_id=model.config.image_token_id,
        eos_token_ids=(processor.tokenizer.eos_token_id,),
        context_tokens=CONTEXT_TOKENS,
        image_processor=image_settings(processor),
        precision={"language": language, "vision": "float32"},
        opset=20,
    )
    seal_bundle(root, Manifest(FORMAT_VERSION, "test", {}, {}, vlm=part))
    return open_bundle(root)
