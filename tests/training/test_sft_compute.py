"""What the compute meter counts is what really went through the model, and counting changes nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from transformers import Trainer, TrainerState, TrainingArguments, set_seed  # noqa: E402

from ganglion.core.bundle import sha256_file  # noqa: E402
from ganglion.model.offline import offline_base  # noqa: E402
from ganglion.model.vlm import load_vlm  # noqa: E402
from ganglion.training.sft.adapter import add_adapter  # noqa: E402
from ganglion.training.sft.compute import ComputeMeter, compute_lines, compute_report  # noqa: E402
from ganglion.training.sft.compute.counts import Counts  # noqa: E402
from ganglion.training.sft.compute.energy import EnergyCounter, energy_counter  # noqa: E402
from ganglion.training.sft.config import LoraOptions  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PAD, SIDE, STEPS = 0, 56, 12  # so that the 11th batch, whose FLOPs are counted again, comes after the resume
COUNTED = ("steps", "batches", "samples", "images", "tokens", "answer_tokens", "padded_tokens", "counted_batches")


class MeteredTrainer(Trainer):
    """As the meter's docstring says to use it."""

    meter: ComputeMeter | None = None

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.meter is None:
            return super().training_step(model, inputs, num_items_in_batch)
        with self.meter.measuring(inputs):
            return super().training_step(model, inputs, num_items_in_batch)

    def _save(self, output_dir=None, state_dict=None):
        self.model.save_pretrained(output_dir, save_embedding_layers=False)


