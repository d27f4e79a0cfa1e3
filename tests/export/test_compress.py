"""Compressed checkpoints: what transformers loads from them is near their source, and only where it should differ."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganglion.core.errors import InputError, MissingExtra
from ganglion.export.calibration import MAX_TOKENS, MIN_ROWS, calibration_rows
from ganglion.export.compress import check_choice, compress_checkpoint, load_compressed
from ganglion.export.vllm_files import write_video_settings

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.slow
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2")
# Largest relative errors of logits measured over the families, half as much again: random weights, 4 layers, 128 wide.
FAR = {"fp8": 0.22, "int8": 0.07, "int4": 0.62}


class Source:
    """A checkpoint with random weights, rows to calibrate on, others, the model's logits on those, and an int4 build.

    done  what compress_checkpoint said of the build
    """

    def __init__(self, family, out):
        from ganglion.export.prompts import fresh_cases, make_prompts
        from ganglion.model.offline import offline_base
        from ganglion.model.processor import load_processor
        from ganglion.model.vlm import load_vlm

        self.folder = offline_base(family, pretext=False)
        model = load_vlm(self.folder, dtype=torch.float32, device="cpu")
        rows = calibration_rows(model, make_prompts(model, load_processor(self.folder), fresh_cases(MIN_ROWS + 6)))
        self.rows, self.others = rows[:MIN_ROWS], rows[MIN_ROWS:]
        self.logits = logits(model, self.others)
        self.names = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
        self.int4 = out / "int4"
        self.done = compress_checkpoint(self.folder, self.int4, precision="int4")

    def error(self, folder):
        """Of the logits of a compressed checkpoint: their distance as a share of their size."""
        return float((logits(load_compressed(folder), self.others) - self.logits).norm() / self.logits.norm())


@pytest.fixture(scope="module", params=FAMILIES)
def source(request, tmp_path_factory):
    return Source(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def one_source(tmp_path_factory):
    return Source("qwen2_vl", tmp_path_factory.mktemp("one"))


@torch.no_grad()
def logits(model, rows):
    return torch.cat([model(**row).logits[0] for row in rows])


def tensors(folder):
    """Of all of a checkpoint's files."""
    from safetensors.torch import load_file

    return {key: tensor for file in sorted(folder.glob("*.safetensors")) for key, tensor in load_file(file).items()}


@pytest.mark.parametrize("precision", ["fp8", "int8"])
def test_a_compressed_checkpoint_reloads_near_its_source(source, tmp_path, precision):
    """Without its ignore list mended it answers NaN."""
    compress_checkpoint(source.folder, tmp_path / "out", precision=precision)
    assert 0.005 < source.error(tmp_path / "out") < FAR[precision]


def test_an_int4_checkpoint_reloads_near_its_source_and_nearer_by_gptq(source, tmp_path):
    """On rows that GPTQ has not seen."""
    compress_checkpoint(source.folder, tmp_path / "gptq", precision="int4", method="gptq", calibration=source.rows)
    rounded = source.error(source.int4)
    assert 0.01 < rounded < FAR["int4"]
    assert source.error(tmp_path / "gptq") < 0.8 * rounded  # 0.3 to 0.6 measured


def test_all_but_the_decoders_layers_is_bit_by_bit_the_source(source):
    before, after = tensors(source.folder), tensors(source.int4)
    same = {key for key in before if key in after and torch.equal(before[key], after[key])}
    packed = {key.removesuffix("_packed") for key in after if key.endswith("weight_packed")}
    assert set(before) == same | packed and not same & packed
    kinds = {".".join(key.split(".")[-3:-1]) for key in packed}
    # The last one's inputs, 320 of them, are no multiple of 128.
    assert kinds == {f"self_attn.{name}_proj" for name in "qkvo"} | {"mlp.gate_proj", "mlp.up_proj"}
    assert len(packed) == len(source.done.layers) == 24 and not any("visual" in key for key in packed)


def test_it_says_which_layers_it_left_and_why(source, tmp_path):
    done = source.done
    assert set(done.layers) | set(done.left) == source.names and not set(done.layers) & set(done.left)
    reasons = set(done.left.values())
    assert {"the output head", "its 320 inputs are no multiple of 128"} <= reasons
    assert ("part of the vision tower" in reasons) == any("visual" in name for name in source.names)
    whole = compress_checkpoint(source.folder, tmp_path / "whole", precision="int8")
    assert {name for name in whole.layers if name not in done.layers} == {
        name for name, why in done.left.items() if "320" in why
    }


