"""`ganglion doctor`: what this machine has for each part of the stack, what it lacks, and the remedy.

Runs on the base install. Every probe looks at the real thing: providers that onnxruntime would load, a segment that
shared memory really gives, a scheduling class that the kernel really grants.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import json
import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ganglion.core.findings import FAILED, NOTE, OK, WARNING, Finding, as_lines
from ganglion.core.paths import cache_dir

_MIN_DISK_GB = 5.0
_MIN_SHM_MB = 64
_REALTIME_PRIORITY = 50
# What each extra brings; the robot's side needs "base" only.
_PACKAGES = {
    "base": ("numpy", "pillow", "PyYAML", "jsonargparse", "jsonschema", "tritonclient", "httpx"),
    "serve": ("onnxruntime", "tokenizers", "jinja2", "llguidance"),
    "train": ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors"),
    "export": ("onnx", "onnxscript", "llmcompressor"),
    "report": ("matplotlib",),
}


@dataclass(frozen=True)
class DoctorConfig:
    """Look at this machine and say what works."""

    json: bool = False
    """Print the findings as JSON."""


def run(config: DoctorConfig) -> int:
    """Print all findings; 1 if one of them failed."""
    findings = examine()
    if config.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(as_lines(findings)))
    return int(any(finding.severity == FAILED for finding in findings))


def examine() -> list[Finding]:
    """All findings, in the order a person would read them."""
    probes: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _gpu,
        _providers,
        _shared_memory,
        _realtime,
        _disk,
    )
    return [finding for probe in probes for finding in probe()]


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if platform.system() != "Linux":
        yield Finding("python", WARNING, found, "acquisition needs Linux; training and export may work elsewhere")
    else:
        yield Finding("python", OK, found)


def _packages() -> Iterator[Finding]:
    for extra, names in _PACKAGES.items():
        versions = {name: _version(name) for name in names}
        if extra == "serve" and versions["onnxruntime"] is None:
            versions["onnxruntime"] = _version("onnxruntime-gpu")
        found = ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())
        if None not in versions.values():
            yield Finding(f"packages [{extra}]", OK, found)
        elif extra == "base":
            yield Finding("packages [base]", FAILED, found, "pip install ganglion")
        else:
            yield Finding(f"packages [{extra}]", NOTE, found, f"pip install 'ganglion[{extra}]'")
    if _version("torchvision"):
        problem = _import_problem("torchvision") if _version("torch") else "torch is absent"
        if problem:
            yield Finding("torchvision", WARNING, problem, "pip uninstall torchvision: it breaks transformers' imports")


def _gpu() -> Iterator[Finding]:
    command = shutil.which("nvidia-smi")
    if command is None:
        tegra = Path("/etc/nv_tegra_release")
        if tegra.is_file():
            yield Finding("gpu", OK, f"Jetson, {tegra.read_text().splitlines()[0].strip('# ')}")
        else:
            yield Finding(
                "gpu", NOTE, "none found (no nvidia-smi, no Jetson release file)", "everything runs on the CPU, slower"
            )
        return
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("gpu", WARNING, f"nvidia-smi failed ({error})", "check the driver with nvidia-smi")
        return
    for line in answer.stdout.strip().splitlines():
        yield Finding("gpu", OK, line)


def _providers() -> Iterator[Finding]:
    both = _version("onnxruntime") and _version("onnxruntime-gpu")
    if both:
        yield Finding(
            "onnxruntime",
            FAILED,
            "onnxruntime and onnxruntime-gpu are both installed; the last one wins",
            "pip uninstall both, then install the one you need",
        )
    if not (_version("onnxruntime") or _version("onnxruntime-gpu")):
        yield Finding("onnxruntime providers", NOTE, "onnxruntime is absent", "pip install 'ganglion[serve]'")
        return
    try:
        runtime = importlib.import_module("onnxruntime")
    except Exception as error:
        yield Finding(
            "onnxruntime providers", FAILED, f"import fails: {error}", "pip install --force-reinstall onnxruntime"
        )
        return
    listed = [name for name in runtime.get_available_providers() if name != "AzureExecutionProvider"]
    silent = [name for name in listed if not _loads(runtime, name)]
    loads = ", ".join(name for name in listed if name not in silent)
    if silent:
        remedy = "install the CUDA and cuDNN libraries that this onnxruntime build names, or use [serve]"
        yield Finding(
            "onnxruntime providers",
            WARNING,
            f"{loads} open a session; {', '.join(silent)}: listed, but fall back to the CPU",
            remedy,
        )
    else:
        yield Finding("onnxruntime providers", OK, f"{loads}: a session opened with each")


def _loads(runtime: object, provider: str) -> bool:
    """Whether a session asked for that provider really gets it: onnxruntime falls back to the CPU without an error."""
    # The smallest valid model: ir_version 8, graph "g" with one Identity from x to y (float, shape (1,)), opset 13.
    value = bytes([0x12, 0x0A, 0x0A, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0A, 0x02, 0x08, 0x01])
    node = b"\x0a\x01x\x12\x01y\x22\x08Identity"

    def field(tag: int, content: bytes) -> bytes:
        return bytes([tag, len(content)]) + content

    graph = (
        field(0x0A, node)
        + field(0x12, b"g")
        + field(0x5A, field(0x0A, b"x") + value)
        + field(0x62, field(0x0A, b"y") + value)
    )
    model = b"\x08\x08" + field(0x3A, graph) + field(0x42, b"\x10\x0d")
    try:
        runtime.set_default_logger_severity(4)  # type: ignore[attr-defined]  # onnxruntime may be absent at check time
        session = runtime.InferenceSession(model, providers=[provider])  # type: ignore[attr-defined]
        return provider in session.get_providers()
    except Exception:
        return False


def _shared_memory() -> Iterator[Finding]:
    name = Path("/dev/shm") / f"ganglion-doctor-{os.getpid()}"
    try:
        with name.open("x+b") as file:
            file.truncate(4096)
            with mmap.mmap(file.fileno(), 4096) as view:
                view[:2] = b"ok"
        free_mb = shutil.disk_usage("/dev/shm").free / 1e6
    except OSError as error:
        yield Finding(
            "shared memory", FAILED, f"/dev/shm: {error.strerror}", "mount a tmpfs there (docker: --shm-size=256m)"
        )
        return
    finally:
        name.unlink(missing_ok=True)
    found = f"/dev/shm works, {free_mb:,.0f} MB free"
    if free_mb < _MIN_SHM_MB:
        yield Finding("shared memory", WARNING, found, f"enlarge it to {_MIN_SHM_MB} MB (docker: --shm-size=256m)")
    else:
        yield Finding("shared memory", OK, found)


def _realtime() -> Iterator[Finding]:
    remedy = "grant rtprio and memlock in /etc/security/limits.d (docker: --cap-add SYS_NICE --ulimit memlock=-1)"
    # A child tries, so that this process keeps its class whatever happens.
    attempt = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({_REALTIME_PRIORITY}))"
    child = subprocess.run([sys.executable, "-c", attempt], capture_output=True, check=False)
    if child.returncode == 0:
        yield Finding("real-time scheduling", OK, f"SCHED_FIFO {_REALTIME_PRIORITY} is granted")
    else:
        yield Finding("real-time scheduling", WARNING, "SCHED_FIFO is refused; late ticks are more likely", remedy)
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    libc = ctypes.CDLL(None, use_errno=True)
    page = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    locked = libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE)) == 0
    amount = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit / 1e6:,.0f} MB"
    if locked:
        yield Finding("memory locking", OK, f"granted, limit {amount}")
    else:
        yield Finding("memory locking", WARNING, f"refused, limit {amount}", remedy)


def _disk() -> Iterator[Finding]:
    for name, folder in (("disk (here)", Path.cwd()), ("disk (cache)", cache_dir())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free_gb = shutil.disk_usage(existing).free / 1e9
        found = f"{folder}: {free_gb:,.1f} GB free"
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            yield Finding(
                name, FAILED, f"{folder}: {error.strerror}", "choose a folder you may write to (GANGLION_CACHE)"
            )
            continue
        if free_gb < _MIN_DISK_GB:
            yield Finding(name, WARNING, found, f"free {_MIN_DISK_GB:g} GB, or set GANGLION_CACHE to another disk")
        else:
            yield Finding(name, OK, found)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_problem(module: str) -> str | None:
    child = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return child.stderr.strip().splitlines()[-1] if child.returncode else None
