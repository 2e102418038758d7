"""KID and FID of samples, beside what real pictures score against real pictures.

FID is biased upwards by an amount that falls with the number of pictures: below some thousands most of it is bias. KID
has no bias and comes first. Neither means much without its floor, the same number for other real pictures.
Sources: Binkowski et al. 2018 (arXiv 1801.01401), Sec 4; Heusel et al. 2017 (arXiv 1706.08500), Sec 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generative.metrics.features import extract
from generative.metrics.kid import kid
from generative.metrics.statistics import describe


@dataclass(frozen=True, kw_only=True)
class Result:
    """Samples against reference pictures and, as the floor, as many other real pictures against the same."""

    kid: float
    kid_se: float
    kid_floor: float
    kid_floor_se: float
    fid: float
    fid_floor: float
    n: int
    """Samples, and real pictures of the floor."""
    n_reference: int
    features: str
    """The network, its weights' hash and the resize filter."""

    def __str__(self) -> str:
        return (
            f"KID {self.kid:.5f} ± {self.kid_se:.5f} "
            f"(real against real {self.kid_floor:.5f} ± {self.kid_floor_se:.5f}), "
            f"FID {self.fid:.2f} (real against real {self.fid_floor:.2f}), "
            f"{self.n} pictures against {self.n_reference}; {self.features}"
        )


def compare(
    samples: Tensor,
    reference: Tensor,
    real_other: Tensor,
    features: nn.Module,
    *,
    num_levels: int = 256,
    batch: int = 32,
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Result:
    """KID and FID of samples, with their floors.

    Of samples and real_other, the first n are used, n being the smaller of the two sizes. The two real sets should
    share no photograph, or the floor is too low.

    Args: samples, reference, real_other: level indices uint8 [N, C, H, W], at least 4 of each; features: see
    `features.Features`; batch: pictures per call of the network; groups: what each picture of reference and of
            real_other is from (see kid.py); each is on its own if None.
    Raises: ValueError if there are too few pictures or they do not fit; ImportError without torchmetrics.
    """
    n = min(len(samples), len(real_other))
    for name, x in (("samples", samples), ("reference", reference), ("real_other", real_other)):
        if len(x) < 4:
            raise ValueError(f"KID and FID need at least 4 pictures in each set, got {len(x)} {name}")
        if x.shape[1:] != reference.shape[1:]:
            raise ValueError(f"{name} are {list(x.shape[1:])} and the reference {list(reference.shape[1:])}")
    found = [extract(features, x, num_levels=num_levels, batch=batch) for x in (samples[:n], reference, real_other[:n])]
    known, others = groups or (_own("reference", reference), _own("other", real_other))
    ours, floor = (
        kid(x, found[1], names, known) for x, names in ((found[0], _own("sample", found[0])), (found[2], others[:n]))
    )
    return Result(
        kid=ours.value,
        kid_se=ours.se,
        kid_floor=floor.value,
        kid_floor_se=floor.se,
        fid=fid(found[0], found[1]),
        fid_floor=fid(found[2], found[1]),
        n=n,
        n_reference=len(reference),
        features=describe(features),
    )


def _own(name: str, x: Tensor) -> list[str]:
    """Groups of pictures of which each is on its own."""
    return [f"{name} {i}" for i in range(len(x))]


def fid(a: Tensor, b: Tensor) -> float:
    """The Frechet distance between Gaussians fitted to features [N, D] and [M, D], by torchmetrics in float64.

    Fewer than D samples spread in fewer directions. Only in those does the root of the covariances' product differ from
    0, so torchmetrics sees them alone (of 500 pictures 500 of Inception's 2048, some seven times faster), and
    distances and variances in all others are added.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = a.double(), b.double()
    if len(b) < len(a):
        a, b = b, a
    others = 0.0
    if len(a) < a.shape[1]:
        directions = torch.linalg.qr((a - a.mean(0)).T).Q  # [D, N]
        seen = a @ directions, b @ directions
        others = _apart(a, b) - _apart(*seen)
        a, b = seen
    metric = FrechetInceptionDistance(feature=_Given(a.shape[1])).set_dtype(torch.float64)
    metric.update(a, real=False)
    metric.update(b, real=True)
    return float(metric.compute()) + others


def _apart(a: Tensor, b: Tensor) -> float:
    """Squared distance of the means, and the variance of b in all directions (that of a is in the few)."""
    return float((a.mean(0) - b.mean(0)).square().sum() + b.var(0).sum())


class _Given(nn.Module):
    """Stands for the feature network where features have been computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x
