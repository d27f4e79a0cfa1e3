"""An adapter of the offline language model, of random weights that change what it says."""

import json


def language_adapter(folder):
    """Saved to `folder`, which is returned."""
    import torch
    from peft import LoraConfig, get_peft_model

    from ganglion.model.checkpoint import base_hash, resolve_base
    from ganglion.model.vlm import load_vlm

    name = "offline:qwen2?untrained"
    torch.manual_seed(0)
    model = load_vlm(resolve_base(name), quantization="nf4", dtype=torch.float32, device="cpu")
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    run = {"task": "robot_code", "base": name, "base_hash": base_hash(resolve_base(name)), "quantization": "nf4"}
    (folder / "run.json").write_text(json.dumps(run))
    return folder
