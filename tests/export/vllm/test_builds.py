"""A real vLLM serves what export writes, and finds the same answers likely as transformers does.

    make test-vllm

vLLM has an environment of its own (environment.sh) and is started there once per test, which takes half a minute.

Both are led along the answer that transformers finds likeliest, so that every step is compared, and at each one what
both say of that answer's token: whether it is the likeliest, and how its log probability differs. In float32 they agree
to 2e-6 where nothing is rounded (the adapter's test). vLLM scales int8 activations so that the largest is 127, the
library 127.5, and vLLM's 4-bit kernel takes bfloat16 only. What that makes was measured, on average over the steps
0.015 (int8), 0.006 to 0.014 (int4) and 0.023 (fp8), and twice as much is allowed; the likeliest token was the same at
97 to 100 of 100 steps. From the model before it was compressed vLLM is further away: 0.028, 0.054 (by GPTQ) and 0.086.

Images have the model's own size: vLLM scales others by torchvision, which comes out up to one level of gray (of 255)
otherwise than PIL, which training uses.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from adapter_for_test import train_adapter

torch = pytest.importorskip("torch")

HERE = Path(__file__).resolve().parent
PYTHON = Path(os.environ.get("GANGLION_VLLM_PYTHON", HERE.parents[2] / ".venv-vllm/bin/python"))
STEPS = 24
BASE = "offline:qwen2_vl?untrained"
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}: make test-vllm makes it"),
]


@dataclass(frozen=True)
class Question:
    """A prompt, the image in it, the answer (S,), and the log probabilities (S + 1, V) along it."""

    prompt: Any
    image: Any
    answer: tuple[int, ...]
    logprobs: Any


def cases(side=112):
    """Smooth square images of the offline model's own size, each with a sentence."""
    from ganglion.export.prompts import fresh_cases

    return [([images[0].resize((side, side))], text) for images, text in fresh_cases(4, seed=11)]


def ask_transformers(model, folder, along=None):
    """What a model finds likeliest, or how likely it finds the answers of the questions `along`."""
    from ganglion.export.parity import ask_torch, take_traces
    from ganglion.export.prompts import make_prompts
    from ganglion.model.processor import load_processor

    processor = load_processor(folder)
    shown = cases(128 if model.config.model_type == "qwen3_vl" else 112)
    prompts = make_prompts(model, processor, shown)
    if along:
        prompts = [replace(prompt, answer=one.answer) for prompt, one in zip(prompts, along, strict=True)]
    traces = take_traces(ask_torch(model), prompts, STEPS)
    return [
        Question(
            prompt=prompt.inputs["input_ids"][0].tolist(),
            image=images[0] if processor.image_token else None,
            answer=trace.tokens,
            logprobs=torch.from_numpy(trace.logits[-STEPS - 1 :]).log_softmax(-1),
        )
        for (images, _), prompt, trace in zip(shown, prompts, traces, strict=True)
    ]


