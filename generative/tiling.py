"""Pictures larger than a network was trained on, in overlapping tiles that are blended at every step of a sampler."""

from functools import partial
from itertools import product

import torch
from torch import Tensor

from generative.batching import in_chunks, rows_of
from generative.denoiser import Cond, Denoise

Size = tuple[int, int]


def tiled(denoise: Denoise, side: Size, overlap: float = 0.5, rows: int = 16, first: int = 0) -> Denoise:
    """`denoise` in tiles of `side` (height, width): each pixel's x0_hat is a mean over the tiles that it is in, by how
    far inside each it lies. Blending x0_hat at every step leaves no seam, where tiles sampled apart do not fit.

    As with `in_chunks`, `denoise` is called with exactly `rows` tiles, for pictures that are numbered from `first` on,
    each one's tiles behind each other; no more tiles than that are held. Entries of cond with z's height and width are
    cut like z. overlap: of neighbouring tiles, as a share of a side. Raises: ValueError as `corners` and `rows_of`.
    """

    def call(z: Tensor, log_snr: Tensor, cond: Cond = None) -> Tensor:
        size = z.shape[-2], z.shape[-1]
        if size == side:
            return in_chunks(denoise, rows, first)(z, log_snr, cond)
        places, log_snr = corners(size, side, overlap), log_snr.expand(len(z))
        count, start = len(z) * len(places), first * len(places)
        chunks, begins = rows_of(count, start, rows).split(rows), range(-(start % rows), count, rows)
        total, weights, weight = torch.zeros_like(z), torch.zeros_like(z[:1, :1]), _weight(side).to(z)
        for begin, numbers in zip(begins, chunks, strict=True):
            tiles = [(number // len(places), *places[number % len(places)]) for number in numbers.tolist()]
            cut = partial(_cut, tiles=tiles, size=size, side=side)
            told = {name: cut(value) for name, value in cond.items()} if isinstance(cond, dict) else cond
            answers = denoise(cut(z), cut(log_snr), cut(told) if isinstance(told, Tensor) else told)
            for number, (picture, top, left), answer in zip(range(begin, begin + rows), tiles, answers, strict=True):
                if 0 <= number < count:  # the others are copies, to fill a call
                    part = (..., slice(top, top + side[0]), slice(left, left + side[1]))
                    total[picture][part] += weight * answer
                    if picture == 0:  # the same of all
                        weights[part] += weight
        return total / weights

    return call


def _cut(entry: Tensor, tiles: list[tuple[int, int, int]], size: Size, side: Size) -> Tensor:
    """What belongs to tiles (picture, top, left): [len(tiles), ...]."""
    if entry.ndim == 4 and tuple(entry.shape[-2:]) == size:
        return torch.stack([entry[i, :, top : top + side[0], left : left + side[1]] for i, top, left in tiles])
    return entry[[i for i, _, _ in tiles]]


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
