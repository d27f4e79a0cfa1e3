"""An adapter needs nothing of ours: plain PEFT loads it onto a stock model, and merges it."""

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from peft import PeftModel  # noqa: E402
from transformers import AutoModelForImageTextToText  # noqa: E402

from ganglion.core.datafile import read_datafile  # noqa: E402
from ganglion.core.tasks import EXO_ASSIST  # noqa: E402
from ganglion.model.checkpoint import resolve_base  # noqa: E402
from ganglion.model.dialogue.batching import collate  # noqa: E402
from ganglion.model.dialogue.encoding import encode  # noqa: E402
from ganglion.model.dialogue.images import ImageEncoder  # noqa: E402
from ganglion.model.processor import load_processor  # noqa: E402
from ganglion.training.evaluate.adapter import load_tuned, read_run  # noqa: E402

pytestmark = pytest.mark.slow


def test_a_stock_model_with_the_adapter_gives_the_same_logits_and_merges(
    sft: Callable[..., int], exo_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert sft(out, "--quantization", "none", "--optim.lr", "0.01") == 0
    base = resolve_base("offline:qwen2_vl?untrained")
    stock = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()
    processor = load_processor(base)
    row = encode(processor, read_datafile(exo_data, EXO_ASSIST)[0], ImageEncoder(processor), with_answer=True)
    batch = collate([row], processor.tokenizer.pad_token_id, side="right")
    ours, _ = load_tuned(out, read_run(out))
    with torch.no_grad():
        plain = stock(**batch).logits
        expected = ours(**batch).logits
        loaded = PeftModel.from_pretrained(stock, out).eval()
        adapted = loaded(**batch).logits
        merged = loaded.merge_and_unload()(**batch).logits
    assert float((plain - expected).abs().max()) > 0.01, "the adapter does nothing"
    assert float((adapted - expected).abs().max()) < 1e-5
    assert float((merged - expected).abs().max()) < 1e-4