def ask_vllm(folder, model, questions, *, dtype, adapter=None):
    """What ask.py writes: of each question, of each step, {token: log probability} of the likeliest."""
    config = json.loads((model / "config.json").read_text())
    job = {"model": str(model), "adapter": adapter and str(adapter), "dtype": dtype, "questions": []}
    for number, one in enumerate(questions):
        file = folder / f"{number}.png"
        if one.image:
            one.image.save(file)
        pad = config.get("image_token_id")
        tokens = [token for at, token in enumerate(one.prompt) if token != pad or one.prompt[at - 1] != pad]
        asked = {"tokens": tokens, "answer": one.answer, "image": str(file) if one.image else None}
        job["questions"].append(asked)
    (folder / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [PYTHON, HERE / "ask.py", folder / "job.json", folder / "answers.json"],
        env=os.environ | {"PYTHONPATH": str(HERE / "mends")},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((folder / "answers.json").read_text())
    return [[dict(step) for step in steps] for steps in told]


def apart(told, questions):
    """(share of steps with the same likeliest token, largest and mean difference of its log probability)."""
    same, off = [], []
    for steps, question in zip(told, questions, strict=True):
        for found, logprobs in zip(steps, question.logprobs, strict=True):
            best = int(logprobs.argmax())
            same.append(max(found, key=found.get) == best)
            off.append(abs(found.get(best, -100.0) - float(logprobs[best])))
    return sum(same) / len(same), max(off), sum(off) / len(off)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Of four layers, twice what export's other tests train: rounding adds up with depth, and the figures are of it."""
    return train_adapter(BASE, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def merged(trained, tmp_path_factory):
    """The trained adapter's model, merged, as a checkpoint in bfloat16."""
    from ganglion.export.checkpoint_files import write_checkpoint
    from ganglion.export.merge import merged_weights, open_adapter
    from ganglion.export.weights import CheckpointWeights, make_skeleton
    from ganglion.model.checkpoint import checkpoint_folder

    adapter, folder = open_adapter(trained[0]), tmp_path_factory.mktemp("merged") / "hf"
    base = checkpoint_folder(adapter.base)
    write_checkpoint(CheckpointWeights(base, make_skeleton(base)), merged_weights(adapter), folder, torch.bfloat16)
    return folder


def calibration(folder):
    """Rows for GPTQ."""
    from ganglion.export.calibration import MIN_ROWS, calibration_rows
    from ganglion.export.prompts import fresh_cases, make_prompts
    from ganglion.export.weights import make_skeleton
    from ganglion.model.processor import load_processor

    skeleton = make_skeleton(folder)
    return calibration_rows(skeleton, make_prompts(skeleton, load_processor(folder), fresh_cases(MIN_ROWS)))


def check_build(folder, source, precision, method, dtype, mean):
    """Compress, serve, compare: with what transformers makes of the same build, and of the source."""
    from ganglion.export.compress import compress_checkpoint, load_compressed
    from ganglion.model.vlm import load_vlm

    build = folder / "build"
    rows = calibration(source) if method == "gptq" else ()
    compress_checkpoint(source, build, precision=precision, method=method, calibration=rows)
    questions = ask_transformers(load_compressed(build, torch.float32), build)
    before = ask_transformers(load_vlm(source, dtype=torch.float32, device="cpu"), source, along=questions)
    told = ask_vllm(folder, build, questions, dtype=dtype)
    same, _, off = apart(told, questions)
    assert same >= 0.95 and off <= mean
    assert off < 0.75 * apart(told, before)[2]


@pytest.mark.parametrize(
    ("precision", "method", "dtype", "mean"),
    [("int8", "rtn", "float32", 0.03), ("int4", "gptq", "bfloat16", 0.015), ("fp8", "rtn", "float32", 0.05)],
)
def test_it_serves_a_compressed_build(merged, tmp_path, precision, method, dtype, mean):
    check_build(tmp_path, merged, precision, method, dtype, mean)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "qwen2"])
def test_it_serves_a_compressed_build_of_each_family(family, tmp_path):
    """They name their modules differently, in transformers and in vLLM. Weights are random."""
    from ganglion.model.offline import offline_base

    check_build(tmp_path, offline_base(family, pretext=False), "int4", "rtn", "bfloat16", 0.03)


def test_it_serves_the_base_with_the_adapter_beside_it(trained, tmp_path):
    """Of the decoder and of the vision tower."""
    from peft import PeftModel

    from ganglion.export.vllm_files import write_video_settings
    from ganglion.model.checkpoint import resolve_base
    from ganglion.model.vlm import load_vlm

    base = shutil.copytree(resolve_base(BASE), tmp_path / "base")
    write_video_settings(base)
    bare = load_vlm(base, dtype=torch.float32, device="cpu")
    without = ask_transformers(bare, base)
    adapted = PeftModel.from_pretrained(bare, trained[0]).eval()
    assert any("visual" in name and "lora" in name for name, _ in adapted.named_parameters())
    questions = ask_transformers(adapted.get_base_model(), base)
    told = ask_vllm(tmp_path, base, questions, adapter=trained[0], dtype="float32")
    same, largest, _ = apart(told, questions)
    assert same == 1.0 and largest <= 1e-4
    assert [one.answer for one in without] != [one.answer for one in questions]
