"""The same bits for any split of a batch.

Matrix products and convolutions round differently for different batch sizes (another kernel, another order of sums). A
network that always sees the same number of rows gives each row the same result, whatever is in the other rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def in_chunks(denoise: Callable[..., Tensor], size: int) -> Callable[..., Tensor]:
    """`denoise`, called with exactly `size` rows at a time; the last rows are filled up with copies.

    cond may be None, a tensor [B, ...] or a dictionary of these. Raises ValueError if size is not positive.
    """
    if size < 1:
        raise ValueError(f"rows per call must be positive, got {size}")

    def call(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        log_snr = log_snr.expand(len(z))
        rows = torch.arange(-(-len(z) // size) * size, device=z.device).clamp(max=len(z) - 1)
        pieces = [denoise(z[part], log_snr[part], _rows(cond, part)) for part in rows.split(size)]
        return torch.cat(pieces)[: len(z)]

    return call


def _rows(cond: Any, part: Tensor) -> Any:
    if isinstance(cond, dict):
        return {name: _rows(value, part) for name, value in cond.items()}
    return cond if cond is None else cond[part]
