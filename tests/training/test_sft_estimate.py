"""The estimate's parts against models that are really built, quantized and run, and against published sizes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ganglion.core.errors import InputError  # noqa: E402
from ganglion.model.offline import IMAGE_FAMILIES, offline_base  # noqa: E402
from ganglion.model.tuning import checkpoint_layers  # noqa: E402
from ganglion.model.vlm import load_vlm  # noqa: E402
from ganglion.training.estimate import get_device, image_tokens, read_config  # noqa: E402
from ganglion.training.flop_count import counting_flops  # noqa: E402
from ganglion.training.sft.adapter import add_adapter  # noqa: E402
from ganglion.training.sft.config import LoraOptions  # noqa: E402
from ganglion.training.sft.estimate import Plan, estimate, estimate_lines, remedy  # noqa: E402
from ganglion.training.sft.estimate.activations import Batch, activations  # noqa: E402
from ganglion.training.sft.estimate.flops import batch_flops  # noqa: E402
from ganglion.training.sft.estimate.skeleton import build_skeleton  # noqa: E402
from ganglion.training.sft.estimate.weights import frozen_weights, optimizer_bytes  # noqa: E402

REAL = json.loads((Path(__file__).parent / "real_configs.json").read_text())["models"]
QWEN2_VL_2B, QWEN3_VL_8B, CODELLAMA_7B_PYTHON = (
    REAL[name]["config"] for name in ("Qwen2-VL-2B", "Qwen3-VL-8B", "CodeLlama-7b-Python")
)
A100 = get_device("a100-40gb")
TINY_LLAMA = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TEXT_ONLY = r".*language_model.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
ROWS, TEXT, LABELED = 3, 40, 12


@pytest.mark.parametrize("name", REAL)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    config, published = REAL[name]["config"], REAL[name]["parameters"]
    assert build_skeleton(read_config(config), Plan()).parameters == published


@pytest.mark.slow
@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_parameter_counts_are_those_of_built_models(family: str) -> None:
    model = load_vlm(offline_base(family, pretext=False))
    skeleton = build_skeleton(read_config(f"offline:{family}"), Plan(lora_r=8))
    assert skeleton.parameters == sum(p.numel() for p in model.parameters())
    tuned = add_adapter(model, LoraOptions(r=8))
    assert sorted(skeleton.adapter) == sorted(p.numel() for p in tuned.parameters() if p.requires_grad)


def test_parameter_counts_of_a_text_model() -> None:
    from transformers import AutoModelForCausalLM

    config = read_config(TINY_LLAMA)
    model = AutoModelForCausalLM.from_config(config)
    assert build_skeleton(config, Plan()).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_frozen_bytes_are_those_of_a_loaded_model(quantization: str) -> None:
    """Every tensor that the quantized model keeps, once each; float32 otherwise."""
    model = quantized("qwen2_vl", quantization)
    tensors: dict[int, Any] = {}
    for parameter in model.parameters():
        tensors[parameter.untyped_storage().data_ptr()] = parameter
        state = getattr(parameter, "quant_state", None)
        for part in [] if state is None else [state.absmax, state.code, state.offset, state.state2]:
            for tensor in [part] if torch.is_tensor(part) else [part.absmax, part.code]:
                tensors[tensor.untyped_storage().data_ptr()] = tensor
        if getattr(parameter, "SCB", None) is not None:
            tensors[parameter.SCB.untyped_storage().data_ptr()] = parameter.SCB
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    held += sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    plan = Plan(quantization=quantization, dtype="float32")
    assert frozen_weights(build_skeleton(model.config, plan), plan).total == held


def quantized(family: str, quantization: str) -> Any:
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    base = offline_base(family, pretext=False)
    if quantization != "int8":
        return load_vlm(base, quantization=None if quantization == "none" else quantization)
    options = BitsAndBytesConfig(load_in_8bit=True)
    return AutoModelForImageTextToText.from_pretrained(
        base, quantization_config=options, dtype=torch.float32, device_map={"": "cpu"}
    )


def tuned(family: str, plan: Plan) -> Any:
    model = quantized(family, plan.quantization)
    targets = "all-linear" if plan.adapt_vision else TEXT_ONLY
    options = LoraOptions(r=plan.lora_r, dropout=plan.lora_dropout, target_modules=targets)
    model = add_adapter(model, options).train()
    model.config.use_cache = False
    if plan.gradient_checkpointing:
        checkpoint_layers(model)
    return model


def random_batch(config: Any) -> tuple[dict[str, Any], Batch]:
    """ROWS rows of one image and TEXT words, the first padded."""
    vision = config.vision_config
    side = 112 // vision.patch_size // 2 * 2
    patches = side * side
    tokens = patches // 4
    ids = torch.randint(20, 200, (ROWS, TEXT + tokens))
    ids[:, 3 : 3 + tokens] = config.image_token_id
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == config.image_token_id).long(),
        "labels": torch.randint(20, 200, (ROWS, LABELED)),
        "logits_to_keep": LABELED,
        "pixel_values": torch.randn(ROWS * patches, 3 * 2 * vision.patch_size**2),
        "image_grid_thw": torch.tensor([[1, side, side]] * ROWS),
    }, Batch(ROWS, TEXT + tokens, patches, ROWS, LABELED)


PLANS = [
    Plan(quantization=quantization, dtype="float32", lora_r=8, gradient_checkpointing=checkpointing, **options)
    for quantization, options in (
        ("nf4", {"lora_dropout": 0.1}),
        ("nf4", {"adapt_vision": False}),
        ("int8", {"lora_dropout": 0.0}),
        ("none", {"lora_dropout": 0.0, "adapt_vision": False}),
    )
    for checkpointing in (False, True)
]


def plan_name(plan: Plan) -> str:
    options = [plan.quantization, f"dropout{plan.lora_dropout}"]
    return "-".join([*options, *["frozen tower"] * (not plan.adapt_vision), *["gc"] * plan.gradient_checkpointing])


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS, ids=plan_name)
@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_operations_from_shapes_are_those_counted_while_running(family: str, plan: Plan) -> None:
    model = tuned(family, plan)
    inputs, batch = random_batch(model.config)
    with counting_flops() as count:
        model(**inputs).loss.backward()
    assert batch_flops(build_skeleton(model.config, plan), plan, batch) == pytest.approx(count.flops, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [p for p in PLANS if not p.gradient_checkpointing], ids=plan_name)
@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_kept_activations_are_those_autograd_saves(family: str, plan: Plan) -> None:
    """Within 4 %: autograd's own account, weights and the loss left out."""
    model = tuned(family, plan)
    inputs, batch = random_batch(model.config)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved, alive = {}, []

    def keep(tensor: Any) -> Any:
        alive.append(tensor)  # or its address could come up again
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(**inputs).loss
    measured = sum(size for address, size in saved.items() if address not in weights)
    measured -= batch.rows * batch.labeled * model.config.get_text_config().vocab_size * 4
    kept = activations(build_skeleton(model.config, plan), plan, batch, on_gpu=False).kept
    assert kept == pytest.approx(measured, rel=0.04)
    del loss


