"""Pictures larger than a network was trained on, in overlapping tiles that are blended at every step of a sampler."""

from itertools import product

import torch
from torch import Tensor

from generative.denoiser import Cond, Denoise

Size = tuple[int, int]


def tiled(denoise: Denoise, side: Size, overlap: float = 0.5) -> Denoise:
    """`denoise` in tiles of `side` (height, width): each pixel's x0_hat is a mean over the tiles that it is in, by how
    far inside each it lies. Blending x0_hat at every step leaves no seam, where tiles sampled apart do not fit.

    All tiles are one batch, those of each picture behind each other. Entries of cond with z's height and width are cut
    like z. overlap: of neighbouring tiles, as a share of a side. Raises: ValueError as `corners`.
    """

    def call(z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        size = z.shape[-2], z.shape[-1]
        if size == side:
            return denoise(z, log_snr, cond)
        places = corners(size, side, overlap)

        def cut(entry: Tensor) -> Tensor:
            """[B * tiles, ...]"""
            if entry.ndim == 4 and tuple(entry.shape[-2:]) == size:
                parts = [entry[..., top : top + side[0], left : left + side[1]] for top, left in places]
                return torch.stack(parts, 1).flatten(0, 1)
            return entry.repeat_interleave(len(places), 0)

        told = {name: cut(value) for name, value in cond.items()} if isinstance(cond, dict) else cond
        answers = denoise(cut(z), cut(log_snr), told).unflatten(0, (len(z), len(places)))
        total, weights, weight = torch.zeros_like(z), torch.zeros_like(z[:1, :1]), _weight(side).to(z)
        for (top, left), answer in zip(places, answers.unbind(1), strict=True):
            part = (..., slice(top, top + side[0]), slice(left, left + side[1]))
            total[part] += weight * answer
            weights[part] += weight
        return total / weights

    return call


def corners(size: Size, side: Size, overlap: float) -> list[Size]:
    """The upper left corners (top, left) of tiles that cover a picture, row by row.

    Raises: ValueError for a picture smaller than a tile, or an overlap outside [0, 0.9]: more makes tiles without end.
    """
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"overlap must be from 0 to 0.9, got {overlap}")
    if size[0] < side[0] or size[1] < side[1]:
        raise ValueError(f"a picture of {size[1]} x {size[0]} is smaller than a tile of {side[1]} x {side[0]}")
    return list(product(starts(size[0], side[0], overlap), starts(size[1], side[1], overlap)))


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles of `side` begin so that they cover `length`, evenly spread, with at least this overlap."""
    if length == side:
        return [0]
    count = -(-(length - side) // max(1, int(side * (1 - overlap)))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _weight(side: Size) -> Tensor:
    """[height, width]: the distance to the nearest edge along each axis, multiplied; positive everywhere."""
    lines = [torch.minimum(torch.arange(n) + 1, n - torch.arange(n)).float() / n for n in side]
    return lines[0][:, None] * lines[1][None]
