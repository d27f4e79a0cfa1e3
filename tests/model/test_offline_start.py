"""What the offline base's network starts from: filters that see edges, heads that look at neighbors."""

import copy

import pytest
import torch
from PIL import Image

from ganglion.model.offline import IMAGE_FAMILIES, offline_base
from ganglion.model.offline.drawings import draw
from ganglion.model.offline.start import prepare
from ganglion.model.offline.steps import Workers
from ganglion.model.processor import load_processor
from ganglion.model.vlm import load_vlm


def prepared(family):
    path = offline_base(family, pretext=False)
    processor, model = load_processor(path), load_vlm(path)
    pixels = processor.image_processor([draw(1, k).image for k in range(60)], return_tensors="pt")["pixel_values"]
    torch.manual_seed(0)
    prepare(model, pixels.unflatten(0, (60, -1)))
    return model, processor, pixels


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_patch_filters_give_independent_outputs_of_like_size(family):
    model, _, pixels = prepared(family)
    weight = model.model.visual.patch_embed.proj.weight
    covariance = torch.cov((pixels @ weight.flatten(1).T).T)
    size = covariance.diagonal().mean()
    assert 0.2 < size < 1.5
    off = covariance - covariance.diagonal().diag()
    assert off.abs().mean() < 0.1 * size


def test_first_heads_attend_to_the_neighbor_they_are_set_to(monkeypatch):
    from transformers.models.qwen2_vl import modeling_qwen2_vl as modeling

    model, processor, _ = prepared("qwen2_vl")
    visual, seen = model.model.visual, []
    visual.config._attn_implementation = "eager"
    eager = modeling.eager_attention_forward

    def recorded(*args, **options):
        out = eager(*args, **options)
        seen.append(out[1])
        return out

    monkeypatch.setattr(modeling, "eager_attention_forward", recorded)
    image = processor.image_processor([Image.new("RGB", (112, 112), "gray")], return_tensors="pt")
    with torch.no_grad():
        visual(image["pixel_values"], grid_thw=image["image_grid_thw"])
    # Patches come in groups of 2 x 2 that are merged later.
    places = [(2 * a + c, 2 * b + d) for a in range(4) for b in range(4) for c in (0, 1) for d in (0, 1)]
    for head, (down, right) in enumerate(((0, 1), (0, -1), (1, 0), (-1, 0))):
        most = seen[0][0, head, places.index((4, 4))].argmax()
        assert places[most] == (4 + down, 4 + right)


def test_workers_add_up_to_the_gradient_of_the_whole_and_leave_thread_counts():
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 1)
    x = torch.randn(16, 8)
    whole = copy.deepcopy(layer)
    whole(x).square().mean().backward()
    threads = torch.get_num_threads()
    with Workers(2) as workers:
        loss = workers.backward(list(range(16)), lambda part: layer(x[part]).square().mean())
    assert torch.get_num_threads() == threads
    assert loss == pytest.approx(whole(x).square().mean().item(), rel=1e-5)
    assert torch.allclose(layer.weight.grad, whole.weight.grad, atol=1e-6)


def test_an_error_in_a_worker_reaches_the_caller():
    def broken(_part):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), Workers(2) as workers:
        workers.backward([1, 2], broken)
