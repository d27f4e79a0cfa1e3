"""A backbone that learns: which parts, in what precision, and read back bit for bit."""

import copy
import functools
import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ganglion.core.errors import InputError
from ganglion.model.backbone.backbone import Backbone
from ganglion.model.backbone.facts import describe_backbone
from ganglion.model.backbone.finetune import finetune, learning, merge_adapter
from ganglion.model.backbone.options import FinetuneOptions
from ganglion.model.backbone.tuned import load_tuned, save_tuned
from ganglion.model.checkpoint import resolve_base

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
IMAGES = ([Image.new("RGB", (112, 112), "olive"), Image.new("RGB", (84, 112), "navy")], [Image.new("RGB", (56, 56))])
GOALS = ("Touch the mark.", "Go.")
LORA, FULL = FinetuneOptions("lora", r=4, dropout=0.0), FinetuneOptions("full", layers=1)
SEEING = [FinetuneOptions("lora", r=4, vision=True), FinetuneOptions("full", layers=1, vision=True)]


@functools.cache
def loaded(family, layer, precision):
    return Backbone(describe_backbone(f"offline:{family}?untrained", layer, precision=precision), "cpu")


def fresh(family="qwen2_vl", layer=2, precision="float32"):
    return copy.deepcopy(loaded(family, layer, precision))


def features(backbone):
    return backbone.features(IMAGES, GOALS)[0]


def learn(backbone, options, steps=3, lr=1e-2):
    """What finetune returned, after some steps toward features of another size."""
    torch.manual_seed(0)
    groups = finetune(backbone, options)
    optimizer = torch.optim.AdamW([{"params": parameters} for parameters in groups.values()], lr=lr)
    backbone.train()
    for _ in range(steps):
        features(backbone).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    backbone.eval()
    return groups


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [LORA, FULL, *SEEING], ids=["lora", "full", "lora+vision", "full+vision"])
def test_what_was_learned_reads_back_bit_for_bit(family, options, tmp_path):
    backbone, untouched = fresh(family), fresh(family)
    groups = learn(backbone, options)
    assert set(groups) == {"vl_lora" if options.mode == "lora" else "vl", *(["vision"] if options.vision else [])}
    save_tuned(backbone, tmp_path / "backbone")
    with torch.no_grad():
        want = features(backbone)
        assert (want - features(untouched)).abs().max() > 1e-3
        assert {name: len(found) for name, found in load_tuned(untouched, tmp_path / "backbone").items()} == {
            name: len(found) for name, found in groups.items()
        }
        assert torch.equal(features(untouched), want)


@pytest.mark.parametrize("options", [LORA, FULL, *SEEING], ids=["lora", "full", "lora+vision", "full+vision"])
def test_every_parameter_that_learns_gets_a_gradient_and_no_other(options):
    backbone = fresh("qwen3_vl", layer=1)  # one layer is used, deepstack has two levels
    groups = finetune(backbone, options)
    backbone.train()
    torch.manual_seed(0)
    (features(backbone) * torch.randn(128)).sum().backward()
    ours = {id(parameter) for parameters in groups.values() for parameter in parameters}
    assert ours == {id(value) for value in backbone.parameters() if value.grad is not None}
    assert ours == {id(value) for _, value in learning(backbone)}


def test_the_groups_hold_what_they_say():
    full = fresh(layer=3)
    groups = finetune(full, FinetuneOptions("full", layers=2, vision=True))
    names = {id(value): name for name, value in full.model.named_parameters()}
    assert {names[id(value)].split(".")[3] for value in groups["vl"]} == {"1", "2"}
    assert all("visual." in names[id(value)] for value in groups["vision"])
    lora = fresh()
    finetune(lora, LORA)
    assert all("lora_" in name and "visual." not in name for name, _ in learning(lora))


def test_a_frozen_backbone_has_nothing_to_learn_and_leaves_nothing(tmp_path):
    backbone = fresh()
    assert finetune(backbone, FinetuneOptions()) == {}
    assert not features(backbone).requires_grad
    save_tuned(backbone, tmp_path / "backbone")
    assert not (tmp_path / "backbone").exists()


