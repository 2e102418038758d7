"""Two models without a network, fitted on the training pictures: what a diffusion model's bits must beat at the least.

Both are proper distributions over level indices: probabilities of all pictures sum to 1. Their regularisation is chosen
on the training pictures alone.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PSEUDO_COUNTS = tuple(10.0**k for k in np.arange(-4, 2.01, 0.5))
RIDGES = tuple(10.0**k for k in np.arange(-6, 0.01, 0.5))
BACKGROUNDS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def factorised(train: Tensor, test: Tensor, num_levels: int) -> np.ndarray:
    """Bits per picture when every pixel and channel has a histogram of its own, independent of the others.

    Each level's count is raised by a pseudo-count, the one of PSEUDO_COUNTS with the best leave-one-out likelihood of
    the training pictures.

    Args: train: uint8 [M, C, H, W], M at least 2; test: uint8 [N, C, H, W]. Returns: float64 [N].
    Raises: ValueError if shapes or levels do not fit.
    """
    _check(train, test, num_levels)
    pixels = train.flatten(1).T.contiguous()
    counts = torch.stack([torch.bincount(pixel.long(), minlength=num_levels) for pixel in pixels]).double()
    flat, num = counts.flatten(), len(train)

    def left_out(pseudo: float) -> float:  # each picture under the histograms of all the others
        return float((flat * torch.log((flat - 1).clamp(min=0) + pseudo)).sum()) - flat.sum().item() * math.log(
            num - 1 + pseudo * num_levels
        )

    pseudo = max(PSEUDO_COUNTS, key=left_out)
    bits = -torch.log2((counts + pseudo) / (num + pseudo * num_levels))
    rows = torch.arange(len(pixels))
    return np.concatenate([bits[rows, part.flatten(1).long()].sum(1).numpy() for part in test.cpu().split(1024)])


def gaussian(train: Tensor, test: Tensor, num_levels: int, *, groups: Sequence[str] | None = None) -> np.ndarray:
    """Bits per picture under a Gaussian with a full covariance, made discrete pixel by pixel.

    In raster order, P(x_i = k | x_<i) is the mass of N(linear regression on x_<i, s_i^2) on the cell of level k, with
    the first and last cells open to infinity, mixed with a small uniform background. The ridge added to the covariance
    (a share of the mean variance, plus the 1/12 of rounding) and the background are those of RIDGES and BACKGROUNDS
    that do best on a fifth of the training pictures; then all are used.

    Args: train: uint8 [M, C, H, W], M at least 2; test: uint8 [N, C, H, W]; groups: [M] of train, that the fifth is
    made of whole groups (photographs). Returns: float64 [N]. Raises: ValueError if shapes or levels do not fit.
    """
    _check(train, test, num_levels)
    held = _every_fifth(groups or [str(i) for i in range(len(train))], len(train))
    mean, covariance = _moments(train[~held])
    best = math.inf, RIDGES[-1], BACKGROUNDS[-1]
    for ridge in RIDGES:
        root = _root(covariance, ridge)
        for background, bits in zip(BACKGROUNDS, _bits(train[held], mean, root, num_levels, BACKGROUNDS), strict=True):
            best = min(best, (float(bits.mean()), ridge, background))
    _, ridge, background = best
    mean, covariance = _moments(train)
    return _bits(test, mean, _root(covariance, ridge), num_levels, (background,))[0]


def _check(train: Tensor, test: Tensor, num_levels: int) -> None:
    for name, x in (("train", train), ("test", test)):
        if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1:] != train.shape[1:] or not x.numel():
            raise ValueError(f"{name} must be uint8 [N, {', '.join(map(str, train.shape[1:]))}], got {list(x.shape)}")
        if int(x.max()) >= num_levels:
            raise ValueError(f"levels must be below num_levels ({num_levels}), got {int(x.max())} in {name}")
    if len(train) < 2:
        raise ValueError("a baseline needs at least 2 training pictures")


def _every_fifth(groups: Sequence[str], num: int) -> Tensor:
    """Which pictures are held out [M]: those of every fifth group, at least one and not all where there are two."""
    if len(groups) != num:
        raise ValueError(f"groups must name one group per training picture ({num}), got {len(groups)}")
    order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    if len(order) < 2:
        return _every_fifth([str(i) for i in range(num)], num)
    return torch.tensor([order[group] % 5 == 1 for group in groups])


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and covariance [D, D] of pictures, in float64 and in chunks."""
    dims = math.prod(x.shape[1:])
    mean = sum(part.flatten(1).double().sum(0) for part in x.split(4096)) / len(x)
    covariance = torch.zeros(dims, dims, dtype=torch.float64)
    for part in x.split(4096):
        centred = part.flatten(1).double() - mean
        covariance.addmm_(centred.T, centred)
    return torch.as_tensor(mean), covariance / len(x)


def _root(covariance: Tensor, ridge: float) -> Tensor:
    """The Cholesky factor of the covariance with its diagonal raised."""
    raised = covariance.clone()
    raised.diagonal().add_(ridge * covariance.diagonal().mean() + 1 / 12)
    return torch.linalg.cholesky(raised)


def _bits(x: Tensor, mean: Tensor, root: Tensor, num_levels: int, backgrounds: Sequence[float]) -> list[np.ndarray]:
    """Bits [N] under each background. With x = mean + root n, x_i given x_<i is N(x_i - root_ii n_i, root_ii^2)."""
    scale, pieces = root.diagonal(), []
    for part in x.split(1024):
        level = part.flatten(1).double()
        noise = torch.linalg.solve_triangular(root, (level - mean).T, upper=False).T
        low = torch.where(level == 0, -math.inf, noise - 0.5 / scale)
        high = torch.where(level == num_levels - 1, math.inf, noise + 0.5 / scale)
        flip = low > 0  # the upper tail through the lower, where small masses keep their digits
        low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
        mass = torch.special.ndtr(high) - torch.special.ndtr(low)
        pieces.append(torch.stack([-torch.log2((1 - b) * mass + b / num_levels).sum(1) for b in backgrounds]))
    return list(torch.cat(pieces, 1).numpy())
