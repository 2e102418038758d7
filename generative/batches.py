"""Which pictures make up each training batch: a function of (seed, step) alone.

So a run that goes on after a fault sees the pictures that an undisturbed run sees, and any number of workers or
micro-batches shares the same batches.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from generative import noise
from generative.config import TrainConfig
from generative.data.config import DataConfig


class Pictures(Protocol):
    """What training needs of a set (`generative.data.ImageSet` has it)."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]: ...

    def keys(self, indices: Sequence[int] | Tensor) -> list[str]: ...


class Order:
    """The indices of each batch: one random permutation of the set after another, cut into batches."""

    def __init__(self, size: int, batch: int, seed: int) -> None:
        if size < 1:
            raise ValueError("the training set is empty")
        self.size, self.batch, self.seed = size, batch, seed
        self._known: dict[int, Tensor] = {}

    def at(self, step: int) -> Tensor:
        """Indices [batch] of the batch at `step`, over all workers."""
        place = torch.arange(step * self.batch, (step + 1) * self.batch)
        epochs = place // self.size
        first, last = int(epochs[0]), int(epochs[-1])
        known = {epoch: self._permutation(epoch) for epoch in range(first, last + 1)}
        self._known = known  # replaced whole: a thread reads ahead
        return torch.cat([known[e][place[epochs == e] % self.size] for e in range(first, last + 1)])

    def _permutation(self, epoch: int) -> Tensor:
        if (known := self._known.get(epoch)) is not None:
            return known
        generator = torch.Generator().manual_seed(noise.mix(self.seed, noise.ORDER, epoch))
        return torch.randperm(self.size, generator=generator)


class Batches:
    """One worker's share of each batch (its `rows`), augmented and read ahead in a thread."""

    def __init__(self, images: Pictures, config: TrainConfig, rows: slice) -> None:
        self.images, self.config, self.rows = images, config, rows
        self.order = Order(len(images), config.optim.batch, config.seed)
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.ahead: tuple[int, Future[dict[str, Tensor]]] | None = None

    def at(self, step: int) -> dict[str, Tensor]:
        """The batch of `step` on the CPU."""
        batch = self.ahead[1].result() if self.ahead and self.ahead[0] == step else self._read(step)
        self.ahead = step + 1, self.reader.submit(self._read, step + 1)
        return batch

    def keys(self, step: int) -> list[str]:
        """The names of the pictures in this worker's share of a batch."""
        return self.images.keys(self.order.at(step)[self.rows])

    def close(self) -> None:
        self.reader.shutdown(wait=False, cancel_futures=True)

    def _read(self, step: int) -> dict[str, Tensor]:
        batch = prepared(self.images.batch(self.order.at(step)[self.rows]), self.config, step, self.rows)
        # From pinned memory a GPU copies while it computes.
        pin = torch.cuda.is_available() and self.config.device != "cpu"
        return {name: value.pin_memory() for name, value in batch.items()} if pin else batch


def prepared(batch: dict[str, Tensor], config: TrainConfig, step: int, rows: slice) -> dict[str, Tensor]:
    """A batch as the model takes it, with the random numbers of one step's rows: augmented, and spoiled if the model
    learns to restore what is spoiled on a CPU (a `degrade` of its configuration)."""

    def source(purpose: int) -> noise.GlobalBatch:
        seed = noise.mix(config.seed, purpose)
        return noise.GlobalBatch(seed, step, rows.start, rows.stop, total=config.optim.batch)

    batch = {**batch, "x": augment(batch["x"], config.data, source(noise.AUGMENTATION))}
    degrade = getattr(config.model, "degrade", None)
    return batch if degrade is None else {**batch, **degrade(batch["x"], source(noise.DEGRADATION))}


def augment(x: Tensor, config: DataConfig, source: noise.Source) -> Tensor:
    """x [B, C, H, W] mirrored and turned at random, as far as the configuration says so. Raises ValueError.

    An eighth of the pictures meets each of the eight symmetries of the square where both are on.
    """
    if config.rotate and x.shape[-1] != x.shape[-2]:
        raise ValueError(f"data.rotate needs square pictures, got {x.shape[-2]} x {x.shape[-1]}")
    draws = [noise.uniform(source, (len(x),), device="cpu", dtype=torch.float64) for _ in range(2)]
    if config.flip:
        mirrored = (draws[0] < 0.5).to(x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    if config.rotate:
        turns = (draws[1] * 4).long().to(x.device)
        x = torch.stack([torch.rot90(x, k, (-2, -1)) for k in range(4)], 1)[
            torch.arange(len(x), device=x.device), turns
        ]
    return x
