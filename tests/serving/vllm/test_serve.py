"""`ganglion serve vlm` with a real vLLM on the CPU answers by the schema and as transformers does, then is gone.

    make test-vllm

vLLM is started twice, which takes half a minute each. Greedy text is compared in float32, on images of the model's own
size, sent as the same JPEG.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from adapter_for_test import train_adapter

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[3]
PYTHON = Path(os.environ.get("GANGLION_VLLM_PYTHON", ROOT / ".venv-vllm/bin/python"))
MENDS = ROOT / "tests/export/vllm/mends"
BASE = "offline:qwen2_vl?untrained"
TOKEN = "0123456789abcdef"
QUESTION, COMPARED = "What lies ahead?", 48
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}: make test-vllm makes it"),
]


@pytest.fixture(scope="module")
def frames():
    """Smooth images as JPEG, of the offline model's own size."""
    from ganglion.core.images import encode_jpeg
    from ganglion.export.prompts import fresh_cases

    return [encode_jpeg(np.asarray(images[0].resize((112, 112)))) for images, _ in fresh_cases(4, seed=11)]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def adapter(room):
    return train_adapter(BASE, room / "adapter")[0]


def export(adapter, out, *options):
    from ganglion.core.cli import main

    plain = ["--target", "vllm", "--precision.language", "float32", "--parity_samples", "1", "--gate", "false"]
    assert main(["export", "--adapter", str(adapter), "--out", str(out), *plain, *options]) == 0
    return out


@pytest.fixture(scope="module")
def merged(adapter, room):
    return export(adapter, room / "merged")


@pytest.fixture(scope="module")
def beside(adapter, room):
    return export(adapter, room / "beside", "--merge", "none")


@pytest.fixture(scope="module")
def base(room):
    from ganglion.export.vllm_files import write_video_settings
    from ganglion.model.checkpoint import resolve_base

    folder = shutil.copytree(resolve_base(BASE), room / "base")
    write_video_settings(folder)
    return folder


