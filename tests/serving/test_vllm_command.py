"""What vLLM is told of each form of a bundle, and what is said where it can't be, without vLLM."""

import asyncio
import json
import socket
import sys
from dataclasses import replace

import pytest

from ganglion.core.bundle import seal_bundle
from ganglion.core.checkpoint_hash import checkpoint_hash
from ganglion.core.cli import COMMANDS, _parse
from ganglion.core.errors import InputError
from ganglion.core.manifest import FORMAT_VERSION, Manifest, VlmPart
from ganglion.serving.binding import Binding
from ganglion.serving.command.vlm_config import VllmOptions
from ganglion.serving.vllm.command import vllm_command, vllm_environment
from ganglion.serving.vllm.failures import explain
from ganglion.serving.vllm.inside.ganglion_guard import TokenGuard
from ganglion.serving.vllm.launch import check_port, curl, find_program
from ganglion.serving.vllm.plan import plan_model

TOKEN = "0123456789abcdef"
PART = VlmPart(
    task="exo_assist",
    model_type="qwen2_vl",
    base_id="offline:qwen2_vl",
    base_hash="",
    adapter_hash="",
    image_token_id=7,
    eos_token_ids=(1,),
    context_tokens=4096,
    image_processor={},
    precision={"language": "int4", "vision": "bfloat16"},
    form="checkpoint",
)
STRUCTURED = ["--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}']
LAST = ["--generation-config", "vllm", "--no-enable-log-requests"]


def bundle(folder, part, files):
    for name, content in files.items():
        (folder / "vlm").mkdir(parents=True, exist_ok=True)
        (folder / "vlm" / name).write_bytes(content)
    seal_bundle(folder, Manifest(FORMAT_VERSION, "test", {}, {}, vlm=part))
    return folder


def merged(folder, **changes):
    return bundle(folder, replace(PART, **changes), {"config.json": b"{}", "tokenizer.json": b"{}"})


def safetensors(*names):
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}).encode()
    return len(header).to_bytes(8, "little") + header


