"""`ganglion serve vlm` takes the server that a bundle is for, and says in a line what it can't do."""

import json
import shlex
import signal
import socket
import subprocess
import sys

import pytest

from ganglion.core.cli import main

pytest.importorskip("starlette")
WAIT_S = 60


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_an_onnx_bundle_is_served_in_this_process_and_the_line_to_try_works(vlm_bundle):
    command = [sys.executable, "-m", "ganglion.core.cli", "serve", "vlm", str(vlm_bundle.root), "--port"]
    process = subprocess.Popen([*command, str(free_port())], stdout=subprocess.PIPE, text=True)
    try:
        said, curl = process.stdout.readline(), process.stdout.readline()
        assert said.startswith("serving exo_assist at http://127.0.0.1:")
        done = subprocess.run(shlex.split(curl), capture_output=True, text=True, timeout=WAIT_S, check=True)
        assert json.loads(done.stdout)["model"] == "exo_assist"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--backend", "abacus"], "--backend is 'abacus'; use one of ['in-process', 'triton', 'vllm']"),
        (["--port", "0"], "--port is 0; give one from 1 to 65535"),
        (["--local.threads", "0"], "--local.threads is 0; give at least 1"),
        (["--local.running", "0"], "leaves no room for an answer"),
        (["--local.kv_mb", "0"], "leaves no room for an answer"),
        (["--bind.host", "0.0.0.0"], "is reachable from other machines"),
        (["--backend", "triton", "--triton.grpc_port", "8100"], "ports are [8100, 8100, 8102]; give three different"),
        (["--backend", "triton", "--local.threads", "0"], "--local.threads is 0; give at least 1"),
        (["--backend", "triton", "--triton.tritonserver", "/nowhere"], "/nowhere: is no program; name a tritonserver"),
    ],
)
def test_what_it_can_not_do_is_one_line(vlm_bundle, capsys, options, said):
    assert main(["serve", "vlm", str(vlm_bundle.root), *options]) in (1, 2)
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1


def test_several_onnx_bundles_and_none_are_refused(vlm_bundle, capsys, tmp_path):
    for backend in ("in-process", "triton"):
        assert main(["serve", "vlm", f"[{vlm_bundle.root},{vlm_bundle.root}]", "--backend", backend]) == 2
        assert f"{backend} serves one bundle, 2 are named" in capsys.readouterr().err
    assert main(["serve", "vlm", str(tmp_path)]) == 1
    assert "manifest.json: is missing; give a folder that 'ganglion export' wrote" in capsys.readouterr().err