def processes():
    """Of whoever mentions this test's vLLM: process id -> command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"GANGLION_VLLM_TEST=" in environment:
            found[int(folder.name)] = command
    return found


@contextmanager
def served(bundle, room, *options, token=None):
    """(URL, lines it said) of a running `ganglion serve vlm`; afterwards it has left nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ganglion.core.cli", "serve", "vlm", str(bundle), "--backend", "vllm"]
    command += ["--port", str(port), "--vllm.executable", str(PYTHON.with_name("vllm")), "--vllm.memory_share", "0.3"]
    environment = os.environ | {
        "GANGLION_CACHE": str(room / "cache"),
        "GANGLION_VLLM_TEST": "1",
        "PYTHONPATH": os.pathsep.join([*sys.path, str(MENDS)]),
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    if token:
        (room / "token").write_text(token)
        options = (*options, "--bind.token_file", str(room / "token"))
    running = subprocess.Popen(
        [*command, "--vllm.extra", "[--enforce-eager,--max-num-seqs=2]", *options],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in running.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert lines, f"it ended with {running.wait()}"
        yield f"http://127.0.0.1:{port}/v1", lines
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
    for _ in range(250):
        if not (left := processes()):
            break
        time.sleep(0.02)
    assert not left


def say_by_transformers(model, folder, frames):
    """What a model says greedily to QUESTION about each frame."""
    from ganglion.core.images import open_image
    from ganglion.export.prompts import make_prompts
    from ganglion.model.processor import load_processor

    processor = load_processor(folder)
    prompts = make_prompts(model, processor, [([open_image(frame)], QUESTION) for frame in frames])
    said = []
    for prompt in prompts:
        tokens = model.generate(**prompt.inputs, max_new_tokens=COMPARED, do_sample=False)
        said.append(
            processor.tokenizer.decode(tokens[0, prompt.inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        )
    return said


def say_by_vllm(client, frames):
    from ganglion.core.tasks import CHAT

    return [client.ask(CHAT, QUESTION, [frame]).text for frame in frames]


def agree(served, expected):
    return [text.startswith(want) for text, want in zip(served, expected, strict=True)]


def ask_by_schema(client, frames, task):
    """Every answer is valid, or `ask` would raise; whole and streamed they are the same."""
    from ganglion.core.tasks import read_answer

    for frame in frames:
        reply = client.ask(task, QUESTION, [frame])
        assert reply.complete and reply.value == read_answer(reply.text, task.schema)
        assert "".join(client.stream(task, QUESTION, [frame])) == reply.text


def test_it_serves_a_merged_bundle_behind_a_token(merged, room, frames):
    from ganglion.core.errors import InputError
    from ganglion.core.tasks import EXO_ASSIST
    from ganglion.model.vlm import load_vlm
    from ganglion.robot_bridge.vlm_client import VlmClient
    from ganglion.robot_bridge.vlm_exchange import VlmServer

    model = load_vlm(merged / "vlm", dtype=torch.float32, device="cpu")
    expected = say_by_transformers(model, merged / "vlm", frames)
    with served(merged, room, token=TOKEN) as (url, lines):
        assert not any(TOKEN in command for command in processes().values())
        with VlmClient(VlmServer(url, token=TOKEN, model="exo_assist")) as client:
            ask_by_schema(client, frames, EXO_ASSIST)
            assert all(agree(say_by_vllm(client, frames), expected))
        with VlmClient(VlmServer(url)) as stranger, pytest.raises(InputError, match="401"):
            stranger.ask(EXO_ASSIST, QUESTION)
        shown = next(line for line in lines if line.startswith("try: ")).removeprefix("try: ")
        told = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)
        assert json.loads(told.stdout)["choices"][0]["finish_reason"] == "stop"


def test_it_serves_a_base_with_its_adapter(beside, adapter, base, room, frames):
    from peft import PeftModel

    from ganglion.core.tasks import EXO_ASSIST
    from ganglion.model.vlm import load_vlm
    from ganglion.robot_bridge.vlm_client import VlmClient
    from ganglion.robot_bridge.vlm_exchange import VlmServer

    bare = load_vlm(base, dtype=torch.float32, device="cpu")
    without = say_by_transformers(bare, base, frames)
    expected = say_by_transformers(PeftModel.from_pretrained(bare, adapter).eval().get_base_model(), base, frames)
    assert without != expected
    with served(beside, room, "--vllm.base", str(base)) as (url, _):
        with VlmClient(VlmServer(url, model="exo_assist")) as client:
            ask_by_schema(client, frames, EXO_ASSIST)
            assert all(agree(say_by_vllm(client, frames), expected))
        with VlmClient(VlmServer(url, model="base")) as client:
            assert all(agree(say_by_vllm(client, frames), without))


def test_vllm_knows_every_option(merged, beside, base):
    """Its own parser reads the commands of both forms, guarded."""
    from ganglion.serving.binding import Binding
    from ganglion.serving.command.vlm_config import VllmOptions
    from ganglion.serving.vllm.command import vllm_command
    from ganglion.serving.vllm.plan import plan_model

    (base.parent / "token").write_text(TOKEN)
    pem = base / "config.json"  # any file will do: the parser opens none
    bind = Binding("0.0.0.0", pem, pem, base.parent / "token")
    for plan in (plan_model([merged]), plan_model([beside], base)):
        told = vllm_command([], plan, bind, 8100, VllmOptions())[1:]
        code = (
            "import sys\nfrom vllm.entrypoints.launchers.cli_args import make_arg_parser\n"
            "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
            "print(make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:]).served_model_name)"
        )
        done = subprocess.run(
            [PYTHON, "-c", code, *told],
            env=os.environ | {"PYTHONPATH": str(MENDS)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip().splitlines()[-1] == str([plan.name])
