"""The model repository that a policy is served from: `policy`, and beside it the bundle's own `vl_encoder`.

Robots may ask `policy` alone. Whoever could ask the cameras' graph might claim pictures of any size, and the server
would make room for them; Triton guards no single model, so that graph has a name that cannot be guessed.

FOLDER/policy/config.pbtxt  what the server is told
FOLDER/policy/1/model.py    leads to ganglion.serving.triton.policy_model
FOLDER/vl_encoder-HEX       the bundle's, on no more threads than leave cores for hops
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from ganglion.core.bundle import Bundle
from ganglion.core.errors import BundleError
from ganglion.serving.triton.config_text import parameters_text, tensors_text
from ganglion.serving.triton.install import lead_to

# Triton refuses a sequence that it has no slot for only by letting it wait; the model itself says that it is full, so
# there are slots for many more than it serves. A refused robot's is free again after the idle time.
_CANDIDATES = 4096
_NAME = re.compile(r'^name: "vl_encoder"$', re.MULTILINE)
_THREADS = re.compile(r'(key:\s*"intra_op_thread_count"\s*value\s*\{\s*string_value:\s*")(\d+)(")')

_CONFIG = """\
name: "policy"
backend: "python"
max_batch_size: 0
{inputs}
{outputs}
sequence_batching {{
  max_sequence_idle_microseconds: {idle_us}
  oldest {{ max_candidate_sequences: {candidates} }}
}}
instance_group {{ kind: KIND_CPU count: {instances} }}
{parameters}
"""


@dataclass(frozen=True)
class PolicyHosting:
    """How robots are served.

    Args:
        slots: robots that one instance serves at once; a further one is refused.
        instances: processes, each with the policy's graphs; one core each is of use.
        idle_s: a robot that is silent for so long loses its session.
        hold_after_ms: age of VL features beyond which replies are not ready.
        vl_workers: robots of an instance whose frames are encoded at once.
        vl_threads: CPU threads of one run of `vl_encoder`, at most.
        log_json: file that takes events; None for the server's log.
    """

    slots: int = 8
    instances: int = 1
    idle_s: float = 5.0
    hold_after_ms: float = 1000.0
    vl_workers: int = 4
    vl_threads: int = 1
    log_json: Path | None = None


def write_repository(bundle: Bundle, folder: Path, hosting: PolicyHosting) -> list[str]:
    """Write it; returns the names of its models.

    Raises:
        BundleError: the bundle holds no policy, or no Triton configuration for its cameras.
    """
    robot = bundle.robot
    if robot is None or bundle.manifest.policy is None:
        raise BundleError("holds no policy", where=bundle.root, remedy="export one with --policy")
    version = folder / "policy" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(lead_to("policy_model"), encoding="utf-8")
    encoder = _add_encoder(bundle, folder, hosting) if robot.cameras else None
    channels = robot.sensors[0].channels if robot.sensors else 0
    config = policy_config(bundle, channels, robot.actions.dim, hosting, encoder)
    (folder / "policy" / "config.pbtxt").write_text(config, encoding="utf-8")
    return ["policy", encoder] if encoder else ["policy"]


def _add_encoder(bundle: Bundle, folder: Path, hosting: PolicyHosting) -> str:
    """The cameras' graph, under the name that is returned."""
    exported, name = bundle.root / "triton" / "vl_encoder", f"vl_encoder-{secrets.token_hex(16)}"
    if not exported.is_dir():
        raise BundleError("holds no Triton models", where=bundle.root, remedy="export it with --target triton")
    (folder / name).mkdir()
    for path in exported.iterdir():
        if path.name == "config.pbtxt":
            text = with_threads(path.read_text(encoding="utf-8"), hosting.vl_threads)
            (folder / name / path.name).write_text(_NAME.sub(f'name: "{name}"', text), encoding="utf-8")
        else:
            (folder / name / path.name).symlink_to(path.resolve())
    return name


def with_threads(config: str, most: int) -> str:
    """A config.pbtxt of an ONNX graph that takes no more threads for an operator than `most`."""
    return _THREADS.sub(lambda found: f"{found[1]}{min(most, int(found[2]))}{found[3]}", config)


def policy_config(
    bundle: Bundle, channels: int, action_dim: int, hosting: PolicyHosting, encoder: str | None = None
) -> str:
    """The text of policy/config.pbtxt, see `core.policy_wire` for the tensors.

    Args:
        bundle: where it is.
        channels: of a sample.
        action_dim: of an action.
        hosting: how robots are served.
        encoder: the name of the cameras' graph; None where there are none.
    """
    inputs = {
        "samples_fp16": ("FP16", [-1, channels]),
        "samples_fp32": ("FP32", [-1, channels]),
        "clock": ("INT64", [2]),
        "prime": ("BOOL", [1]),
        "state": ("FP32", [-1]),
        "frames": ("STRING", [-1]),
        "frame_cameras": ("STRING", [-1]),
        "frame_stamps_ns": ("INT64", [-1]),
        "instruction": ("STRING", [1]),
        "token": ("UINT8", [-1]),
    }
    outputs = {
        "chunk": ("FP32", [-1, action_dim]),
        "report": ("UINT8", [-1]),
    }
    parameters = {
        "bundle": str(bundle.root.resolve()),
        "slots": str(hosting.slots),
        "idle_s": str(hosting.idle_s),
        "hold_after_ms": str(hosting.hold_after_ms),
        "vl_workers": str(hosting.vl_workers),
    }
    if encoder is not None:
        parameters["vl_encoder"] = encoder
    if hosting.log_json is not None:
        parameters["log_json"] = str(hosting.log_json.resolve())
    return _CONFIG.format(
        inputs=tensors_text("input", inputs, required=("clock",)),
        outputs=tensors_text("output", outputs, required=outputs),
        parameters=parameters_text(parameters),
        idle_us=round(hosting.idle_s * 1e6),
        candidates=_CANDIDATES,
        instances=hosting.instances,
    )
