"""Speed of the exported graphs: float32, int8 and int4 against each other and against torch, one thread.

    OMP_NUM_THREADS=1 python benchmarks/onnx_speed.py [--size 120m] [--only decoder|policy]

The decoder is that of a Qwen2-VL with random weights, written by `VlmGraphs`, and runs as it is served. A token is
timed at a context of 256 and of 1024 tokens, prompts of 256 as a whole. The policies are those of the default robot,
`small` and `base`: sensor stream and action head, on a full window (650 samples) and on one hop (13). torch runs the
same weights in float32, as it is and compiled; without a C++ compiler that is left out, and said.

Everything takes turns in one run, so a busy machine slows all alike: times are medians, ratios medians of the rounds'
ratios. File, loading time and peak memory of a decoder are measured in a process of its own. "profile" is ONNX
Runtime's own: milliseconds of a token by operator. Writes runs/benchmarks/onnx_speed.json (--out).
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from peak_memory import Peak
from random_vlm import SIZES, random_model
from report import machine, make_parser, write_report
from torch import Tensor, nn

from ganglion.core.specs import default_robot
from ganglion.export.onnx_vlm import VlmGraphs
from ganglion.export.policy_graph import write_action_head, write_sensor_stream
from ganglion.export.text_graph import DecoderGraph, text_of
from ganglion.model.policy.action_expert import ActionExpert
from ganglion.model.policy.config import PolicyConfig, policy_config
from ganglion.model.policy.context import Context, context_fields
from ganglion.model.policy.network import PolicyNetwork
from ganglion.serving.vlm.decoder import Decoder, DecoderState
from ganglion.serving.vlm.session import open_session

PRECISIONS = ("float32", "int8", "int4")
CONTEXTS = (256, 1024)
PROMPT = 256
WARM, REPEATS = 1, 3  # calls of a kind in a round: before measuring, and measured
POLICIES = {"small": 128, "base": 1536}  # width of the VL features that its head reads
VL_TOKENS = 64
Call = Callable[[], object]


def measure(calls: Mapping[str, Call], rounds: int, warm: int = WARM, repeats: int = REPEATS) -> dict[str, Any]:
    """Milliseconds of each call, and by how much it is faster than the first one."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(warm):
                call()
            taken = [_ms(call) for _ in range(repeats)]
            times[name].append(float(np.median(taken)))
    first = np.array(next(iter(times.values())))
    return {
        name: {"ms": float(np.median(taken)), "faster": float(np.median(first / np.array(taken)))}
        for name, taken in times.items()
    }


def _ms(call: Call) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def open_decoder(folder: Path) -> Decoder:
    """As the server opens it."""
    return Decoder(open_session(folder / "embed.onnx"), open_session(folder / "decoder.onnx"))


def read_context(decoder: Decoder, tokens: int) -> DecoderState:
    """A decoder that has read so many."""
    state, ids = DecoderState(decoder), np.random.default_rng(0).integers(0, 1000, (1, tokens))
    state.read_prompt(ids, np.tile(np.arange(tokens), (3, 1, 1)), None)
    return state


def next_token(state: DecoderState) -> object:
    """One token more; the state itself stays where it was."""
    return copy.copy(state).read([7])


class TorchDecoder:
    """The same steps in torch: the library's model, or the exported graph's module compiled."""

    def __init__(self, model: Any, compiled: bool) -> None:
        module = DecoderGraph(text_of(model), model.lm_head, 0)
        self._model, self._step = model, torch.compile(module, dynamic=False) if compiled else None

    @torch.no_grad()
    def token_at(self, tokens: int) -> Call:
        """A call that reads one token after so many."""
        prompt = torch.randint(1000, (1, tokens), generator=torch.Generator().manual_seed(0))
        positions = torch.arange(tokens + 1).expand(3, 1, -1)
        cache = self._model(input_ids=prompt, position_ids=positions[..., :-1], logits_to_keep=1).past_key_values
        token = torch.tensor([[7]])
        if self._step is None:
            options = {"input_ids": token, "position_ids": positions[..., -1:], "past_key_values": cache}
            return partial(self._eager, options, tokens)
        past = [part for layer in cache.layers for part in (layer.keys, layer.values)]
        embeds = self._model.get_input_embeddings()(token)
        mask = torch.ones(1, tokens + 1, dtype=torch.int64)
        return partial(self._compiled, embeds, mask, positions[..., -1:], torch.tensor([0]), past)

    @torch.no_grad()
    def _eager(self, options: Mapping[str, Any], tokens: int) -> object:
        logits = self._model(**options).logits
        options["past_key_values"].crop(tokens)
        return logits

    @torch.no_grad()
    def _compiled(self, *args: Any) -> object:
        assert self._step is not None
        return self._step(*args)


