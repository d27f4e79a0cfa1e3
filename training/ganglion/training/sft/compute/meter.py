"""Counting what training takes, while transformers.Trainer trains. Nothing that is learned changes by it.

    meter = ComputeMeter()                      # the last of Trainer's callbacks
    def training_step(self, model, inputs, num_items_in_batch=None):
        with meter.measuring(inputs):           # each forward and backward pass, whatever the accumulation
            return super().training_step(model, inputs, num_items_in_batch)

The counts travel in trainer_state.json, so that a resumed run goes on from those of its checkpoint. In data-parallel
training each process counts its own batches, and the counts are summed before each checkpoint and at the end.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ganglion.training.flop_count import counting_flops
from ganglion.training.sft.compute.clock import DeviceClock
from ganglion.training.sft.compute.counts import Counts, over_processes, world_size
from ganglion.training.sft.compute.energy import EnergyCounter, energy_counter
from ganglion.training.sft.compute.hardware import gpu_uuid

UNLABELED = -100
# The FLOPs of a process's first batch are counted, then those of the 11th, 101st, 1001st...: enough to see data whose
# later batches differ from the first, too few to slow training (a counted pass of the offline base took 1.5 times as
# long).
_COUNTED = frozenset({0, *(10**k for k in range(1, 10))})


class ComputeMeter(TrainerCallback, ExportableState):  # type: ignore[misc]  # transformers is untyped here
    """Counts steps, batches, tokens, time, FLOPs, memory and energy of a run; one meter may serve several stages."""

    def __init__(self) -> None:
        self._settled, self._pending = Counts(), Counts()  # of all processes; of this one since then
        self._batches = 0  # of this process in the whole run: which batches have their FLOPs counted
        self._tensor_counts: dict[str, torch.Tensor] = {}
        self._wall: float | None = None
        self._step: float | None = None
        self._clock = DeviceClock()
        self._energy: EnergyCounter | str = "not trained yet"
        self._energy_seen = 0.0
        self._device: Any = "cpu"

    @contextmanager
    def measuring(self, batch: Mapping[str, Any], samples: int | None = None) -> Iterator[None]:
        """Count one batch, around its forward and backward pass.

        Args:
            batch: input_ids (B, T); attention_mask (B, T), labels (B, any) and image_grid_thw (images, 3) where there
                are any. Read only.
            samples: rows of the data in it; default B, which is wrong for packed rows.
        """
        ids = batch["input_ids"]
        self._pending.batches += 1
        self._pending.samples += ids.shape[0] if samples is None else samples
        self._pending.padded_tokens += ids.numel()
        self._pending.images += len(batch["image_grid_thw"]) if "image_grid_thw" in batch else 0
        mask, labels = batch.get("attention_mask"), batch.get("labels")
        self._add("tokens", torch.tensor(ids.numel()) if mask is None else (mask != 0).sum())
        if labels is not None:
            self._add("answer_tokens", (labels != UNLABELED).sum())
        self._batches += 1
        if self._batches - 1 not in _COUNTED:
            yield
            return
        with counting_flops() as count:
            yield
        self._pending.counted_batches += 1
        self._pending.counted_flops += count.flops
        self._pending.counted_tokens += ids.numel()

    @property
    def counts(self) -> Counts:
        """Of all processes, up to the last checkpoint or the end; of a single process, up to now."""
        if world_size() == 1:
            self._settle()
        return self._settled

    @property
    def device_seconds_kind(self) -> str:
        """What `device_seconds` are here."""
        return self._clock.kind

    @property
    def energy_source(self) -> tuple[bool, str]:
        """Whether energy is counted, and by what, or why not."""
        counted = isinstance(self._energy, EnergyCounter)
        return counted, self._energy.source if isinstance(self._energy, EnergyCounter) else self._energy

    def state(self) -> dict[str, Any]:
        """What trainer_state.json keeps: plain JSON."""
        attributes = {"counts_so_far": asdict(self.counts), "batches_so_far": self._batches}
        return {"args": {}, "attributes": attributes}

    def restore(self, state: Any) -> None:
        """Go on from the counts in a TrainerState; one that has fewer than are known already is left aside.

        Trainer calls it, by `on_train_begin`. To be called by hand where a finished state is read without training.
        """
        attributes = (state.stateful_callbacks or {}).get(type(self).__name__, {}).get("attributes")
        if attributes and attributes["counts_so_far"]["batches"] > self._settled.batches + self._pending.batches:
            self._settled, self._pending = Counts(**attributes["counts_so_far"]), Counts()
            self._batches = attributes["batches_so_far"]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take up the counts of a checkpoint, and start the clocks."""
        self.restore(state)
        self._device = args.device
        # Each process has a GPU of its own, but those of one machine share its CPU packages.
        if args.local_process_index > 0 and not torch.cuda.is_available():
            self._energy = "counted by the first process"
        else:
            self._energy = energy_counter(gpu_uuid())
        self._energy_seen = 0.0
        self._wall = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An optimizer step begins: its batches are loaded."""
        self._step = time.perf_counter()
        self._clock.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An optimizer step is done; before a checkpoint, add up over the processes."""
        self._pending.steps += 1
        self._clock.stop()
        if self._step is not None:
            self._pending.step_seconds += time.perf_counter() - self._step
            self._step = None
        self._read_energy()
        if control.should_save:
            self._settle()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add up before a checkpoint that comes with the epoch's end."""
        if control.should_save:
            self._settle()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clocks and add up."""
        self._settle()
        self._wall = None

    def _add(self, name: str, count: torch.Tensor) -> None:
        """Sum on the device: reading a tensor would make the GPU wait."""
        self._tensor_counts[name] = self._tensor_counts[name] + count if name in self._tensor_counts else count

    def _read_energy(self) -> None:
        if isinstance(self._energy, EnergyCounter):
            joules = self._energy.read()
            self._pending.energy_joules += joules - self._energy_seen
            self._energy_seen = joules

    def _settle(self) -> None:
        """Bring everything up to now and add it up over the processes, each of which must be here."""
        pending = self._pending
        for name, count in self._tensor_counts.items():
            setattr(pending, name, getattr(pending, name) + int(count))
        self._tensor_counts = {}
        if self._wall is not None:
            now = time.perf_counter()
            pending.wall_seconds += now - self._wall
            self._wall = now
        pending.device_seconds += self._clock.take()
        self._read_energy()
        pending.peak_rss_bytes = _peak_rss_bytes()
        if torch.cuda.is_available():
            pending.peak_allocated_bytes = torch.cuda.max_memory_allocated()
            pending.peak_reserved_bytes = torch.cuda.max_memory_reserved()
        self._settled = self._settled.plus(over_processes(pending, self._device))
        self._pending = Counts()


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