def test_the_library_knows_by_the_ignore_list_what_is_compressed(source):
    model = load_compressed(source.int4)
    found = {name for name, part in model.named_modules() if hasattr(part, "quantization_scheme")}
    assert found == set(source.done.layers)
    config = json.loads((source.int4 / "config.json").read_text())
    assert all(name.startswith("re:") for name in config["quantization_config"]["ignore"])


def test_an_int4_weight_is_its_source_rounded_in_groups_of_128(one_source):
    found = dict(load_compressed(one_source.int4).named_parameters())
    weight = tensors(one_source.folder)["model.layers.0.mlp.up_proj.weight"].numpy()
    groups = weight.reshape(len(weight), -1, 128)
    scale = np.abs(groups).max(-1, keepdims=True) / 7.5
    wanted = (np.clip(np.round(groups / scale), -8, 7) * scale).reshape(weight.shape)
    name = next(name for name in one_source.done.layers if name.endswith("layers.0.mlp.up_proj"))
    np.testing.assert_allclose(found[f"{name}.weight"].numpy(), wanted, atol=1e-6)


def test_an_int8_layer_rounds_its_inputs_token_by_token(one_source, tmp_path):
    done = compress_checkpoint(one_source.folder, tmp_path / "out", precision="int8")
    layer = load_compressed(tmp_path / "out").get_submodule(done.layers[0])
    stored = tensors(tmp_path / "out")
    weight = stored["model.layers.0.self_attn.q_proj.weight"].numpy()
    assert weight.dtype == np.int8 and "q_proj" in done.layers[0]
    scale = stored["model.layers.0.self_attn.q_proj.weight_scale"].numpy()
    x = np.random.default_rng(0).normal(size=(5, 128)).astype(np.float32) * np.float32([[1], [2], [30], [0.1], [7]])
    step = np.abs(x).max(-1, keepdims=True) / 127.5
    wanted = (np.clip(np.round(x / step), -128, 127) @ weight.T) * step * scale.T + layer.bias.detach().numpy()
    found = layer(torch.from_numpy(x)[None])[0].detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    unrounded = x @ (weight * scale).T + layer.bias.detach().numpy()
    assert np.abs(found - unrounded).max() > 1e-3


def test_the_same_inputs_make_the_same_bytes(one_source, tmp_path):
    for name in ("one", "two"):
        compress_checkpoint(
            one_source.folder, tmp_path / name, precision="int4", method="gptq", calibration=one_source.rows
        )
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_prompt_files_come_along_and_vllm_gets_the_video_settings_it_wants(source):
    from ganglion.model.processor import load_processor

    video = {"video_preprocessor_config.json"} if (source.folder / "processor_config.json").exists() else set()
    assert {path.name for path in (source.int4).iterdir()} == {path.name for path in source.folder.iterdir()} | video
    assert (source.int4 / "model.safetensors").stat().st_mode & 0o444 == 0o444  # a server is somebody else
    for file in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (source.int4 / file).read_bytes() == (source.folder / file).read_bytes()
    assert load_processor(source.int4).apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    if video:
        settings = json.loads((source.int4 / video.pop()).read_text())
        assert settings["patch_size"] == load_processor(source.folder).image_processor.patch_size


