"""The model repository that a VLM is served from.

FOLDER/vlm/config.pbtxt  what the server is told
FOLDER/vlm/1/model.py    leads to ganglion.serving.triton.vlm_model
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ganglion.core.bundle import Bundle
from ganglion.serving.triton.config_text import parameters_text, tensors_text
from ganglion.serving.triton.install import lead_to
from ganglion.serving.triton.vlm_wire import INPUTS, OUTPUTS
from ganglion.serving.vlm.engine import onnx_part
from ganglion.serving.vlm.limits import ServingLimits

MODEL = "vlm"

# One instance: the engine's scheduler puts answers together, which must all be in its process.
_CONFIG = """\
name: "vlm"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
{inputs}
{outputs}
instance_group {{ kind: KIND_CPU count: 1 }}
{parameters}
"""


def write_vlm_repository(
    bundle: Bundle, folder: Path, limits: ServingLimits, threads: int, log_json: Path | None = None
) -> list[str]:
    """Write it; returns the names of its models.

    Args:
        bundle: with a VLM in ONNX.
        folder: takes it.
        limits: of the engine.
        threads: CPU threads of one operator.
        log_json: file that takes events; None for the server's log.

    Raises:
        BundleError: the bundle holds no VLM in ONNX.
    """
    onnx_part(bundle)
    version = folder / MODEL / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(lead_to("vlm_model"), encoding="utf-8")
    (folder / MODEL / "config.pbtxt").write_text(vlm_config(bundle, limits, threads, log_json), encoding="utf-8")
    return [MODEL]


def vlm_config(bundle: Bundle, limits: ServingLimits, threads: int, log_json: Path | None = None) -> str:
    """The text of vlm/config.pbtxt; parameters are JSON."""
    parameters = {"bundle": str(bundle.root.resolve()), "limits": asdict(limits), "threads": threads}
    if log_json is not None:
        parameters["log_json"] = str(log_json.resolve())
    return _CONFIG.format(
        inputs=tensors_text("input", INPUTS, required=()),
        outputs=tensors_text("output", OUTPUTS, required=OUTPUTS),
        parameters=parameters_text({name: json.dumps(value) for name, value in parameters.items()}),
    )
