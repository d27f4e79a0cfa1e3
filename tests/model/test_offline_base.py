"""The offline base: built once, found again, whole or not at all."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.model.checkpoint import base_hash, resolve_base
from ganglion.model.offline import FAMILIES, IMAGE_FAMILIES, base, build, offline_base
from ganglion.model.offline.pretext import Pretext, train_pretext
from ganglion.model.offline.steps import Workers
from ganglion.model.offline.text_pretext import TextPretext, train_text_pretext
from ganglion.model.processor import load_processor
from ganglion.model.vlm import load_vlm


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANGLION_CACHE", str(tmp_path))
    return tmp_path / "offline"


def visible(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_builds_reloads_answers_and_learns(family):
    path = offline_base(family, pretext=False)
    processor, model = load_processor(path), load_vlm(path)
    shown = [{"type": "image"}] if family in IMAGE_FAMILIES else []
    chat = [{"role": "user", "content": [*shown, {"type": "text", "text": "What is this?"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    if shown:
        images = [Image.new("RGB", (112, 112), color) for color in ("red", "navy")]
        inputs = processor(images=images, text=[text, text], return_tensors="pt")
    else:
        inputs = processor.tokenizer([text, text], return_tensors="pt")
    answers = model.generate(**inputs, max_new_tokens=4)
    assert answers.shape[1] > inputs["input_ids"].shape[1]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(5):
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_linears_suit_the_blocks_of_64_of_bitsandbytes(family):
    model = load_vlm(offline_base(family, pretext=False))
    assert all(m.in_features % 64 == 0 for m in model.modules() if isinstance(m, torch.nn.Linear))


def test_it_is_built_once_and_the_same_again(cache, monkeypatch):
    first = offline_base("qwen2_vl", pretext=False)
    content = base_hash(first)
    assert visible(cache) == [first.name]
    monkeypatch.setattr(build, "build", lambda *_args, **_options: pytest.fail("was built again"))
    assert offline_base("qwen2_vl", pretext=False) == first
    monkeypatch.undo()
    monkeypatch.setenv("GANGLION_CACHE", str(cache / "elsewhere"))
    assert base_hash(offline_base("qwen2_vl", pretext=False)) == content


def test_building_leaves_the_callers_random_state_alone(cache):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    offline_base("qwen2_vl", pretext=False)
    assert torch.equal(torch.rand(4), expected)


def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(cache, monkeypatch):
    def interrupted(family, folder, *, pretext):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            offline_base("qwen2_vl", pretext=False)
    assert visible(cache) == []
    assert load_vlm(offline_base("qwen2_vl", pretext=False)) is not None


def test_what_a_killed_builder_left_is_cleared_away(cache):
    path = offline_base("qwen2_vl", pretext=False)
    left = cache / f".{path.name}.killed"
    left.mkdir()
    path.rename(left / path.name)
    assert offline_base("qwen2_vl", pretext=False) == path
    assert not left.exists()


def _build_and_report(cache: str, results) -> None:
    import os

    os.environ["GANGLION_CACHE"] = cache
    torch.set_num_threads(1)
    results.put(base_hash(offline_base("qwen2_vl", pretext=False)))


def test_builders_at_the_same_time_get_one_whole_base(cache):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    builders = [context.Process(target=_build_and_report, args=(str(cache.parent), results)) for _ in range(2)]
    for builder in builders:
        builder.start()
    hashes = {results.get(timeout=600) for _ in builders}
    for builder in builders:
        builder.join()
    assert len(hashes) == 1
    assert len(visible(cache)) == 1


def test_a_change_of_source_library_or_choice_is_another_base(monkeypatch):
    names = {base._identity(family, trained) for family in FAMILIES for trained in (True, False)}
    assert len(names) == 2 * len(FAMILIES)
    before = base._identity("qwen2_vl", True)
    monkeypatch.setattr(base, "version", lambda _name: "0.0")
    assert base._identity("qwen2_vl", True) != before


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_pretext_training_runs_on_every_family(family):
    path = offline_base(family, pretext=False)
    processor, model = load_processor(path), load_vlm(path)
    before = model.model.language_model.layers[0].mlp.up_proj.weight.clone()
    train_pretext(model, processor, Pretext(drawings=16, see_steps=2, say_steps=2))
    assert not torch.equal(model.model.language_model.layers[0].mlp.up_proj.weight, before)


@pytest.fixture
def losses(monkeypatch):
    """Of every step of a pretext training."""
    seen = []
    backward = Workers.backward
    monkeypatch.setattr(Workers, "backward", lambda self, *args: seen.append(backward(self, *args)))
    return seen


@pytest.mark.slow
def test_the_pretext_training_learns_and_restores_torch_settings(losses):
    path = offline_base("qwen2_vl", pretext=False)
    processor, model = load_processor(path), load_vlm(path)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    train_pretext(model, processor, Pretext(drawings=64, see_steps=12, say_steps=12))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert losses[11] < losses[0]
    assert losses[-1] < losses[12]
    assert not model.training


@pytest.mark.slow
def test_a_language_model_reads_exercises_in_its_own(losses):
    path = offline_base("qwen2", pretext=False)
    tokenizer, model = load_processor(path).tokenizer, load_vlm(path)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    train_text_pretext(model, tokenizer, TextPretext(steps=24, batch=4, pool=2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(losses) == 24
    assert sum(losses[-4:]) < sum(losses[:4])
    assert not model.training


def test_names_resolve_to_what_transformers_takes(tmp_path):
    built = resolve_base("offline:qwen2_vl?untrained")
    assert Path(built, "config.json").is_file()
    assert resolve_base(built) == built
    assert resolve_base("Qwen/Qwen2-VL-2B-Instruct") == "Qwen/Qwen2-VL-2B-Instruct"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("offline:gpt", "unknown offline base 'gpt'"),
        ("offline:qwen2_vl?fast", "unknown option 'fast'"),
        ("/nowhere/at/all", "no such checkpoint folder"),
        ("nowhere", "no such checkpoint folder"),
        ("{tmp}", "holds no config.json"),
    ],
)
def test_a_wrong_name_is_one_line_that_says_so(name, said, tmp_path):
    with pytest.raises(InputError) as caught:
        resolve_base(name.format(tmp=tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no \*.safetensors weights"):
        resolve_base(str(tmp_path))


def test_the_hash_follows_the_weights_and_not_the_place(tmp_path):
    import shutil

    first = offline_base("qwen2_vl", pretext=False)
    copy = shutil.copytree(first, tmp_path / "copy")
    assert base_hash(copy) == base_hash(first)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert base_hash(copy) != base_hash(first)