@pytest.mark.parametrize("options", [LORA, FULL], ids=["lora", "full"])
def test_in_bfloat16_small_steps_are_not_rounded_away(options, tmp_path):
    backbone = fresh(precision="bfloat16")
    before = {name: value.detach().clone() for name, value in backbone.model.named_parameters()}
    learn(backbone, options, steps=1, lr=5e-6)
    moved = [(name, value) for name, value in learning(backbone) if not torch.equal(value, before.get(name, value))]
    assert all(value.dtype == torch.float32 for _, value in learning(backbone))
    if options.mode == "full":
        weights = [name for name, _ in moved if "proj.weight" in name]
        assert len(weights) == 7
    save_tuned(backbone, tmp_path / "backbone")
    again = fresh(precision="bfloat16")
    load_tuned(again, tmp_path / "backbone")
    with torch.no_grad():
        assert torch.equal(features(again), features(backbone))


@pytest.mark.parametrize("options", [LORA, *SEEING], ids=["lora", "lora+vision", "full+vision"])
def test_checkpointing_changes_no_gradient(options):
    def gradients(checkpointed):
        torch.manual_seed(0)
        backbone = fresh("qwen3_vl")
        if checkpointed:
            backbone.checkpoint_gradients()
        finetune(backbone, options)
        if checkpointed:
            backbone.checkpoint_gradients()
        backbone.train()
        torch.manual_seed(1)
        features(backbone).square().mean().backward()
        return {name: value.grad for name, value in learning(backbone)}

    plain, again = gradients(False), gradients(True)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-4)


def test_an_adapter_is_a_plain_one_of_the_whole_base(tmp_path):
    from peft import PeftModel

    from ganglion.model.checkpoint import resolve_base
    from ganglion.model.vlm import load_vlm

    backbone = fresh()
    learn(backbone, LORA)
    save_tuned(backbone, tmp_path / "backbone")
    views = backbone.encode(IMAGES[:1], GOALS[:1])
    whole = load_vlm(resolve_base(backbone.facts.base), dtype=torch.float32, device="cpu")
    tuned = PeftModel.from_pretrained(whole, tmp_path / "backbone").get_base_model()
    with torch.no_grad():
        states = tuned.model(**views.inputs, output_hidden_states=True).hidden_states
        assert torch.equal(states[2], backbone(views)[0])
    config = json.loads((tmp_path / "backbone/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "offline:qwen2_vl?untrained"


def test_a_merged_adapter_gives_the_same_features():
    backbone = fresh()
    learn(backbone, LORA)
    with torch.no_grad():
        before = features(backbone)
        merge_adapter(backbone)
        torch.testing.assert_close(features(backbone), before, atol=1e-5, rtol=1e-5)
    assert not hasattr(backbone.model, "peft_config")
    merge_adapter(backbone)  # a plain one stays as it is


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "qlora"}, "mode is 'qlora'"),
        ({"mode": "full", "layers": -1}, "layers is -1"),
        ({"mode": "lora", "r": 0}, "r is 0"),
        ({"mode": "lora", "dropout": 1.0}, "dropout 1.0"),
        ({"mode": "lora", "alpha": 0.0}, "alpha is 0.0"),
    ],
)
def test_options_that_mean_nothing_are_named(options, message):
    with pytest.raises(InputError, match=message):
        FinetuneOptions(**options)


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (0, FinetuneOptions("lora"), "nothing is to learn"),
        (0, FinetuneOptions("full"), "nothing is to learn"),
        (2, FinetuneOptions("full", layers=0), "nothing is to learn"),
        (2, FinetuneOptions("lora", target_modules=["no_such"]), "no_such"),
    ],
)
def test_where_nothing_would_learn_it_is_said(layer, options, message):
    with pytest.raises(InputError, match=message):
        finetune(fresh(layer=layer), options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / "backbone"
    backbone = fresh()
    learn(backbone, FULL, steps=1)
    save_tuned(backbone, folder)
    return folder


def copied(saved, tmp_path):
    folder = tmp_path / "backbone"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_another_base_or_layer_is_refused(saved):
    with pytest.raises(InputError, match="is of another base_hash"):
        load_tuned(fresh("qwen2_5_vl"), saved)
    with pytest.raises(InputError, match=r"is of another vl_layer \(2, not 3\)"):
        load_tuned(fresh(layer=3), saved)


def test_what_is_damaged_is_named(saved, tmp_path):
    with pytest.raises(InputError, match=r"backbone\.json: is missing"):
        load_tuned(fresh(), tmp_path)
    folder = copied(saved, tmp_path)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"model\.safetensors: is damaged"):
        load_tuned(fresh(), folder)
    weights.write_bytes(whole)
    tensors = load_file(weights)
    name = min(tensors)
    save_file({**tensors, name: tensors[name][:1].clone()}, weights)
    with pytest.raises(InputError, match=f"{name} has shape .* the base wants"):
        load_tuned(fresh(), folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: is missing"):
        load_tuned(fresh(), folder)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("{", "can't be read"),
        ("[]", "holds list, not an object"),
        ('{"format_version": 2}', "has format version 2"),
        ('{"format_version": 1}', "is of another base_hash"),
    ],
)
def test_a_description_that_says_something_else_is_refused(saved, tmp_path, about, message):
    folder = copied(saved, tmp_path)
    (folder / "backbone.json").write_text(about)
    with pytest.raises(InputError, match=message):
        load_tuned(fresh(), folder)
    text = json.loads((saved / "backbone.json").read_text())
    (folder / "backbone.json").write_text(json.dumps({**text, "finetune": {"mode": "full", "depth": 3}}))
    with pytest.raises(InputError, match="can't be used"):
        load_tuned(fresh(), folder)


