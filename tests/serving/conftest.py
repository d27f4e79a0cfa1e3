"""A bundle with a small random VLM, made once per worker."""

import pytest

from ganglion.core.bundle import open_bundle, seal_bundle
from ganglion.core.manifest import FORMAT_VERSION, Manifest, VlmPart


@pytest.fixture(scope="session")
def vlm_base():
    """(model, processor) of two layers each, with random weights."""
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


@pytest.fixture(scope="session")
def vlm_bundle(vlm_base, tmp_path_factory):
    """The same model as an opened bundle; its context is 512 tokens."""
    from ganglion.export.onnx_vlm import export_vlm
    from ganglion.export.prompt_files import image_settings, write_prompt_files

    model, processor = vlm_base
    root = tmp_path_factory.mktemp("vlm_bundle")
    export_vlm(model, root / "vlm")
    write_prompt_files(processor, root / "vlm")
    part = VlmPart(
        task="exo_assist",
        model_type="qwen2_vl",
        base_id="offline:qwen2_vl?untrained",
        base_hash="",
        adapter_hash="",
        image_token_id=model.config.image_token_id,
        eos_token_ids=(processor.tokenizer.eos_token_id,),
        context_tokens=512,
        image_processor=image_settings(processor),
        precision="float32",
        opset=20,
    )
    seal_bundle(root, Manifest(FORMAT_VERSION, "test", {}, {}, vlm=part))
    return open_bundle(root)
