"""`serve` as a process of its own: with a certificate and a token, told to stop while it answers, refusing to start."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from ganglion.core.errors import InputError
from ganglion.serving.binding import Binding

for needed in ("uvicorn", "starlette", "prometheus_client"):
    pytest.importorskip(needed)
httpx = pytest.importorskip("httpx")
NEVER_S = 60.0
PROGRAM = """
import sys
from pathlib import Path
from ganglion.core.bundle import open_bundle
from ganglion.serving.binding import Binding
from ganglion.serving.openai.serve import serve
root, *guards = map(Path, sys.argv[1:])
names = ("certificate", "key", "token_file")
sys.exit(serve(open_bundle(root), Binding(**dict(zip(names, guards))), 0))
"""


@pytest.fixture
def started():
    """started(bundle, *guards): a serving process and the two lines that it prints first."""
    running = []

    def start(bundle, *guards):
        command = [sys.executable, "-c", PROGRAM, str(bundle.root), *map(str, guards)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process, process.stdout.readline().strip(), process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def guards(tmp_path):
    """Certificate, key and token file, made for this test."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key, token = tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "token"
    options = [
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    command = ["openssl", "req", *options, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    token.write_text("0123456789abcdef0123456789abcdef\n")
    return certificate, key, token


@pytest.mark.slow
def test_the_command_that_it_prints_works_and_it_is_told_to_stop(vlm_bundle, started, guards):
    if shutil.which("curl") is None:
        pytest.skip("no curl to ask with")
    process, said, command = started(vlm_bundle, *guards)
    assert said.startswith("serving exo_assist at https://127.0.0.1:")
    assert "0123456789abcdef" not in said + command, "a token is no text for a terminal"
    until = time.monotonic() + NEVER_S
    while time.monotonic() < until:
        reply = subprocess.run(["bash", "-c", command + " -s"], capture_output=True, text=True)
        if '"not_ready"' not in reply.stdout:
            break
        time.sleep(0.1)
    assert json.loads(reply.stdout)["object"] == "chat.completion"
    unknown = command.replace("$(cat", "$(echo -n wrong; cat")
    bare = subprocess.run(["bash", "-c", unknown + " -s"], capture_output=True)
    assert json.loads(bare.stdout)["error"]["code"] == "invalid_api_key"
    process.send_signal(signal.SIGTERM)
    assert process.wait(NEVER_S) == 0
    told = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert [one["outcome"] for one in told if one["event"] == "chat"] in (["stop"], ["length"])


@pytest.mark.slow
def test_told_to_stop_it_ends_what_it_is_writing(vlm_bundle, started):
    process, said, _ = started(vlm_bundle)
    with httpx.Client(base_url=said.split(" at ")[1].removesuffix("/v1"), timeout=NEVER_S) as client:
        until = time.monotonic() + NEVER_S
        while client.get("/health/ready").status_code != 200 and time.monotonic() < until:
            time.sleep(0.05)
        body = {"model": "exo_assist", "stream": True, "max_tokens": 300}
        body["messages"] = [{"role": "user", "content": "go"}]
        with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            lines = reply.iter_lines()
            assert next(lines).startswith("data: ")
            process.send_signal(signal.SIGINT)
            assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.wait(NEVER_S) == 0


def test_a_port_that_is_taken_and_files_that_are_no_certificate_are_one_clear_line(tmp_path):
    from ganglion.serving.openai.serve import serve

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match=r"can't listen there .*; choose another --port"),
    ):
        serve(None, Binding(), taken.getsockname()[1])
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    (tmp_path / "a.pem").write_text("no certificate")
    with pytest.raises(InputError, match="is no certificate for that key"):
        serve(None, Binding("0.0.0.0", tmp_path / "a.pem", tmp_path / "a.pem", token), 0)
    with pytest.raises(InputError, match="reachable from other machines"):
        serve(None, Binding("0.0.0.0"), 0)
