"""What both pretext trainings do at every step: padding, gradients on several threads, updates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

Item = TypeVar("Item")
Row = tuple[list[int], list[int]]  # token ids of a prompt and of its answer


class Workers:
    """Threads that each compute the loss of a part of a batch and its gradients; these add up in the parameters.

    Torch's own threads, inside one operation, gain a third on tensors this small, and on a busy machine their waiting
    for each other makes a step ten times slower (measured); here they meet once a step. The sum of two gradients is
    the same in either order.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> Workers:
        self._threads = torch.get_num_threads()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def backward(self, batch: Sequence[Item], loss: Callable[[Sequence[Item]], Tensor]) -> float:
        """Add the gradients of the mean of `loss` over the parts of `batch`; returns that mean."""
        size = -(-len(batch) // self._count)
        parts = [batch[k : k + size] for k in range(0, len(batch), size)]

        def work(part: Sequence[Item]) -> float:
            share = loss(part) / len(parts)
            torch.autograd.backward(share)
            return share.item()

        return sum(self._pool.map(work, parts))


def padded(rows: Sequence[Row], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and labels of (prompt, answer) rows, each int64 (B, T); only answers are labeled."""
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, labels = torch.full((len(rows), length), pad), torch.full((len(rows), length), -100)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for k, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[k, :end] = torch.tensor(prompt + answer)
        labels[k, len(prompt) : end] = torch.tensor(answer)
        mask[k, :end] = 1
    return ids, mask, labels


class Updates:
    """AdamW with a one-cycle learning rate over `steps` updates and clipped gradients.

    `matrices` among the parameters are updated by Muon (Jordan et al. 2024) instead, at a rate of their own: their
    momentum made orthogonal. After 200 steps of finding a badge 0.40 of the first digits of its place were right so,
    and 0.18 by AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        rate: float,
        steps: int,
        matrices: Sequence[nn.Parameter] = (),
        matrix_rate: float = 0.0,
    ) -> None:
        self._parameters = list(parameters)
        apart = {id(matrix) for matrix in matrices}
        others = [parameter for parameter in self._parameters if id(parameter) not in apart]
        cycle = torch.optim.lr_scheduler.OneCycleLR
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, rate, betas=(0.9, 0.98), weight_decay=0.02)
        ]
        self._schedules = [cycle(self._optimizers[0], rate, total_steps=steps, pct_start=0.1)]
        if matrices:
            muon = torch.optim.Muon(matrices, matrix_rate, momentum=0.95, weight_decay=0.01)
            self._optimizers.append(muon)
            self._schedules.append(cycle(muon, matrix_rate, total_steps=steps, pct_start=0.1, cycle_momentum=False))

    def step(self) -> None:
        """One update by the gradients there are, which are spent then."""
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """The weights of its linear layers, but for those that are tables of embeddings too."""
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    weights = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    return [one for name, one in module.named_parameters() if name in weights and id(one) not in tables]


def shown(steps: Iterable[Item], label: str, count: int | None = None) -> Iterable[Item]:
    """The steps, with a progress bar on a terminal; `count` of them, where they don't tell."""
    return tqdm(steps, desc=label, total=count, disable=not sys.stderr.isatty(), leave=False)
