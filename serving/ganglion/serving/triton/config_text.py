"""Parts of a model's config.pbtxt."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence


def tensors_text(side: str, tensors: Mapping[str, tuple[str, Sequence[int]]], required: Container[str]) -> str:
    """Tensors by name, each with its type and dimensions.

    Args:
        side: "input" or "output".
        tensors: by name.
        required: names of those that may not be absent.
    """
    return "\n".join(
        f'{side} {{ name: "{name}" data_type: TYPE_{kind} dims: {[*dims]}'
        f"{'' if name in required else ' optional: true'} }}"
        for name, (kind, dims) in tensors.items()
    )


def parameters_text(parameters: Mapping[str, str]) -> str:
    """What a model is told beside its tensors."""
    return "\n".join(
        f'parameters {{ key: "{name}" value {{ string_value: {json.dumps(value)} }} }}'
        for name, value in parameters.items()
    )
