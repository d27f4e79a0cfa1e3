"""A merged checkpoint of a language model as optimum's ONNX, in float32 and in int8.

    .venv-optimum/bin/python tests/optimum/convert.py CHECKPOINT FOLDER

writes FOLDER/float32 and FOLDER/int8, and prints what it took as JSON. It runs in the environment that
`environment.sh` makes and knows nothing of Ganglion, so that nothing of ours can be wrong in both of what is compared.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from optimum.exporters.onnx import main_export
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    before = _peak_bytes()
    convert(args.checkpoint, args.folder / "float32")
    peak = _peak_bytes()
    quantize(args.folder / "float32", args.folder / "int8")
    print(json.dumps({"imports_peak_bytes": before, "export_peak_bytes": peak}))


def convert(checkpoint: Path, folder: Path) -> None:
    """Export to `model.onnx` with a key-value cache, in float32."""
    with TemporaryDirectory() as mended:
        for file in (*checkpoint.glob("*.safetensors"), *checkpoint.glob("*.safetensors.index.json")):
            (Path(mended) / file.name).symlink_to(file.resolve())
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        (Path(mended) / "config.json").write_text(json.dumps(as_transformers_4(config)), encoding="utf-8")
        main_export(mended, folder, task="text-generation-with-past", dtype="fp32", do_validation=False)


def as_transformers_4(config: dict[str, Any]) -> dict[str, Any]:
    """A config.json of transformers 5 as transformers 4.57 reads it.

    Transformers 5 keeps everything about rotary positions in `rope_parameters`. 4.57 looks for `rope_theta` and
    `rope_scaling`, finds neither, and goes on with its own default of 10000 without a word: other logits, no error.
    """
    rope = config.pop("rope_parameters", None)
    if rope is None:
        return config
    if "rope_theta" not in rope:
        raise SystemExit("rope_parameters differ between kinds of layer, which transformers 4.57 can't be told")
    theta = rope.pop("rope_theta")
    return config | {"rope_theta": theta, "rope_scaling": rope if rope.get("rope_type") != "default" else None}


def quantize(source: Path, folder: Path) -> None:
    """Products with weights in int8, a scale for each output channel; activations quantized as they come.

    Left to itself optimum's quantizer takes every MatMul, those of two activations and the one that turns positions
    into rotary angles included: up to twice as far from float32. Ganglion leaves these as they are; so does this.
    """
    quantizer = ORTQuantizer.from_pretrained(source, file_name="model.onnx")
    scheme = AutoQuantizationConfig.avx512_vnni(
        is_static=False,
        per_channel=True,
        operators_to_quantize=["MatMul"],
        nodes_to_exclude=_products_without_weights(source / "model.onnx"),
    )
    quantizer.quantize(scheme, folder, file_suffix="")


def _products_without_weights(file: Path) -> list[str]:
    graph = onnx.load(file, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not weights & set(node.input)]


def _peak_bytes() -> int:
    """Largest resident memory of this process; getrusage would count that of the process which started it too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


if __name__ == "__main__":
    main()
