"""Weights of a model one tensor at a time: of a checkpoint, and of what an adapter was trained on, merged.

A model of billions of weights is written, quantized and compared without ever being in memory as a whole: its graph is
traced from a skeleton (`make_skeleton`), and each tensor is read, merged and packed when it is its turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ganglion.core.errors import InputError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of names in an adapter's file


def make_skeleton(folder: Path | str, quantization: str | None = None) -> Any:
    """A model's modules on the meta device, in eval mode: shapes, names and computed buffers, no weights.

    Args:
        folder: a checkpoint; of its files only config.json is read.
        quantization: None, "nf4" or "int8", as `load_vlm` would load it.

    Raises:
        InputError: the configuration is unreadable or of an unknown model.
    """
    from accelerate import init_empty_weights
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        BitsAndBytesConfig,
        GenerationConfig,
    )
    from transformers.quantizers import AutoHfQuantizer

    from ganglion.model.processor import PROCESSORS
    from ganglion.model.vlm import nf4_config

    try:
        config = AutoConfig.from_pretrained(folder)
        auto = AutoModelForImageTextToText if config.model_type in PROCESSORS else AutoModelForCausalLM
        with init_empty_weights(include_buffers=False):
            model = auto.from_config(config, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise InputError(f"no usable config: {reason:.200}", where=folder, remedy="give a usable checkpoint") from error
    model.tie_weights()
    if (Path(folder) / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    if quantization:
        rounding = nf4_config(torch.float32) if quantization == "nf4" else BitsAndBytesConfig(load_in_8bit=True)
        AutoHfQuantizer.from_config(rounding, pre_quantized=False).preprocess_model(model, device_map={"": "meta"})
    return model.eval()


def filled(skeleton: Any, weights: Mapping[str, Tensor]) -> Any:
    """The skeleton with weights in it, whole in memory; what it ties stays tied."""
    read: dict[int, nn.Parameter] = {}
    for path, owner in skeleton.named_modules():
        for name, hollow in owner._parameters.items():
            if hollow is not None:
                if id(hollow) not in read:
                    read[id(hollow)] = nn.Parameter(weights[f"{path}.{name}".lstrip(".")], requires_grad=False)
                owner._parameters[name] = read[id(hollow)]
    return skeleton


def reader(skeleton: Any, weights: Mapping[str, Tensor]) -> Callable[[nn.Parameter], Tensor]:
    """Parameter of the skeleton -> its weights, for `write_onnx`."""
    names = {id(parameter): name for name, parameter in skeleton.named_parameters()}
    return lambda parameter: weights[names[id(parameter)]]


class CheckpointWeights(Mapping[str, Tensor]):
    """Tensors of a checkpoint by the names that the model's parameters have, each read when it is asked for.

    Names that a model ties together, such as output head and embedding, are all there.

    Args:
        folder: holds *.safetensors.
        skeleton: from `make_skeleton`.

    Raises:
        InputError: a file can't be read, or weights are missing.
    """

    def __init__(self, folder: Path, skeleton: Any) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, str]] = {}
        rename = _renaming(skeleton, folder)
        for file in sorted(folder.glob("*.safetensors")):
            with _opened(file) as stored:
                self._places |= {rename(key): (file, key) for key in stored.keys()}  # noqa: SIM118  # it is no mapping
        groups: dict[int, list[str]] = {}
        for name, parameter in skeleton.named_parameters(remove_duplicate=False):
            groups.setdefault(id(parameter), []).append(name)
        for names in groups.values():
            found = next((self._places[name] for name in names if name in self._places), None)
            if found is None:
                raise InputError(f"lacks the weights {names[0]!r}", where=folder, remedy="download it again")
            self._places |= {name: found for name in names if name not in self._places}
        self._names = [name for names in groups.values() for name in names]

    def keys_in_files(self) -> dict[str, str]:
        """Key in the files -> name, of all that the model has."""
        return {key: name for name, (_, key) in reversed(self._places.items()) if name in self._names}

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape, without reading it."""
        file, key = self._places[name]
        with _opened(file) as stored:
            return tuple(stored.get_slice(key).get_shape())

    def __getitem__(self, name: str) -> Tensor:
        """The tensor as it is stored.

        Raises:
            InputError: it holds NaN or infinity.
        """
        file, key = self._places[name]
        with _opened(file) as stored:
            found: Tensor = stored.get_tensor(key)
        return _finite(found, name, file)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class MergedWeights(Mapping[str, Tensor]):
    """Float32 weights of a base with an adapter merged into it.

    Args:
        base: the base's weights.
        quantized: names of the weights that training held in 4 or 8 bits, and are taken through them here: what the
            adapter was trained on. Empty to merge into the original ones, which the adapter has not met.
        quantization: "nf4" or "int8", of those.
        dtype: what training rounded the base's weights to; None to merge into them as they are stored.
        adapter: folder with adapter_config.json and adapter_model.safetensors.

    Raises:
        InputError: the adapter can't be read, or adapts a layer that the base lacks.
    """

    def __init__(
        self,
        base: Mapping[str, Tensor],
        adapter: Path,
        *,
        quantized: frozenset[str] = frozenset(),
        quantization: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._base, self._quantized, self._quantization, self._dtype = base, quantized, quantization, dtype
        self._deltas = _LoraDeltas(adapter)
        if unknown := sorted(self._deltas.names - set(base)):
            raise InputError(
                f"adapts {unknown[0].removesuffix('.weight')!r}, which the base lacks",
                where=adapter,
                remedy="name the base it was trained on with --base",
            )

    def __getitem__(self, name: str) -> Tensor:
        weight = self._base[name]
        if self._dtype is not None and weight.is_floating_point():
            weight = weight.to(self._dtype)
        if name in self._quantized:
            weight = _NF4_OR_INT8[str(self._quantization)](weight)
        weight = weight.float()
        return weight + self._deltas[name] if name in self._deltas.names else weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


def quantized_names(skeleton: Any) -> frozenset[str]:
    """Names of the weights that a skeleton made with quantization holds in fewer bits."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    linear = (Linear4bit, Linear8bitLt)
    return frozenset(f"{name}.weight" for name, module in skeleton.named_modules() if isinstance(module, linear))


class _LoraDeltas:
    """What a LoRA adapter adds to each weight: B A alpha / r (Hu et al. 2021).

    names  of the weights that it adds to
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / ADAPTER_WEIGHTS
        config = _read_config(folder / "adapter_config.json")
        self._scale = config["lora_alpha"] / config["r"]
        with _opened(self._file) as stored:
            keys = list(stored.keys())
        suffix = ".lora_A.weight"
        self._keys = {
            f"{key.removeprefix(_PREFIX).removesuffix(suffix)}.weight": key.removesuffix(suffix)
            for key in keys
            if key.endswith(suffix)
        }
        self.names = frozenset(self._keys)
        if other := sorted(set(keys) - {f"{key}.lora_{side}.weight" for key in self._keys.values() for side in "AB"}):
            raise InputError(f"holds {other[0]!r}, which is no LoRA matrix", where=self._file, remedy="train it again")

    def __getitem__(self, name: str) -> Tensor:
        key = self._keys[name]
        with _opened(self._file) as stored:
            a, b = (_finite(stored.get_tensor(f"{key}.lora_{side}.weight"), name, self._file) for side in "AB")
        delta: Tensor = (b.float() @ a.float()) * self._scale
        return delta


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        plain = config["peft_type"] == "LORA" and config["r"] > 0 and config["lora_alpha"] > 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"can't be read ({error!r})", where=path, remedy="train the adapter again") from None
    told = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
    if not plain or any(config.get(name) for name in told):
        raise InputError("is no plain LoRA", where=path, remedy="give an adapter that 'ganglion train sft' wrote")
    return config