def decoders(size: str, folder: Path, rounds: int, compiler: bool) -> dict[str, Any]:
    """Everything about the decoder in each precision."""
    model = random_model(size)
    graphs = VlmGraphs(model)
    for precision in PRECISIONS:
        graphs.write(folder / precision, language=precision)
    probes = {name: probe(folder / name) for name in PRECISIONS}
    opened = {name: open_decoder(folder / name) for name in PRECISIONS}
    torches = {"torch eager": TorchDecoder(model, False)}
    if compiler:
        torches["torch.compile"] = TorchDecoder(model, True)
    tokens = {}
    for count in CONTEXTS:
        calls: dict[str, Call] = {name: partial(next_token, read_context(one, count)) for name, one in opened.items()}
        calls |= {name: one.token_at(count) for name, one in torches.items()}
        tokens[str(count)] = measure(calls, rounds)
    prompts: dict[str, Call] = {name: partial(read_context, one, PROMPT) for name, one in opened.items()}
    text = model.model.language_model
    parameters = sum(p.numel() for p in [*text.layers.parameters(), model.lm_head.weight])
    return {
        "parameters": parameters,
        "files": probes,
        "token": tokens,
        "prompt": measure(prompts, max(3, rounds // 4), repeats=1),
        "profile": {name: profile(folder / name, CONTEXTS[0]) for name in PRECISIONS},
    }


def probe(folder: Path) -> dict[str, float]:
    """Size of the decoder's file, and what a process of its own says of it."""
    command = [sys.executable, __file__, "--probe", str(folder)]
    said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    return {"decoder_bytes": sum(file.stat().st_size for file in folder.glob("decoder.onnx*")), **said}


def probe_here(folder: Path) -> dict[str, float]:
    """Seconds to open the decoder, and peak memory beyond the imports, once opened and with a prompt read."""
    start = time.perf_counter()
    with Peak() as opening:
        decoder = open_decoder(folder)
    seconds = time.perf_counter() - start
    with Peak() as reading:
        next_token(read_context(decoder, PROMPT))
    opened = opening.beyond_start["all"]
    return {
        "open_s": seconds,
        "opened_bytes": opened,
        "prompt_bytes": opening.kept["all"] + reading.beyond_start["all"],
    }


def profile(folder: Path, tokens: int) -> dict[str, float]:
    """Milliseconds of a token by operator, the costliest first; profiling itself slows each operator a little."""
    options, calls = ort.SessionOptions(), 10
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = ort.InferenceSession(folder / "decoder.onnx", options, providers=["CPUExecutionProvider"])
    state = read_context(Decoder(open_session(folder / "embed.onnx"), session), tokens)
    for _ in range(calls):
        next_token(state)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    spent: Counter[str] = Counter()
    for event in events:
        if event["name"].endswith("_kernel_time") and event["ts"] >= runs[1]:
            spent[event["args"]["op_name"]] += event["dur"]
    return {name: round(us / calls / 1e3, 4) for name, us in spent.most_common()}


class Policy:
    """A policy's encoder and head with inputs to ask them with: a whole window, and one hop after it."""

    def __init__(self, config: PolicyConfig) -> None:
        torch.manual_seed(0)
        network = PolicyNetwork(config).eval()
        assert network.encoder is not None
        self.config, self.encoder, self.expert = config, network.encoder, network.expert
        self.samples = torch.randn(1, config.window_frames * config.hop_samples, config.channels)
        self.present = torch.ones(1, config.window_frames, len(config.channel_groups))
        self.context = self._context()

    def _context(self) -> dict[str, Tensor]:
        config = self.config
        made = {
            "frames": torch.randn(1, config.read_frames, config.width),
            "present": torch.ones(1, config.read_frames, len(config.channel_groups)),
            "vl_features": torch.randn(1, VL_TOKENS, config.vl_width),
            "vl_mask": torch.ones(1, VL_TOKENS),
            "vl_age_s": torch.zeros(1),
            "state": torch.randn(1, config.state_dim),
            "state_known": torch.ones(1),
        }
        return {name: made[name] for name in context_fields(config)}

    def calls_of_graphs(self, folder: Path, precision: str) -> dict[str, Call]:
        """window, hop, head."""
        write_sensor_stream(self.encoder, folder / "sensor_stream.onnx", precision)
        write_action_head(self.expert, folder / "action_head.onnx", precision)
        stream, head = open_session(folder / "sensor_stream.onnx"), open_session(folder / "action_head.onnx")
        names = ("conv_state", "kv_state", "seen")
        fresh = {name: part.numpy() for name, part in zip(names, self.encoder.fresh_state(1), strict=True)}
        window = {"samples": self.samples.numpy(), "present": self.present.numpy()}
        after = dict(zip(names, stream.run(None, window | fresh)[1:], strict=True))
        hop = {"samples": window["samples"][:, : self.config.hop_samples], "present": window["present"][:, :1]}
        context = {name: value.numpy() for name, value in self.context.items()}
        return {
            "window": partial(stream.run, None, window | fresh),
            "hop": partial(stream.run, None, hop | after),
            "head": partial(head.run, None, context),
        }

    @torch.no_grad()
    def calls_of_torch(self, compiled: bool) -> dict[str, Call]:
        """window, hop, head."""
        stream: Any = self.encoder.stream
        head: Any = _Head(self.expert)
        if compiled:
            stream, head = torch.compile(stream, dynamic=False), torch.compile(head, dynamic=False)
        _, after = self.encoder.stream(self.samples, self.present, self.encoder.fresh_state(1))
        hop = self.samples[:, : self.config.hop_samples], self.present[:, :1], after
        return {
            "window": partial(_still, stream, self.samples, self.present, self.encoder.fresh_state(1)),
            "hop": partial(_still, stream, *hop),
            "head": partial(_still, head, *self.context.values()),
        }


class _Head(nn.Module):
    def __init__(self, expert: ActionExpert) -> None:
        super().__init__()
        self.expert, self.fields = expert, context_fields(expert.config)

    def forward(self, *values: Tensor) -> Tensor:
        actions: Tensor = self.expert(Context(**dict(zip(self.fields, values, strict=True))))
        return actions


@torch.no_grad()
def _still(call: Call, *args: Any) -> object:
    return call(*args)


def policies(folder: Path, rounds: int, compiler: bool) -> dict[str, Any]:
    """Encoder and head of each size."""
    found = {}
    for size, width in POLICIES.items():
        policy = Policy(policy_config(default_robot(), size, vl_width=width))  # type: ignore[arg-type]  # keys are sizes
        sides = {name: policy.calls_of_graphs(folder / f"{size}.{name}", name) for name in ("float32", "int8")}
        sides["torch eager"] = policy.calls_of_torch(False)
        if compiler:
            sides["torch.compile"] = policy.calls_of_torch(True)
        kinds = {kind: {name: calls[kind] for name, calls in sides.items()} for kind in ("window", "hop", "head")}
        parameters = sum(p.numel() for part in (policy.encoder, policy.expert) for p in part.parameters())
        head = sum(p.numel() for p in policy.expert.parameters())
        figures = {kind: measure(calls, rounds) for kind, calls in kinds.items()}
        found[size] = {"parameters": parameters, "head_parameters": head, **figures}
    return found


def show(found: Mapping[str, Any]) -> None:
    """The figures for people."""
    if decoder := found.get("decoder"):
        print(f"decoder of {decoder['parameters'] / 1e6:.0f} M parameters")
        for context, rows in decoder["token"].items():
            _row(f"token at {context}", rows)
        _row(f"prompt of {PROMPT}", decoder["prompt"])
        for name, file in decoder["files"].items():
            mb = {key: value / 1e6 for key, value in file.items() if key.endswith("bytes")}
            print(
                f"  {name:<14}{mb['decoder_bytes']:.0f} MB, opened with the embedding in {file['open_s']:.2f} s to"
                f" {mb['opened_bytes']:.0f} MB, {mb['prompt_bytes']:.0f} MB with a prompt read"
            )
        for name, spent in decoder["profile"].items():
            print(f"  {name:<14}" + "  ".join(f"{op} {ms:.2f}" for op, ms in list(spent.items())[:10]))
    for size, policy in found.get("policy", {}).items():
        print(f"policy {size}: {policy['parameters']:,} parameters, {policy['head_parameters']:,} of them the head's")
        for kind in ("window", "hop", "head"):
            _row(kind, policy[kind])


def _row(label: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    print(
        f"  {label:<14}" + "  ".join(f"{name} {one['ms']:.2f} ms ({one['faster']:.2f}x)" for name, one in rows.items())
    )


def main() -> None:
    parser = make_parser(__doc__, "onnx_speed")
    parser.add_argument("--size", choices=tuple(SIZES), default="120m")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=("decoder", "policy"))
    parser.add_argument("--probe", type=Path, help="open that folder's decoder in this process: what the others start")
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(probe_here(options.probe)))
        return
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    compiler = shutil.which("g++") or shutil.which("clang++")
    facts = {"hardware": machine("onnxruntime", "torch", "transformers"), "threads": 1, "rounds": options.rounds}
    facts |= {"size": options.size, "torch_compile": compiler or "left out: no C++ compiler"}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only != "policy":
            found["decoder"] = decoders(options.size, folder, options.rounds, bool(compiler))
        if options.only != "decoder":
            found["policy"] = policies(folder, options.rounds, bool(compiler))
    print(json.dumps(facts))
    show(found)
    write_report(options.out, {**facts, "load_after": os.getloadavg()[0], **found})


if __name__ == "__main__":
    main()
