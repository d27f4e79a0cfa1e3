"""The command line and the environment of vLLM for a plan."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ganglion.core.errors import InputError
from ganglion.serving.binding import Binding
from ganglion.serving.command.vlm_config import VllmOptions
from ganglion.serving.vllm import inside
from ganglion.serving.vllm.plan import ModelPlan, lora_rank

# Images come within requests. What vLLM fetches for its clients it would fetch from inside the robot's network.
_NOWHERE = "nowhere.invalid"


def vllm_command(program: Sequence[str], plan: ModelPlan, bind: Binding, port: int, options: VllmOptions) -> list[str]:
    """Program and arguments; the token is not among them, since everybody on a machine can read those.

    Raises:
        InputError: an option makes no sense.
    """
    _check(options, plan)
    command = [*program, "serve", str(plan.model.resolve()), "--served-model-name", plan.name]
    command += ["--host", bind.host, "--port", str(port)]
    if bind.certificate and bind.key:
        command += ["--ssl-certfile", str(bind.certificate.resolve()), "--ssl-keyfile", str(bind.key.resolve())]
    if bind.token is not None:
        command += ["--middleware", "ganglion_guard.TokenGuard"]
    command += ["--dtype", plan.part.precision["vision"]]
    if plan.part.precision["language"] == "nf4":
        command += ["--quantization", "bitsandbytes"]
    command += ["--max-model-len", str(options.max_model_len or plan.context_tokens)]
    command += ["--gpu-memory-utilization", f"{options.memory_share:g}"]
    if plan.part.image_token_id is not None:
        command += ["--limit-mm-per-prompt", json.dumps({"image": options.images, "video": 0})]
        command += ["--allowed-media-domains", _NOWHERE]
    # The library that Ganglion's own decoder is constrained by, so that both write the same form of an answer.
    command += ["--structured-outputs-config", json.dumps({"backend": "guidance", "disable_any_whitespace": True})]
    # A request is answered as it asks: no penalties or temperatures from the checkpoint's generation_config.json.
    command += ["--generation-config", "vllm"]
    command += ["--no-enable-log-requests"]
    return [*command, *_adapters(plan), *options.extra]


def vllm_environment(bind: Binding, node_address: str | None = None) -> dict[str, str]:
    """Variables to set for it, beside those of this process.

    Args:
        bind: what guards it.
        node_address: see `VllmOptions`.
    """
    found = {
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",  # everything it needs is in a folder here
        "VLLM_CPU_INT4_W4A8": "0",  # else a CPU rounds activations of a W4A16 model to 8 bits: faster, another model
        "VLLM_HOST_IP": node_address or "127.0.0.1",  # for what its own processes say to each other
        "VLLM_NO_USAGE_STATS": "1",
    }
    if (token := bind.token) is not None:
        path = [str(Path(inside.__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
        found |= {"VLLM_API_KEY": token, "PYTHONPATH": os.pathsep.join(part for part in path if part)}
    return found


def _adapters(plan: ModelPlan) -> list[str]:
    if not plan.adapters:
        return []
    found = ["--enable-lora", "--max-lora-rank", str(lora_rank(plan.adapters)), "--max-loras", str(len(plan.adapters))]
    if any(adapter.vision for adapter in plan.adapters):
        found += ["--enable-tower-connector-lora"]  # without it the adapter's part in the vision tower is left out
    modules = [
        json.dumps({"name": adapter.name, "path": str(adapter.folder.resolve()), "base_model_name": plan.name})
        for adapter in plan.adapters
    ]
    return [*found, "--lora-modules", *modules]


def _check(options: VllmOptions, plan: ModelPlan) -> None:
    if not 0 < options.memory_share <= 1:
        raise InputError(f"--vllm.memory_share is {options.memory_share:g}", remedy="give a share above 0, at most 1")
    if options.max_model_len is not None and not 0 < options.max_model_len <= plan.context_tokens:
        raise InputError(
            f"--vllm.max_model_len is {options.max_model_len}", remedy=f"give 1 to {plan.context_tokens}, the model's"
        )
    if options.images < 1:
        raise InputError(f"--vllm.images is {options.images}", remedy="give 1 or more")
    if options.node_address is None and _names_ray(options.extra):
        raise InputError(
            "vLLM's Ray engine looks for this machine by its address, and none is named",
            remedy="give the one that Ray knows it by with --vllm.node_address",
        )


def _names_ray(extra: Sequence[str]) -> bool:
    return "--distributed-executor-backend=ray" in " ".join(extra).replace("_", "-").replace("backend ", "backend=")
