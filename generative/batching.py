"""The same bits for any split of a batch.

Matrix products and convolutions round differently for different batch sizes (another kernel, another order of sums),
and some kernels round a row differently at another place of the batch. So picture number i always sits in row
i mod size of a call with exactly `size` rows, whatever else is in it. (With another number of threads, or on another
machine, the last bits may still differ.)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def rows_of(count: int, first: int, size: int) -> Tensor:
    """Which of the pictures 0..count-1, numbered from `first` on, sits in each row of calls with `size` rows.

    Returns int64 [m * size]; picture 0 is in row first % size, and free rows are filled up with copies.
    Raises ValueError if count or size is not positive, or first is negative.
    """
    if size < 1:
        raise ValueError(f"rows per call must be positive, got {size}")
    if count < 1 or first < 0:
        raise ValueError(f"count must be positive and first not negative, got {count} and {first}")
    before = first % size
    return (torch.arange(-(-(before + count) // size) * size) - before).clamp(0, count - 1)


def in_chunks(denoise: Callable[..., Tensor], size: int, first: int = 0) -> Callable[..., Tensor]:
    """`denoise`, called with exactly `size` rows at a time, for examples that are numbered from `first` on.

    cond may be None, a tensor [B, ...] or a dictionary of these. Raises ValueError as `rows_of`.
    """
    rows_of(1, first, size)

    def call(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        log_snr = log_snr.expand(len(z))
        rows, start = rows_of(len(z), first, size).to(z.device), first % size
        pieces = [denoise(z[part], log_snr[part], take(cond, part)) for part in rows.split(size)]
        return torch.cat(pieces)[start : start + len(z)]

    return call


def take(cond: Any, rows: Tensor) -> Any:
    """These rows of a condition."""
    if isinstance(cond, dict):
        return {name: take(value, rows) for name, value in cond.items()}
    return cond if cond is None else cond[rows]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, which would draw random numbers of its own; afterwards as before."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