def beside(folder, base, module="model.visual.blocks.0.attn", rank=12, **changes):
    part = replace(PART, form="adapter", base_hash=checkpoint_hash(base), **changes)
    config = {"r": rank, "rank_pattern": {"q_proj": 2 * rank}}
    weights = safetensors(f"base_model.model.{module}.lora_A.weight")
    return bundle(
        folder, part, {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": weights}
    )


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    (tmp_path / "base/model.safetensors").write_bytes(b"weights")
    return tmp_path / "base"


def command(*bundles, base=None, bind=None, **options):
    return vllm_command(["vllm"], plan_model(bundles, base), bind or Binding(), 8100, VllmOptions(**options))


class TestCommand:
    def test_a_merged_bundle(self, tmp_path):
        assert command(merged(tmp_path / "b")) == [
            *["vllm", "serve", str(tmp_path / "b/vlm"), "--served-model-name", "exo_assist"],
            *["--host", "127.0.0.1", "--port", "8100", "--dtype", "bfloat16"],
            *["--max-model-len", "4096", "--gpu-memory-utilization", "0.9"],
            *["--limit-mm-per-prompt", '{"image": 8, "video": 0}', "--allowed-media-domains", "nowhere.invalid"],
            *STRUCTURED,
            *LAST,
        ]

    def test_a_language_model_is_told_nothing_of_images(self, tmp_path):
        told = command(merged(tmp_path / "b", image_token_id=None, task="robot_code"))
        assert "--limit-mm-per-prompt" not in told and "--allowed-media-domains" not in told

    def test_an_adapter_beside_its_base(self, tmp_path, base):
        told = command(beside(tmp_path / "b", base), base=base)
        assert told[1:5] == ["serve", str(base), "--served-model-name", "base"]
        module = {"name": "exo_assist", "path": str(tmp_path / "b/vlm"), "base_model_name": "base"}
        assert told[told.index("--enable-lora") :] == [
            *["--enable-lora", "--max-lora-rank", "32", "--max-loras", "1", "--enable-tower-connector-lora"],
            *["--lora-modules", json.dumps(module)],
        ]

    def test_an_adapter_of_the_decoder_alone_leaves_the_tower_as_it_is(self, tmp_path, base):
        told = command(beside(tmp_path / "b", base, "model.language_model.layers.0.mlp"), base=base)
        assert "--enable-lora" in told and "--enable-tower-connector-lora" not in told

    def test_several_adapters_of_one_base(self, tmp_path, base):
        one = beside(tmp_path / "a", base)
        other = beside(tmp_path / "b", base, rank=40, task="gui_step", context_tokens=2048)
        told = command(one, other, base=base)
        assert [json.loads(module)["name"] for module in told[-2:]] == ["exo_assist", "gui_step"]
        assert told[told.index("--max-lora-rank") + 1] == "128" and told[told.index("--max-loras") + 1] == "2"
        assert told[told.index("--max-model-len") + 1] == "2048"

    def test_a_base_in_4_bits(self, tmp_path, base):
        part = {"precision": {"language": "nf4", "vision": "bfloat16"}}
        told = command(beside(tmp_path / "b", base, **part), base=base)
        assert told[told.index("--quantization") + 1] == "bitsandbytes"

    def test_a_guarded_server(self, tmp_path):
        for name in ("cert.pem", "key.pem"):
            (tmp_path / name).touch()
        (tmp_path / "token").write_text(TOKEN)
        bind = Binding("0.0.0.0", tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "token")
        told = command(merged(tmp_path / "b"), bind=bind)
        assert told[told.index("--ssl-certfile") :][:4] == [
            *["--ssl-certfile", str(tmp_path / "cert.pem"), "--ssl-keyfile", str(tmp_path / "key.pem")]
        ]
        assert told[told.index("--middleware") + 1] == "ganglion_guard.TokenGuard"
        assert TOKEN not in " ".join(told)
        assert vllm_environment(bind)["VLLM_API_KEY"] == TOKEN
        shown = curl("https://127.0.0.1:8100/v1", bind, tmp_path / "request.json")
        assert TOKEN not in shown and f"--cacert {tmp_path / 'cert.pem'}" in shown

    def test_options_go_through(self, tmp_path):
        told = command(merged(tmp_path / "b"), max_model_len=100, images=2, memory_share=0.5, extra=["--enforce-eager"])
        assert told[told.index("--max-model-len") + 1] == "100"
        assert told[told.index("--limit-mm-per-prompt") + 1] == '{"image": 2, "video": 0}'
        assert told[told.index("--gpu-memory-utilization") + 1] == "0.5"
        assert told[-1] == "--enforce-eager"

    def test_several_machines_through_its_own_ray_engine(self, tmp_path):
        sizes = ["--distributed-executor-backend=ray", "--tensor-parallel-size=8", "--pipeline-parallel-size=2"]
        alone, told = command(merged(tmp_path / "b")), command(tmp_path / "b", node_address="10.0.0.7", extra=sizes)
        assert told == [*alone, *sizes]
        assert vllm_environment(Binding(), "10.0.0.7")["VLLM_HOST_IP"] == "10.0.0.7"
        assert vllm_environment(Binding())["VLLM_HOST_IP"] == "127.0.0.1"

    def test_the_command_line_takes_those_options(self):
        line = ["b", "--vllm.node_address", "10.0.0.7", "--vllm.extra", "[--pipeline-parallel-size=2,--nnodes=2]"]
        config = _parse("serve vlm", COMMANDS["serve vlm"], line)
        assert config.vllm.extra == ["--pipeline-parallel-size=2", "--nnodes=2"]
        assert config.vllm.node_address == "10.0.0.7"

    def test_nothing_is_reported_to_anybody(self):
        told = vllm_environment(Binding())
        assert (told["VLLM_NO_USAGE_STATS"], told["DO_NOT_TRACK"], told["HF_HUB_OFFLINE"]) == ("1", "1", "1")
        assert "VLLM_API_KEY" not in told and "PYTHONPATH" not in told


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"memory_share": 0.0}, "memory_share is 0"),
            ({"max_model_len": 5000}, "max_model_len is 5000; give 1 to 4096"),
            ({"images": 0}, "images is 0"),
        ],
    )
    def test_options_that_make_no_sense(self, tmp_path, options, said):
        with pytest.raises(InputError, match=said):
            command(merged(tmp_path / "b"), **options)

    @pytest.mark.parametrize(
        "extra",
        [
            ["--distributed-executor-backend=ray"],
            ["--tensor-parallel-size", "2", "--distributed-executor-backend", "ray"],
            ["--distributed_executor_backend", "ray"],
        ],
    )
    def test_ray_at_the_loopback_address_where_it_finds_no_machine(self, tmp_path, extra):
        with pytest.raises(InputError, match="give the one that Ray knows it by"):
            command(merged(tmp_path / "b"), extra=extra)
        assert command(tmp_path / "b", extra=["--distributed-executor-backend=mp"])

    def test_onnx_graphs(self, tmp_path):
        files = dict.fromkeys(
            ("embed.onnx", "decoder.onnx", "vision.onnx", "tokenizer.json", "chat_template.jinja"), b""
        )
        folder = bundle(tmp_path / "b", replace(PART, form="onnx"), files)
        with pytest.raises(InputError, match="ONNX graphs, which vLLM can't load; export it with --target vllm"):
            command(folder)

    def test_a_bundle_without_vlm(self, tmp_path):
        with pytest.raises(InputError, match="holds no VLM"):
            command(bundle(tmp_path, None, {}))

    def test_two_merged_ones(self, tmp_path):
        with pytest.raises(InputError, match="is merged, and one vLLM serves one model"):
            command(merged(tmp_path / "a"), merged(tmp_path / "b"))

    def test_two_of_one_task(self, tmp_path, base):
        with pytest.raises(InputError, match="are of one task"):
            command(beside(tmp_path / "a", base), beside(tmp_path / "b", base), base=base)

    def test_two_bases(self, tmp_path, base):
        one = beside(tmp_path / "a", base)
        (base / "config.json").write_text("{} ")
        with pytest.raises(InputError, match="of another base or precision"):
            command(one, beside(tmp_path / "b", base, task="gui_step"), base=base)

    def test_another_base(self, tmp_path, base):
        folder = beside(tmp_path / "b", base)
        (base / "model.safetensors").write_bytes(b"weight5")
        with pytest.raises(InputError, match=r"has hash .* the adapter was trained on"):
            command(folder, base=base)

    def test_a_base_that_is_not_here(self, tmp_path, base):
        with pytest.raises(InputError, match="base offline:qwen2_vl: is no folder here; give its folder"):
            command(beside(tmp_path / "b", base))

    def test_a_rank_that_vllm_has_no_kernels_for(self, tmp_path, base):
        with pytest.raises(InputError, match="rank 600, vLLM takes 512 at most; export it merged"):
            command(beside(tmp_path / "b", base, rank=300), base=base)

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="choose another --port"):
            check_port("127.0.0.1", taken.getsockname()[1])

    def test_no_vllm(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(InputError, match="vLLM is not installed; 'pip install vllm' in an environment of its own"):
            find_program(None)
        with pytest.raises(InputError, match="is no program"):
            find_program(tmp_path / "vllm")


class TestFailures:
    @pytest.mark.parametrize(
        ("log", "said"),
        [
            (
                "larger than the available KV cache memory. Based on the available memory, the estimated maximum model "
                "length is 1234. Try",
                "--vllm.max_model_len 1234 or less",
            ),
            ("ValueError: No available memory for the cache blocks. Try", "raise --vllm.memory_share"),
            ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", "[--max-lora-rank=64]"),
            ("ValueError: Failed to import Ray: None.Please install Ray with `pip install ray`.", "has no Ray"),
            ("ValueError: Cannot provide a placement group requiring 16 GPUs", "--vllm.node_address"),
            ("ImportError: libcudart.so.13: cannot open shared object file", "needs libcudart.so.13"),
        ],
    )
    def test_a_known_one_is_told_with_its_remedy(self, log, said):
        assert said in explain(f"INFO fine\n{log}\nRuntimeError: Engine core initialization failed")

    def test_an_unknown_one_is_left_to_its_log(self):
        assert explain("RuntimeError: Engine core initialization failed") is None


@pytest.mark.parametrize(
    ("path", "headers", "let_through"),
    [
        ("/health", [], True),
        ("/invocations", [], False),
        ("/v1/models", [(b"authorization", b"Bearer wrong")], False),
        ("/v1/models", [(b"authorization", f"Bearer {TOKEN}".encode())], True),
    ],
)
def test_the_guard_asks_for_the_token_everywhere_but_health(monkeypatch, path, headers, let_through):
    monkeypatch.setenv("VLLM_API_KEY", TOKEN)
    passed, sent = [], []

    async def app(scope, receive, send):
        passed.append(scope["path"])

    async def send(message):
        sent.append(message)

    asyncio.run(TokenGuard(app)({"type": "http", "path": path, "headers": headers}, None, send))
    assert passed == ([path] if let_through else [])
    assert [message.get("status") for message in sent[:1]] == ([] if let_through else [401])