@pytest.mark.parametrize(
    ("config", "file", "settings"),
    [
        ({"model_type": "qwen2_vl"}, "preprocessor_config.json", {"patch_size": 14}),
        ({"model_type": "qwen2_vl"}, "processor_config.json", {"image_processor": {}, "video_processor": {}}),
        ({"model_type": "qwen2"}, "processor_config.json", {"image_processor": {}}),
    ],
    ids=["as on the hub", "video in it", "no images"],
)
def test_video_settings_are_written_only_where_they_lack(tmp_path, config, file, settings):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / file).write_text(json.dumps(settings))
    write_video_settings(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", file}


def test_it_shows_nothing_writes_nowhere_else_and_asks_no_server(one_source, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, asked, told = one_source, [], []
    sys.addaudithook(lambda event, args: asked.append(args) if event == "socket.connect" else None)
    compress_checkpoint(
        source.folder,
        tmp_path / "out",
        precision="int4",
        method="gptq",
        calibration=source.rows,
        report=told.append,
    )
    load_compressed(tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not asked
    assert told[:2] == ["load the checkpoint", "compress 24 layers, leave 23"]
    assert told[2:] == [*(f"calibrate, part {n} of 5" for n in range(1, 6)), "write the compressed checkpoint"]


def test_it_names_the_extra_that_is_not_installed(one_source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "loguru", None)  # comes with llmcompressor
    with pytest.raises(MissingExtra, match=r"pip install 'ganglion\[export\]'"):
        compress_checkpoint(one_source.folder, tmp_path / "out", precision="int8")
    assert not (tmp_path / "out").exists()


def test_asking_whether_a_choice_is_possible_imports_nothing_heavy():
    code = "import sys, ganglion.export.compress as c; c.check_choice('int4', 'gptq'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "llmcompressor", "loguru"} & set(done.stdout.split())


def test_a_calibration_row_is_what_training_reads(one_source, tmp_path):
    from ganglion.core.tasks import Example
    from ganglion.export.prompts import fresh_cases, task_prompts
    from ganglion.model.dialogue.batching import collate
    from ganglion.model.dialogue.encoding import encode
    from ganglion.model.dialogue.images import ImageEncoder
    from ganglion.model.processor import load_processor
    from ganglion.model.vlm import load_vlm

    model = load_vlm(one_source.folder, dtype=torch.float32, device="cpu")
    processor = load_processor(one_source.folder)
    ((images, text),) = fresh_cases(1)
    images[0].save(tmp_path / "image.png")
    example = Example((tmp_path / "image.png",), text, '{"terrain": "stairs"}', {})
    (row,) = calibration_rows(model, task_prompts(model, processor, [example]))
    read = encode(processor, example, ImageEncoder(processor), with_answer=True)
    batch = collate([read], processor.tokenizer.pad_token_id, side="right")
    assert torch.equal(row["input_ids"], batch["input_ids"])
    batch.pop("labels")
    torch.testing.assert_close(logits(model, [row]), logits(model, [batch]))


@pytest.mark.parametrize(
    ("precision", "method", "message"),
    [
        ("int3", "rtn", "unknown precision 'int3'"),
        ("int4", "smoothquant", "unknown method 'smoothquant'"),
        ("int4", "awq", "'awq' needs an accelerator"),
        ("fp8", "gptq", "rounded to the nearest"),
    ],
)
def test_what_cant_be_done_is_refused_before_anything_is(precision, method, message):
    with pytest.raises(InputError, match=message) as refused:
        compress_checkpoint(Path("nowhere"), Path("nowhere"), precision=precision, method=method)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=message):
        check_choice(precision, method)


def row(length=8, batch=1, **more):
    return {"input_ids": torch.ones(batch, length, dtype=torch.long), **more}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row()] * (MIN_ROWS - 1), f"gptq has {MIN_ROWS - 1} rows"),
        ([], "gptq has 0 rows"),
        ([row()] * MIN_ROWS + [row(MAX_TOKENS + 1)], f"row {MIN_ROWS + 1}: is {MAX_TOKENS + 1} tokens long"),
        ([row()] * MIN_ROWS + [row(batch=2)], f"row {MIN_ROWS + 1}: holds 2 rows"),
        ([row()] * MIN_ROWS + [row(pixel_values=torch.ones(1))], "only one of them has 'pixel_values'"),
    ],
    ids=["too few", "none", "too long", "a batch", "with and without images"],
)
def test_rows_it_cant_calibrate_on_are_refused_in_one_line(one_source, tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as refused:
        compress_checkpoint(one_source.folder, tmp_path / "out", precision="int4", method="gptq", calibration=rows)
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_rows_that_would_do_nothing_are_refused(one_source, tmp_path):
    with pytest.raises(InputError, match="takes no calibration rows"):
        compress_checkpoint(one_source.folder, tmp_path / "out", precision="int4", calibration=one_source.rows)


def changed(source, folder, **text):
    """A checkpoint with another configuration; its weights are never read."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | text))
    return folder


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "is quantized already"),
        ({"model_type": "qwen3_moe", "num_experts": 4}, "is a mixture of experts"),
        ({"hidden_size": 192, "num_attention_heads": 6, "intermediate_size": 320}, "no layer can be compressed"),
    ],
    ids=["quantized", "experts", "no width fits"],
)
def test_a_source_it_cant_compress_is_refused_in_one_line(tmp_path, config, message):
    from ganglion.model.offline import offline_base

    folder = changed(offline_base("qwen2", pretext=False), tmp_path / "source", **config)
    with pytest.raises(InputError, match=message) as refused:
        compress_checkpoint(folder, tmp_path / "out", precision="int4")
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_folders_that_wont_do_are_refused_in_one_line(one_source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint"):
        compress_checkpoint(tmp_path / "empty", tmp_path / "out", precision="int8")
    (tmp_path / "empty/taken").touch()
    with pytest.raises(InputError, match="exists already"):
        compress_checkpoint(one_source.folder, tmp_path / "empty", precision="int8")
    with pytest.raises(InputError, match="is not compressed"):
        load_compressed(one_source.folder)
