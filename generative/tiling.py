"""Pictures larger than a network was trained on, in overlapping tiles that are blended at every step of a sampler."""

from itertools import product

import torch
from torch import Tensor

from generative.denoiser import Cond, Denoise


def tiled(denoise: Denoise, side: tuple[int, int], overlap: float = 0.5) -> Denoise:
    """`denoise` in tiles of `side` (height, width): each pixel's x0_hat is a mean over the tiles that it is in, by how
    far inside each it lies. Blending x0_hat at every step leaves no seam, where tiles sampled apart do not fit.

    Entries of cond with z's height and width are cut like z. overlap: of neighbouring tiles, as a share of a side.
    Raises: ValueError for a picture smaller than a tile, or an overlap outside [0, 1).
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be at least 0 and below 1, got {overlap}")

    def call(z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        height, width = z.shape[-2:]
        if (height, width) == tuple(side):
            return denoise(z, log_snr, cond)
        if height < side[0] or width < side[1]:
            raise ValueError(f"a picture of {height} x {width} is smaller than a tile of {side[0]} x {side[1]}")
        total, weights = torch.zeros_like(z), torch.zeros_like(z[:1, :1])
        weight = _weight(side).to(z)
        for top, left in product(starts(height, side[0], overlap), starts(width, side[1], overlap)):
            part = (..., slice(top, top + side[0]), slice(left, left + side[1]))
            total[part] += weight * denoise(z[part], log_snr, _cut(cond, part, (height, width)))
            weights[part] += weight
        return total / weights

    return call


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles of `side` begin so that they cover `length`, evenly spread, with at least this overlap."""
    if length == side:
        return [0]
    count = -(-(length - side) // max(1, int(side * (1 - overlap)))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _weight(side: tuple[int, int]) -> Tensor:
    """[height, width]: the distance to the nearest edge along each axis, multiplied; positive everywhere."""
    lines = [torch.minimum(torch.arange(n) + 1, n - torch.arange(n)).float() / n for n in side]
    return lines[0][:, None] * lines[1][None]


def _cut(cond: Cond, part: tuple, size: tuple[int, int]) -> Cond:
    if not isinstance(cond, dict):
        return cond
    return {
        name: value[part] if value.ndim == 4 and tuple(value.shape[-2:]) == size else value
        for name, value in cond.items()
    }
