"""What `ganglion serve vlm` can be told. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ganglion.serving.binding import Binding


@dataclass(frozen=True)
class VllmOptions:
    """What vLLM is told beyond what the bundle says."""

    executable: Path | None = None
    """Its program; default is `vllm` beside this Python, or on PATH."""
    base: Path | None = None
    """Folder of an adapter's base; default is where it was in training."""
    memory_share: float = 0.9
    """Of the GPU's memory, that weights and cache take; on a CPU, of the machine's."""
    max_model_len: int | None = None
    """Tokens of prompt and answer together; default is what the model was made for. Fewer take less memory."""
    images: int = 8
    """Images in one request at most, those of earlier turns counted."""
    ready_limit_s: float = 900.0
    """How long it may take to come up, in seconds."""
    log: Path | None = None
    """File for what it writes; default is in Ganglion's cache folder."""
    node_address: str | None = None
    """Address by which vLLM's processes on other machines reach this one; default is that there are none."""
    extra: list[str] = field(default_factory=list)
    """Further options for it, as they are: ["--tensor-parallel-size=2"]."""


@dataclass(frozen=True)
class TritonOptions:
    """What Triton is told."""

    tritonserver: Path | None = None
    """The program, or the folder of an environment with it; default is that on PATH, else one that is installed into
    the cache once."""
    grpc_port: int = 8101
    """For clients that stream by gRPC, elsewhere too; --port is that of the generate endpoints, on this machine."""
    metrics_port: int = 8102
    """For Prometheus."""
    log: Path = Path("runs/serve/triton-vlm.log")
    """File that takes its log."""


@dataclass(frozen=True)
class LocalOptions:
    """What the ONNX engine is told."""

    threads: int = 1
    """CPU threads of one operator of the decoder."""
    running: int = 8
    """Answers that are written at once."""
    waiting: int = 64
    """Requests that wait beyond those; further ones are refused at once."""
    kv_mb: float | None = None
    """Memory of keys and values, in MB; default is as much as the decoder's weights take."""
    join_quantized: bool = False
    """Write several answers in one call of a quantized decoder too: faster, but a last bit may change a token."""
    log_json: Path | None = None
    """File that takes an event for each request, as lines of JSON; default is stderr, or Triton's log."""


@dataclass(frozen=True)
class VlmServeConfig:
    """Options of `ganglion serve vlm`."""

    bundle: Path | list[Path]
    """Bundle with a VLM; several adapters of one base, as [A,B], are served together, each by its task's name."""
    backend: str | None = None
    """Which server: in-process (the default) or triton for ONNX bundles, vllm for those of --target vllm."""
    port: int = 8100
    """Port of the HTTP endpoints: OpenAI's, or Triton's generate."""
    bind: Binding = field(default_factory=Binding)
    """Where it listens, and what guards it."""
    vllm: VllmOptions = field(default_factory=VllmOptions)
    """Of the backend vllm."""
    triton: TritonOptions = field(default_factory=TritonOptions)
    """Of the backend triton."""
    local: LocalOptions = field(default_factory=LocalOptions)
    """Of the ONNX engine, in-process or in Triton."""

    @property
    def bundles(self) -> list[Path]:
        """Every bundle that was named."""
        return [Path(path) for path in (self.bundle if isinstance(self.bundle, list) else [self.bundle])]
