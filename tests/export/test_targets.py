"""Which precision a target has, what it defaults to, and what doesn't go together."""

import pytest

from ganglion.core.errors import InputError
from ganglion.export.targets import DEVICES, TARGETS, Precision, precision_for

NONE = {"language": None, "vision": None, "head": None}


@pytest.mark.parametrize(
    ("target", "device", "asked", "found"),
    [
        ("onnx", "cpu", {}, Precision("float32", "float32", "float32")),
        ("onnx", "cpu", {"language": "int4"}, Precision("int4", "float32", "float32")),
        ("onnx", "cuda", {}, Precision("float16", "float16", "float16")),
        ("triton", "cuda-tensorrt", {"head": "float32"}, Precision("float16", "float16", "float32")),
        ("vllm", "cuda", {}, Precision("bfloat16", "bfloat16")),
        ("vllm", "jetson-orin", {}, Precision("int4", "bfloat16")),
        ("vllm", "jetson-thor", {}, Precision("fp8", "bfloat16")),
        ("hf", "jetson-orin", {}, Precision("bfloat16", "bfloat16")),
        ("hf", "cpu", {"language": "float32"}, Precision("float32", "float32")),
        ("vllm", "cuda", {"language": "int8", "vision": "float16"}, Precision("int8", "float16")),
        ("vllm", "cuda", {"merge": "none"}, Precision("nf4", "bfloat16")),
        ("hf", "cpu", {"merge": "none", "language": "float32"}, Precision("float32", "float32")),
    ],
)
def test_what_is_not_asked_for_goes_by_target_and_device(target, device, asked, found):
    assert precision_for(target, device, **NONE | asked) == found


@pytest.mark.parametrize(
    ("target", "device", "asked", "message"),
    [
        ("onnx", "cpu", {"language": "fp8"}, "--precision.language is 'fp8'"),
        ("onnx", "cpu", {"head": "int4"}, "--precision.head is 'int4'"),
        ("hf", "cpu", {"language": "int4"}, "--precision.language is 'int4'"),
        ("hf", "cpu", {"language": "float32", "vision": "float16"}, "a checkpoint has one type"),
        ("vllm", "cuda", {"language": "nf4"}, "nf4 is how the adapter was trained"),
        ("triton", "cuda", {"merge": "none"}, "--merge none is for"),
        ("vllm", "cuda", {"merge": "none", "language": "int4"}, "leaves the base as it is"),
        ("vllm", "cpu", {"merge": "none"}, "on GPUs only"),
    ],
)
def test_what_can_not_be_is_refused_by_name(target, device, asked, message):
    with pytest.raises(InputError, match=message):
        precision_for(target, device, **NONE | asked)


def test_every_target_has_a_default_for_every_device():
    for target in TARGETS:
        for device in DEVICES:
            assert precision_for(target, device, **NONE).language
