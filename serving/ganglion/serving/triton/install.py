"""Where a tritonserver is, and what its python models need around them.

    python -m ganglion.serving.triton.install FOLDER   # an environment with a server in it, from wheels

Looked for in this order: what the user names, `tritonserver` on PATH (as in NVIDIA's containers), and an environment of
our own, made on first use from the nvidia-pytriton wheel. That wheel brings tritonserver 2.51 with its python backend,
CPU only, without the onnxruntime backend, for which ganglion.serving.triton.onnx_backend stands. The python backend's
process needs numpy below 2: with numpy 2 outputs come back empty, without an error. So it has packages of its own, of
the same versions as here but for numpy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import ganglion.core
import ganglion.serving
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.paths import cache_dir, written_aside

READY = ".ready"
PATHS = "GANGLION_PATH"  # where python models find ganglion, and in containers what it needs
_WHEEL = "nvidia-pytriton==0.7.0"
_NUMPY = "numpy==1.26.4"
# What serving.policy and serving.vlm import, and what these import; of the versions that are installed here.
_AS_HERE = (
    "onnxruntime", "flatbuffers", "packaging", "protobuf", "tokenizers", "jinja2", "markupsafe", "pillow", "llguidance",
    "pyyaml",
)  # fmt: skip


@dataclass(frozen=True)
class TritonInstall:
    """A server and its surroundings.

    binary       tritonserver
    backends     folder of backends; None: the server's own
    environment  variables that it is started with, beside those of this process
    options      that this server wants, whatever it serves
    """

    binary: Path
    backends: Path | None
    environment: dict[str, str]
    options: tuple[str, ...] = ()


def find_triton(named: Path | None = None) -> TritonInstall:
    """The server to start.

    Args:
        named: a tritonserver, or the folder of an environment that `make_environment` made.

    Raises:
        InputError: what is named is neither.
        GanglionError: there is none, and none could be installed.
    """
    if named is not None and named.is_dir():
        return from_environment(named)
    if named is not None and not os.access(named, os.X_OK):
        raise InputError("is no program", where=f"--tritonserver {named}", remedy="name a tritonserver")
    if found := named or shutil.which("tritonserver"):
        return TritonInstall(Path(found), None, {PATHS: os.pathsep.join([*_roots(), *_installed()])})
    folder = cache_dir() / "triton"
    if not (folder / READY).is_file() or (folder / READY).read_text(encoding="utf-8") != _wanted():
        make_environment(folder)
    return from_environment(folder)


def from_environment(folder: Path) -> TritonInstall:
    """The server of an environment that `make_environment` made.

    Raises:
        InputError: it holds none.
    """
    wheel = _wheel(folder)
    if not (folder / READY).is_file() or not (wheel / "bin" / "tritonserver").is_file():
        raise InputError(
            "holds no tritonserver", where=folder, remedy=f"python -m ganglion.serving.triton.install {folder}"
        )
    libraries = [str(_site(folder) / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    return TritonInstall(
        wheel / "bin" / "tritonserver",
        folder / "backends",
        {
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "VIRTUAL_ENV": str(folder),
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", "")]),
            PATHS: os.pathsep.join(_roots()),
        },
        (f"--cache-directory={wheel / 'caches'}",),
    )


def lead_to(module: str) -> str:
    """The text of a model.py that is a module of this package."""
    return f'''"""Leads to ganglion.serving.triton.{module}. The python backend does not look at PYTHONPATH."""

import os
import sys

sys.path += [path for path in os.environ["{PATHS}"].split(os.pathsep) if path not in sys.path]
from ganglion.serving.triton.{module} import TritonPythonModel  # noqa: F401
'''


def make_environment(folder: Path) -> None:
    """Make an environment with a server in it, whole or not at all.

    Raises:
        GanglionError: pip failed; its last line says why.
    """
    print(f"installing a Triton server into {folder} (once)", file=sys.stderr, flush=True)
    with written_aside(folder) as aside:
        venv.create(aside, with_pip=True)
        pip = [str(aside / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--no-deps", *_wanted().split()], capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise GanglionError(
                f"pip could not install a Triton server ({said[-1]:.200})",
                where=folder,
                remedy="install tritonserver yourself and name it with --tritonserver",
            )
        _add_backends(aside)
        (aside / READY).write_text(_wanted(), encoding="utf-8")


def _wanted() -> str:
    """The packages of an environment, one a line: what its READY holds, so that one of an older Ganglion is seen."""
    return "\n".join([_WHEEL, _NUMPY, *(f"{name}=={version(name)}" for name in _AS_HERE)])


def _add_backends(folder: Path) -> None:
    """A folder of backends: the wheel's python backend, and ours that stands for onnxruntime."""
    wheel, backends = _wheel(folder), folder / "backends"
    stub = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(wheel / "backends" / "python", backends / "python")
    shutil.copy(wheel / "python_backend_stubs" / stub / "triton_python_backend_stub", backends / "python")
    (backends / "onnxruntime").mkdir()
    (backends / "onnxruntime" / "model.py").write_text(lead_to("onnx_backend"), encoding="utf-8")


def _site(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _wheel(folder: Path) -> Path:
    return _site(folder) / "pytriton" / "tritonserver"


def _roots() -> list[str]:
    """Where the namespace package's parts are found that a model in the server needs."""
    folders = [Path(path).parents[1] for package in (ganglion.core, ganglion.serving) for path in package.__path__]
    return [*dict.fromkeys(map(str, folders))]


def _installed() -> list[str]:
    """Where this interpreter has its packages."""
    spec = find_spec("numpy")
    return [str(Path(spec.origin).parents[1])] if spec and spec.origin else []


if __name__ == "__main__":
    make_environment(Path(sys.argv[1]))