def test_nothing_is_allocated_for_a_model_of_8_billion_weights() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = estimate(QWEN3_VL_8B, Plan(lora_r=17), A100)
    assert found.parameters > 8e9
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2e9  # its weights would be 17.5 GB


@pytest.mark.parametrize("checkpointing", [False, True])
def test_more_rows_tokens_or_pixels_take_more(checkpointing: bool) -> None:
    plan = Plan(gradient_checkpointing=checkpointing, batch_size=2)
    base = estimate(QWEN2_VL_2B, plan, A100)
    for more in ({"batch_size": 3}, {"text_tokens": 600}, {"image_size": (1280, 960)}, {"images": 2}):
        larger = estimate(QWEN2_VL_2B, replace(plan, **more), A100)
        assert larger.activations.peak > base.activations.peak and larger.step_flops > base.step_flops, more


def test_each_remedy_saves_memory() -> None:
    plan = Plan(quantization="none", batch_size=8, image_size=(1280, 960))
    whole = estimate(QWEN2_VL_2B, plan, A100).total
    for change in (
        {"gradient_checkpointing": True},
        {"quantization": "nf4"},
        {"batch_size": 4, "accumulation": 2},
        {"optimizer": "adamw_8bit"},
        {"max_pixels": 200_000},
        {"lora_dropout": 0.0},
        {"adapt_vision": False},
    ):
        assert estimate(QWEN2_VL_2B, replace(plan, **change), A100).total < whole, change


def test_what_does_not_fit_comes_with_options_that_make_it_fit() -> None:
    plan = Plan(quantization="none", batch_size=64, text_tokens=1024)
    found = estimate(CODELLAMA_7B_PYTHON, plan, A100)
    advice = remedy(CODELLAMA_7B_PYTHON, found)
    assert not found.fits and advice is not None and advice.startswith("fits with --gradient_checkpointing true")
    assert estimate_lines(found, advice)[-1] == advice
    assert any("does not fit NVIDIA A100 40 GB" in line for line in estimate_lines(found))
    small = estimate(CODELLAMA_7B_PYTHON, replace(plan, batch_size=1, gradient_checkpointing=True), A100)
    assert small.fits and remedy(CODELLAMA_7B_PYTHON, small) is None


def test_where_nothing_helps_it_says_so() -> None:
    huge = CODELLAMA_7B_PYTHON | {"num_hidden_layers": 320}
    found = estimate(huge, Plan(), get_device("rtx-3090"))
    advice = str(remedy(huge, found))
    assert "smaller base" in advice and "--optim.name adamw_8bit" in advice and "pixels" not in advice


def test_image_tokens_are_those_the_processor_makes() -> None:
    from PIL import Image

    from ganglion.model.processor import load_processor

    base = offline_base("qwen2_vl", pretext=False)
    processor = load_processor(base, max_pixels=10_000)
    made = processor.image_processor(images=[Image.new("RGB", (130, 70))], return_tensors="pt")
    one = image_tokens(read_config(base).vision_config, (130, 70), 10_000)
    assert one.patches == len(made["pixel_values"]) and one.tokens == one.patches // 4


def test_8_bit_moments_are_those_bitsandbytes_keeps() -> None:
    import bitsandbytes as bnb

    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ((64, 100), (16, 16))]
    optimizer = bnb.optim.AdamW8bit(weights)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    held = sum(
        tensor.numel() * tensor.element_size()
        for state in optimizer.state.values()
        for name, tensor in state.items()
        if torch.is_tensor(tensor) and not name.startswith("qmap")
    )
    assert optimizer_bytes([6400, 256], "adamw_8bit") == held


@pytest.mark.parametrize(
    ("base", "plan", "named"),
    [
        ({"model_type": "no_such_model"}, Plan(), "no usable config"),
        ("/no/such/folder", Plan(), "/no/such/folder"),
        (TINY_LLAMA, Plan(target_modules=("no_such_layer",)), "target_modules"),
        (TINY_LLAMA, Plan(quantization="int3"), "int3"),
        ({"model_type": "vit"}, Plan(), "vit"),
    ],
)
def test_bad_input_is_named(base: Any, plan: Plan, named: str) -> None:
    with pytest.raises(InputError, match=named):
        estimate(base, plan, A100)


def test_an_unknown_device_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="a100-40gb"):
        get_device("abacus")
