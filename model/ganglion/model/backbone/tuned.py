"""What a backbone learned, as a folder beside the policy that was trained with it.

backbone.json                                   what was let learn, and of which base
adapter_config.json  adapter_model.safetensors  lora: a plain PEFT adapter of the whole base
model.safetensors                               full: the tensors that learned, by their names in the base
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ganglion.core.errors import InputError
from ganglion.core.paths import read_json, write_json, written_aside
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.finetune import Groups, finetune, learning
from ganglion.model.backbone.options import FinetuneOptions
from ganglion.model.tensor_file import open_tensors, write_tensors

TUNED = "backbone"
ABOUT, _VERSION = "backbone.json", 1
_BOUND = ("base_hash", "vl_layer")  # facts that what was learned is of no use without
FILES = {"lora": "adapter_model.safetensors", "full": "model.safetensors"}


def save_tuned(backbone: Backbone, folder: Path) -> None:
    """Write what was learned since `finetune(backbone, options)`; nothing where it is frozen.

    Raises:
        GanglionError: the disk is full or the folder can't be written.
    """
    options = backbone.tuned
    if options.mode == "none":
        return
    facts = backbone.facts.to_dict()
    with written_aside(folder) as aside:
        aside.mkdir()
        write_tensors(aside / FILES[options.mode], _learned(backbone))
        if options.mode == "lora":
            config = backbone.model.peft_config["default"]
            config.base_model_name_or_path = backbone.facts.base  # not a path in this machine's cache
            config.save_pretrained(aside)
        bound = {name: facts[name] for name in ("base", *_BOUND)}
        write_json(aside / ABOUT, {"format_version": _VERSION, **bound, "finetune": asdict(options)})


def load_tuned(backbone: Backbone, folder: Path) -> Groups:
    """Give a fresh backbone what was learned: its features are bit for bit those of the one that was saved.

    Returns:
        the parameters that learned, which may go on learning: see `finetune`.

    Raises:
        InputError: the folder holds nothing learned, or it is of another base or layer, or damaged.
    """
    about = read_json(folder / ABOUT, "give a folder with a tuned backbone", version=_VERSION)
    facts = backbone.facts.to_dict()
    for name in _BOUND:
        if about.get(name) != facts[name]:
            raise InputError(
                f"is of another {name} ({about.get(name)!s:.12}, not {facts[name]!s:.12})",
                where=folder,
                remedy="give the base and layer it was trained with",
            )
    try:
        options = FinetuneOptions(**about["finetune"])
        path = folder / FILES[options.mode]
    except (KeyError, TypeError) as error:
        raise InputError(f"can't be used ({error})", where=folder / ABOUT, remedy="train again") from None
    values, _ = open_tensors(path)
    groups = finetune(backbone, options)
    learned = _learned(backbone)
    if (found := _shapes(values)) != (wanted := _shapes(learned)):
        name = min(found.items() ^ wanted.items())[0]
        raise InputError(
            f"{name} has shape {found.get(name)}, the base wants {wanted.get(name)}", where=path, remedy="train again"
        )
    with torch.no_grad():
        for name, tensor in learned.items():
            tensor.copy_(values[name])
    return groups


def _learned(backbone: Backbone) -> dict[str, Tensor]:
    """What learns, under the names it has on disk; not copies."""
    if hasattr(backbone.model, "peft_config"):
        from peft import get_peft_model_state_dict

        return dict(get_peft_model_state_dict(backbone.model, save_embedding_layers=False))
    return dict(learning(backbone))


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