def rows(config: Any) -> list[dict[str, Any]]:
    """Rows of unequal length with no, one or two images each."""
    draw = torch.Generator().manual_seed(3)
    patches, found = (SIDE // 14) ** 2, []
    for index in range(10):
        images = index % 3
        image = [config.vision_start_token_id, *[config.image_token_id] * (patches // 4), config.vision_end_token_id]
        words = torch.randint(20, 200, (5 + 3 * index,), generator=draw).tolist()
        answer = torch.randint(20, 200, (2 + index % 4,), generator=draw).tolist()
        pixels = torch.randn(images * patches, 1176, generator=draw)
        found.append({"prompt": image * images + words, "answer": answer, "pixels": pixels, "images": images})
    return found


def collate(config: Any):
    def batch(found):
        longest = max(len(row["prompt"]) + len(row["answer"]) for row in found)
        empty = [longest - len(row["prompt"]) - len(row["answer"]) for row in found]
        ids = torch.tensor([[PAD] * n + r["prompt"] + r["answer"] for n, r in zip(empty, found, strict=True)])
        labels = [[-100] * (n + len(r["prompt"])) + r["answer"] for n, r in zip(empty, found, strict=True)]
        made = {
            "input_ids": ids,
            "attention_mask": torch.tensor([[0] * n + [1] * (longest - n) for n in empty]),
            "mm_token_type_ids": (ids == config.image_token_id).long(),
            "labels": torch.tensor(labels),
        }
        if images := sum(row["images"] for row in found):
            made["pixel_values"] = torch.cat([row["pixels"] for row in found])
            made["image_grid_thw"] = torch.tensor([[1, SIDE // 14, SIDE // 14]] * images)
        return made

    return batch


def train(folder: Path, *, metered: bool = True, resume: str | None = None, stop: int | None = None) -> MeteredTrainer:
    """STEPS optimizer steps of two batches each, over shuffled rows, with dropout; cut short at `stop`."""
    set_seed(0)
    model = load_vlm(offline_base("qwen2_vl", pretext=False), quantization="nf4")
    meter = ComputeMeter()
    trainer = MeteredTrainer(
        model=add_adapter(model, LoraOptions(r=4, dropout=0.1)),
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=STEPS,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            save_steps=3,
            learning_rate=1e-3,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=True,
            seed=0,
        ),
        train_dataset=rows(model.config),
        data_collator=collate(model.config),
        callbacks=[meter] if metered else [],
    )
    trainer.meter = meter if metered else None
    if stop:
        inner = trainer.training_step

        def interrupted(*args):
            if trainer.state.global_step == stop:
                raise KeyboardInterrupt
            return inner(*args)

        trainer.training_step = interrupted
    try:
        trainer.train(resume_from_checkpoint=resume)
    except KeyboardInterrupt:
        assert stop
    return trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> MeteredTrainer:
    return train(tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_counts_are_those_of_the_data(whole: MeteredTrainer) -> None:
    # 12 steps of up to 4 of 10 rows: each epoch is 3 steps (batches of 2 rows: 2, 2 and 1), so 4 whole epochs.
    found = rows(whole.model.config)
    counts = whole.meter.counts
    assert (counts.steps, counts.batches, counts.samples) == (12, 4 * 5, 4 * 10)
    assert counts.images == 4 * sum(row["images"] for row in found)
    assert counts.tokens == 4 * sum(len(row["prompt"]) + len(row["answer"]) for row in found)
    assert counts.answer_tokens == 4 * sum(len(row["answer"]) for row in found)
    assert counts.padded_tokens > counts.tokens


@pytest.mark.slow
def test_a_resumed_run_counts_like_an_uninterrupted_one(whole: MeteredTrainer, tmp_path: Path) -> None:
    train(tmp_path, stop=8)
    checkpoint = tmp_path / "checkpoint-6"
    saved = json.loads((checkpoint / "trainer_state.json").read_text())["stateful_callbacks"]["ComputeMeter"]
    assert saved["attributes"]["counts_so_far"]["steps"] == 6
    resumed = train(tmp_path, resume=str(checkpoint))
    mine, theirs = resumed.meter.counts, whole.meter.counts
    assert {name: getattr(mine, name) for name in COUNTED} == {name: getattr(theirs, name) for name in COUNTED}
    assert (mine.counted_flops, mine.counted_tokens) == (theirs.counted_flops, theirs.counted_tokens)
    assert mine.counted_batches == 2
    assert mine.wall_seconds > saved["attributes"]["counts_so_far"]["wall_seconds"] > 0


@pytest.mark.slow
def test_counting_changes_no_weight(whole: MeteredTrainer, tmp_path: Path) -> None:
    train(tmp_path, metered=False)
    last = f"checkpoint-{STEPS}/adapter_model.safetensors"
    plain, metered = tmp_path / last, Path(whole.args.output_dir) / last
    assert sha256_file(plain) == sha256_file(metered)
    assert any(tensor.abs().max() > 0 for name, tensor in load_file(plain).items() if "lora_B" in name)


@pytest.mark.slow
def test_the_report_has_every_documented_key_and_no_other(whole: MeteredTrainer) -> None:
    report = compute_report(whole.meter)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    page = (ROOT / "docs/reference/compute.md").read_text()
    rows_of_table = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {name.strip(" `") for cell in rows_of_table for name in cell.split(",")}
    keys: set[str] = set()
    for key, value in report.items():
        nested = isinstance(value, dict) and key not in ("hardware", "versions")
        keys |= {f"{key}.{inner}" for inner in value} if nested else {key}
    assert keys == documented
    assert report["flops"]["total"] > 0 and report["seconds"]["device"] > 0
    assert report["peak_memory"]["gpu_allocated_bytes"] is None or torch.cuda.is_available()
    assert all(line.startswith("|") and line.count("|") == 3 for line in compute_lines(report))


def test_a_state_with_fewer_counts_is_not_restored() -> None:
    """A later stage's trainer starts with a state that was made before the earlier stage ended."""
    meter = ComputeMeter()
    early = TrainerState(stateful_callbacks=[meter])
    for _ in range(3):
        with meter.measuring({"input_ids": torch.ones(2, 5, dtype=torch.long)}):
            pass
    meter.restore(early)
    assert (meter.counts.batches, meter.counts.samples, meter.counts.tokens) == (3, 6, 30)
    other = ComputeMeter()
    other.restore(TrainerState(stateful_callbacks=[meter]))
    assert other.counts == meter.counts


def test_packed_rows_count_as_the_samples_they_hold() -> None:
    meter = ComputeMeter()
    with meter.measuring({"input_ids": torch.ones(1, 8, dtype=torch.long)}, samples=3):
        pass
    assert meter.counts.samples == 3


_TWO_PROCESSES = """
import sys, torch, torch.distributed as dist
from ganglion.training.sft.compute.counts import Counts, over_processes
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
mine = Counts(steps=4, samples=10 + rank, wall_seconds=1.5 + rank, device_seconds=2.0, peak_rss_bytes=100 - rank)
print(over_processes(mine, "cpu"))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_counts_of_two_processes_add_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TWO_PROCESSES]
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meet")], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    expected = Counts(steps=4, samples=21, wall_seconds=2.5, device_seconds=4.0, peak_rss_bytes=100)
    assert [process.communicate()[0].strip() for process in both] == [str(expected)] * 2


def test_rapl_adds_up_packages_and_survives_a_wrap(tmp_path: Path) -> None:
    for zone, start in (("intel-rapl:0", 900), ("intel-rapl:1", 0), ("intel-rapl:0:0", 5)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{start}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("1000\n")
    counter = energy_counter(None, tmp_path)
    assert isinstance(counter, EnergyCounter)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("100\n")  # wrapped: 200
    (tmp_path / "intel-rapl:1/energy_uj").write_text("50\n")
    (tmp_path / "intel-rapl:0:0/energy_uj").write_text("70\n")  # a part of package 0
    assert counter.read() == pytest.approx(250e-6)


def test_where_energy_is_not_counted_the_reason_is_given(tmp_path: Path) -> None:
    assert "no RAPL zone" in str(energy_counter(None, tmp_path))
    assert "can't be loaded" in str(energy_counter("GPU-0", nvml=str(tmp_path / "libabsent.so")))


_NVML = """
static unsigned long long millijoules = 5000;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { *device = &millijoules; return uuid[4] != '7'; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy) {
  *energy = *(unsigned long long *)device; millijoules += 1500; return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to make a stand-in for NVIDIA's library")
def test_nvml_is_called_as_its_header_declares_it(tmp_path: Path) -> None:
    source, library = tmp_path / "nvml.c", tmp_path / "libnvml.so"
    source.write_text(_NVML)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    counter = energy_counter("GPU-7", nvml=str(library))
    assert isinstance(counter, EnergyCounter)
    assert counter.read() == pytest.approx(1.5)
    assert energy_counter("GPU-8", nvml=str(library)) == "NVML does not find GPU-8"