@pytest.mark.parametrize("options", SEEING, ids=["lora", "full"])
def test_a_policys_folder_named_as_a_base_is_a_whole_checkpoint_with_what_was_learned_in_it(
    options, tmp_path, monkeypatch
):
    built = resolve_base("offline:qwen2_vl?untrained")
    monkeypatch.setenv("GANGLION_CACHE", str(tmp_path / "cache"))
    base = tmp_path / "base"
    base.symlink_to(built)
    backbone = Backbone(describe_backbone(str(base), 2, precision="float32"), "cpu")
    learn(backbone, options)
    save_tuned(backbone, tmp_path / "policy/backbone")
    facts = describe_backbone(str(tmp_path / "policy"), 2, precision="float32")
    assert facts.base_hash != backbone.facts.base_hash
    with torch.no_grad():
        found, want = features(Backbone(facts, "cpu")), features(backbone)
    tolerance = 1e-4 if options.mode == "lora" else 0.0  # merging rounds
    torch.testing.assert_close(found, want, rtol=tolerance, atol=tolerance)
    # Made once, and anew where something else was learned.
    assert resolve_base(str(tmp_path / "policy")) == resolve_base(str(tmp_path / "policy"))
    before = resolve_base(str(tmp_path / "policy"))
    learn(backbone := Backbone(backbone.facts, "cpu"), options, steps=1)
    save_tuned(backbone, tmp_path / "policy/backbone")
    assert resolve_base(str(tmp_path / "policy")) != before


def test_a_policys_folder_is_no_base_where_that_which_it_learned_on_is_another_now(tmp_path):
    backbone = fresh()
    learn(backbone, FULL, steps=1)
    save_tuned(backbone, tmp_path / "backbone")
    about = json.loads((tmp_path / "backbone/backbone.json").read_text())
    (tmp_path / "backbone/backbone.json").write_text(json.dumps(about | {"base_hash": "0" * 64}))
    with pytest.raises(InputError, match="learned on another base"):
        resolve_base(str(tmp_path))