def _renaming(skeleton: Any, folder: Path) -> Any:
    """Key in a checkpoint's file -> name of the parameter, as transformers renames them when it loads."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    transforms = get_model_conversion_mapping(skeleton)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if not isinstance(one, WeightRenaming)]
    expected = skeleton.state_dict()

    def rename(key: str) -> str:
        name, converter = rename_source_key(key, renamings, converters, skeleton.base_model_prefix, expected)
        if converter is not None:
            raise InputError(f"stores {key!r} in a form that is not read here", where=folder, remedy="save it anew")
        return str(name)

    return rename


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise InputError(f"can't be read ({error})", where=file, remedy="copy it again") from None


def _finite(tensor: Tensor, name: str, file: Path) -> Tensor:
    # its ends show NaN and infinity; isfinite takes the tensor's size once more, in pieces that scatter the heap
    ends = torch.stack(torch.aminmax(tensor)) if tensor.is_floating_point() and tensor.numel() else torch.zeros(0)
    if not torch.isfinite(ends).all():
        raise InputError(f"holds NaN or infinity in {name!r}", where=file, remedy="train or download it again")
    return tensor


def _through_nf4(weight: Tensor) -> Tensor:
    """Into NF4 with double quantization and back, in the precision of the computation."""
    import bitsandbytes as bnb

    packed, state = bnb.functional.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
    found: Tensor = bnb.functional.dequantize_4bit(packed, state)
    return found


def _through_int8(weight: Tensor) -> Tensor:
    """Into the rows of 8 bits of LLM.int8 and back."""
    import bitsandbytes as bnb

    packed, row_max, _ = bnb.functional.int8_vectorwise_quant(weight.to(torch.float16))
    found: Tensor = bnb.functional.int8_vectorwise_dequant(packed, row_max)
    return found


_NF4_OR_INT8 = {"nf4": _through_nf4, "int8": _through_int8}
