"""An adapter of three steps, as `ganglion train` leaves one."""

import json


def train_adapter(base, folder):
    """Returns (folder, traces of the very model in memory that was trained, prompts they are of)."""
    import torch
    from peft import LoraConfig, get_peft_model

    from ganglion.export.parity import ask_torch, take_traces
    from ganglion.export.prompts import fresh_cases, make_prompts
    from ganglion.model.checkpoint import base_hash, resolve_base
    from ganglion.model.processor import load_processor
    from ganglion.model.vlm import load_vlm

    torch.manual_seed(0)
    path = resolve_base(base)
    model = load_vlm(path, quantization="nf4", dtype=torch.float32, device="cpu")
    prompts = make_prompts(model, load_processor(path), fresh_cases(3, seed=5))
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for prompt in prompts:
        model(**prompt.inputs, labels=prompt.inputs["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    run = {"task": "exo_assist", "base": base, "base_hash": base_hash(path), "quantization": "nf4", "seed": 0}
    (folder / "run.json").write_text(json.dumps(run))
    return folder, take_traces(ask_torch(model.eval().get_base_model()), prompts, 0), prompts


def load_merged_of(folder):
    """The merged model of an adapter's folder, as export asks it."""
    from ganglion.export.merge import load_merged, merged_once, open_adapter

    with merged_once(open_adapter(folder)) as weights:
        return load_merged(weights)
