"""Qwen2-VLs of any size with random weights, for benchmarks without network: as a model, or as a checkpoint on disk.

A checkpoint is written tensor by tensor, so that making one takes no more memory than its largest tensor.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ganglion.export.weights import make_skeleton
from ganglion.model.checkpoint import base_hash, checkpoint_folder, resolve_base

SHARD_BYTES = 500_000_000
RANK = 16
# Text and vision of each, "2b" as Qwen/Qwen2-VL-2B-Instruct's config.json has them; the small ones see next to nothing.
SIZES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "3m": (
        {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "vocab_size": 4096},
        {"depth": 1, "embed_dim": 64, "num_heads": 2, "mlp_ratio": 2},
    ),
    "120m": (
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "vocab_size": 32_000},
        {"depth": 1, "embed_dim": 64, "num_heads": 2, "mlp_ratio": 2},
    ),
    "1b": (
        {"hidden_size": 1280, "intermediate_size": 6144, "num_hidden_layers": 24, "vocab_size": 151_936},
        {"depth": 16, "embed_dim": 1024, "num_heads": 16, "mlp_ratio": 4},
    ),
    "2b": (
        {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "vocab_size": 151_936},
        {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4},
    ),
}


def config_of(size: str) -> dict[str, Any]:
    """A config.json: the offline base's, which fits its tokenizer, with the shapes of that size."""
    base = checkpoint_folder(resolve_base("offline:qwen2_vl?untrained"))
    config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    text, vision = SIZES[size]
    width, tied = text["hidden_size"], size == "2b"
    heads = 12 if width % 12 == 0 else 10
    pairs = width // heads // 2
    rope = {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_section": [pairs - 2 * (pairs * 3 // 8), *[pairs * 3 // 8] * 2],
    }
    config["text_config"] |= text | {"num_attention_heads": heads, "num_key_value_heads": 2, "rope_parameters": rope}
    config["text_config"] |= {"layer_types": ["full_attention"] * text["num_hidden_layers"], "initializer_range": 0.02}
    config["text_config"] |= {"tie_word_embeddings": tied, "dtype": "bfloat16"}
    config["vision_config"] |= {**vision, "hidden_size": width, "dtype": "bfloat16"}
    return config | {"tie_word_embeddings": tied, "dtype": "bfloat16"}


def random_model(size: str) -> Any:
    """The model in float32, whole in memory."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    torch.manual_seed(0)
    config = Qwen2VLConfig(**config_of(size))
    return Qwen2VLForConditionalGeneration._from_config(config, dtype=torch.float32).eval()


def write_base(size: str, folder: Path) -> Path:
    """A checkpoint in bfloat16 with the offline base's tokenizer; one that is there already is kept."""
    if (folder / "config.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in checkpoint_folder(resolve_base("offline:qwen2_vl?untrained")).iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copyfile(file, folder / file.name)
    written = folder / "config.part.json"
    written.write_text(json.dumps(config_of(size)), encoding="utf-8")
    written.rename(folder / "config.json")
    try:
        _write_weights(folder)
    except BaseException:
        (folder / "config.json").unlink()
        raise
    return folder


def _write_weights(folder: Path) -> None:
    torch.manual_seed(0)
    shard: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    for name, hollow in make_skeleton(folder).named_parameters():
        value = torch.empty(hollow.shape, dtype=torch.bfloat16)
        shard[name] = torch.nn.init.ones_(value) if value.ndim < 2 else value.normal_(0, 0.02)
        if sum(one.nbytes for one in shard.values()) >= SHARD_BYTES:
            _write_shard(shard, folder, places)
    _write_shard(shard, folder, places)
    index = json.dumps({"metadata": {}, "weight_map": places})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")


def _write_shard(shard: dict[str, Tensor], folder: Path, places: dict[str, str]) -> None:
    """Write what has come together to the next file, and forget it."""
    file = f"model-{len(set(places.values())):05d}.safetensors"
    save_file(shard, folder / file, {"format": "pt"})
    places |= dict.fromkeys(shard, file)
    shard.clear()


def write_adapter(base: Path, folder: Path, quantization: str = "none") -> Path:
    """A random LoRA on all linear layers of the text model, as `ganglion train sft` would leave it."""
    if (folder / "run.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for name, weight in make_skeleton(base).named_parameters():
        if "language_model.layers" in name and name.endswith("_proj.weight"):
            place = f"base_model.model.{name.removesuffix('.weight')}"
            rows, columns = weight.shape
            tensors[f"{place}.lora_A.weight"] = torch.randn(RANK, columns) * 0.02
            tensors[f"{place}.lora_B.weight"] = torch.randn(rows, RANK) * 0.02
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    targets = sorted({name.split(".")[-3] for name in tensors})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": targets, "bias": "none"}
    config |= {"base_model_name_or_path": str(base), "task_type": None, "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    run = {"task": "exo_assist", "base": str(base), "base_hash": base_hash(base), "quantization": quantization}
    (folder / "run.json").write_text(json.dumps({**run, "dtype": "bfloat16", "seed": 0}), encoding="utf-8")
    return folder
