"""Pictures against pictures: PSNR, SSIM, the sliced Wasserstein distance, and the nearest training pictures."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def psnr(a: Tensor, b: Tensor, num_levels: int = 256) -> Tensor:
    """Peak signal-to-noise ratio of each pair in decibels, float64 [N]; infinite for equal pictures.

    10 log10((num_levels - 1)^2 / mean squared error). Args: a, b: level indices [N, C, H, W].
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _check_pair(a, b)
    pairs = zip(a.split(256), b.split(256), strict=True)
    top = float(num_levels - 1)
    return torch.cat(
        [peak_signal_noise_ratio(x.double(), y.double(), top, reduction="none", dim=(1, 2, 3)) for x, y in pairs]
    )


def ssim(a: Tensor, b: Tensor, num_levels: int = 256) -> Tensor:
    """Structural similarity of each pair, at most 1, float64 [N].

    Gaussian window of 11 pixels with sigma 1.5; the mean over channels and over the windows that lie wholly inside.
    Source: Wang et al. 2004, Sec III.

    Args: a, b: level indices [N, C, H, W]. Raises: ValueError if the sides are below 11 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_pair(a, b)
    if min(a.shape[2:]) < 11:
        raise ValueError(f"SSIM needs sides of at least 11 pixels, got {list(a.shape[2:])}")
    found = []
    for x, y in zip(a.split(256), b.split(256), strict=True):
        _, full = structural_similarity_index_measure(
            x.double(), y.double(), data_range=float(num_levels - 1), reduction="none", return_full_image=True
        )
        found.append(full[..., 5:-5, 5:-5].mean((1, 2, 3)))  # torchmetrics' own mean has windows over mirrored edges
    return torch.cat(found)


def sliced_wasserstein(a: Tensor, b: Tensor, *, directions: int = 512, seed: int = 0) -> float:
    """The root mean square, over random directions, of the 2-Wasserstein distance of the projections.

    In the units of the data, for one dimension. Exact for the sizes given, equal or not; its floor is the value for two
    sets of real pictures. Source: Bonneel et al. 2015, Sec 3.

    Args: a: [N, ...]; b: [M, ...]; directions: drawn uniformly from the sphere. Raises: ValueError if shapes differ.
    """
    if a.shape[1:] != b.shape[1:] or not a.numel() or not b.numel():
        raise ValueError(f"sets of pictures must have the same shape, got {list(a.shape)} and {list(b.shape)}")
    dims, generator = math.prod(a.shape[1:]), torch.Generator().manual_seed(seed)
    total = 0.0
    for start in range(0, directions, 64):
        axes = torch.randn(min(64, directions - start), dims, generator=generator, dtype=torch.float64)
        axes /= axes.norm(dim=1, keepdim=True)
        total += float(wasserstein_1d(_projected(a, axes), _projected(b, axes)).sum())
    return math.sqrt(total / directions)


def wasserstein_1d(a: Tensor, b: Tensor) -> Tensor:
    """The squared 2-Wasserstein distances [K] of K pairs of one-dimensional samples [K, N] and [K, M].

    The integral over u of (quantile_a(u) - quantile_b(u))^2, whose steps lie at multiples of 1/N and of 1/M.
    """
    a, b = a.sort(1).values, b.sort(1).values
    n, m = a.shape[1], b.shape[1]
    if n == m:
        return (a - b).square().mean(1)
    # steps counted in units of 1 / (N M), which are whole numbers
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    widths = torch.diff(ends, prepend=torch.zeros(1, dtype=ends.dtype)).to(a.dtype) / (n * m)
    return ((a[:, (ends - 1) // m] - b[:, (ends - 1) // n]).square() * widths).sum(1)


@dataclass(frozen=True, kw_only=True)
class Memorisation:
    """How close samples come to the training pictures, beside how close real pictures do that were not trained on."""

    distance: Tensor
    """float64 [N]: root mean square difference of each sample and its nearest training picture, in levels."""
    index: Tensor
    """int64 [N]: which training picture that is."""
    held_out_distance: Tensor
    """float64 [M]: the same for held-out pictures."""
    held_out_index: Tensor
    """int64 [M]."""

    @property
    def ratio(self) -> float:
        """Median distance of samples over that of held-out pictures; well below 1 if training pictures are copied."""
        return float(self.distance.median() / self.held_out_distance.median())

    @property
    def share_closer(self) -> float:
        """Share of samples closer than 99 in 100 held-out pictures: about 0.01 where nothing is copied."""
        return float((self.distance < self.held_out_distance.quantile(0.01)).double().mean())


def memorisation(samples: Tensor, train: Tensor, held_out: Tensor) -> Memorisation:
    """Nearest training pictures of samples and of held-out pictures; all uint8 level indices of one shape."""
    distance, index = nearest(samples, train)
    held_out_distance, held_out_index = nearest(held_out, train)
    return Memorisation(
        distance=distance, index=index, held_out_distance=held_out_distance, held_out_index=held_out_index
    )


def nearest(queries: Tensor, train: Tensor, *, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """The root mean square difference [N] to the nearest training picture, and its index [N] (the first of equals).

    In float64, where squares and products of levels are exact, and chunk by chunk: besides the pictures, memory holds
    two chunks in float64 and a chunk x chunk table.

    Args: queries: uint8 [N, C, H, W]; train: uint8 [M, C, H, W]. Raises: ValueError if the shapes differ.
    """
    if queries.shape[1:] != train.shape[1:] or not len(train) or not len(queries):
        raise ValueError(f"pictures must have the same shape, got {list(queries.shape)} and {list(train.shape)}")
    dims = math.prod(queries.shape[1:])
    best = torch.full((len(queries),), math.inf, dtype=torch.float64, device=queries.device)
    index = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for offset in range(0, len(train), chunk):
        known = train[offset : offset + chunk].flatten(1).double()
        for start in range(0, len(queries), chunk):
            rows = slice(start, start + chunk)
            asked = queries[rows].flatten(1).double()
            squares = torch.addmm(known.square().sum(1), asked, known.T, alpha=-2)
            least, where = (squares + asked.square().sum(1, keepdim=True)).min(1)
            closer = least < best[rows]
            best[rows] = torch.where(closer, least, best[rows])
            index[rows] = torch.where(closer, where + offset, index[rows])
    return (best / dims).sqrt(), index


def _projected(x: Tensor, axes: Tensor) -> Tensor:
    """[N, ...] onto axes [K, D] -> [K, N]."""
    return torch.cat([axes @ part.flatten(1).to(axes).T for part in x.split(4096)], 1)


def _check_pair(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 4 or not len(a):
        raise ValueError(f"pairs of pictures must be [N, C, H, W] twice, got {list(a.shape)} and {list(b.shape)}")
