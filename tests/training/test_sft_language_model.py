"""A text-only task on a causal language model: one with a chat template, and one that was never taught to chat.

And a task of one's own: registered in a few lines, it trains, validates and evaluates like those that come along.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM  # noqa: E402

from ganglion.core.cli import main  # noqa: E402
from ganglion.core.tasks import Example, RowError, Task, register_task, registry  # noqa: E402
from ganglion.model.checkpoint import resolve_base  # noqa: E402
from ganglion.model.dialogue.encoding import encode, end_of_turn  # noqa: E402
from ganglion.model.processor import TextProcessor, load_processor  # noqa: E402

pytestmark = pytest.mark.slow


def read_row(row: Mapping[str, Any], folder: Path) -> Example:
    for key in ("said", "times"):
        if key not in row:
            raise RowError(key, "is missing", "add it")
    return Example((), f"Knock as often as {row['said']}.", "knock() " * int(row["times"]), row)


def metrics(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    right = [e.answer.strip() == a.strip() for e, a in zip(examples, answers, strict=True)]
    return {"n": float(len(right)), "right": sum(right) / len(right)}


KNOCK = Task("knock", "knocking as often as said", None, 24, read_row, metrics, lambda example, text: text.strip())


@pytest.fixture(autouse=True)
def knock() -> Iterator[Task]:
    yield register_task(KNOCK)
    del registry._TASKS["knock"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("knock") / "data.json"
    path.write_text(json.dumps([{"said": said, "times": n} for n, said in enumerate(["none", "once", "twice"])] * 8))
    return path


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a tokenizer that has no chat template and no padding token, as CodeLlama-7b-Python's."""
    folder = tmp_path_factory.mktemp("llama")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(["Knock as often as once twice none. knock() ### Instruction: Response:"] * 9, trainer)
    plain = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")
    plain.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=len(plain),
        bos_token_id=plain.bos_token_id, eos_token_id=plain.eos_token_id, max_position_embeddings=256,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = load_processor(resolve_base("offline:qwen2_vl?untrained")).tokenizer
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=256, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def train(base: Path, data: Path, out: Path, *more: str) -> int:
    given = ["--task", "knock", "--base", str(base), "--data", str(data), "--out", str(out), "--threads", "1"]
    quick = ["--batch_size", "8", "--optim.lr", "0.01", "--optim.warmup_steps", "5", "--lora.dropout", "0"]
    return main(["train", "sft", *given, *quick, *more])


def test_without_a_chat_template_a_plain_one_is_used(llama: Path) -> None:
    processor = load_processor(llama)
    assert isinstance(processor, TextProcessor) and processor.tokenizer.pad_token == "</s>"
    assert end_of_turn(processor.tokenizer) == "</s>"
    row = encode(processor, read_row({"said": "twice", "times": 2}, Path()), None, with_answer=True)
    assert processor.tokenizer.decode(row.text.ids) == (
        "<s>### Instruction:\nKnock as often as twice.\n\n### Response:\nknock() knock() </s>"
    )
    assert row.text.image_token is None


def test_a_task_of_ones_own_is_learned_by_a_llama_and_evaluated(llama: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(llama, data, out, "--steps", "150", "--lora.r", "16", "--quantization", "none") == 0
    assert main(["evaluate", "--adapter", str(out), "--data", str(data), "--threads", "1"]) == 0
    scores = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert scores["adapter"]["right"] == 1.0 and scores["base"]["right"] < 0.7


def test_packed_rows_are_learned_in_fewer_steps(qwen: Path, data: Path, tmp_path: Path) -> None:
    more = ("--packing", "--max_length", "128", "--batch_size", "1", "--epochs", "1")
    assert train(qwen, data, tmp_path / "packed", *more) == 0
    assert train(qwen, data, tmp_path / "single", "--batch_size", "1", "--epochs", "1") == 0
    packed, single = (json.loads((tmp_path / n / "run.json").read_text()) for n in ("packed", "single"))
    assert packed["rows"] == single["rows"] == single["steps"] == 24 and packed["steps"] < 12


def test_a_bad_row_of_it_is_named(llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text('[{"said": "once"}]')
    assert train(llama, tmp_path / "bad.json", tmp_path / "run") == 2
    assert "row 0: column 'times': is missing; add it" in capsys.readouterr().err


def test_packing_is_refused_for_rows_with_images(
    exo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--task", "exo_assist", "--data", str(exo_data), "--base", "offline:qwen2_vl?untrained"]
    assert main(["train", "sft", *given, "--out", str(tmp_path / "run"), "--packing"]) == 2
    assert "--packing is for rows without images" in capsys.readouterr().err
