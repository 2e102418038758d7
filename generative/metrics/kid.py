"""KID of pictures of which several come from one photograph, with a standard error that knows it.

The unbiased estimate of the squared maximum mean discrepancy with kernel k(x, y) = (x.y / D + 1)^3 (Binkowski et al.
2018, arXiv 1801.01401, Sec 4) is a mean over pairs of independent pictures. Crops of one photograph are not: they are
nearer to each other than two pictures of the set are. So their pairs are left out here,

    KID = mean of k(a_i, a_j) + mean of k(b_i, b_j) - 2 mean of k(a_i, b_j),      i, j of different groups,

and the standard error is the jackknife's that leaves out whole groups (Arvesen 1969, for two samples); of sets that are
alike it is too large. Where each picture is a group of its own, it is the usual estimate from all of both sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 1024
"""Rows of a kernel matrix that are held."""


@dataclass(frozen=True)
class Kid:
    """An estimate, and what it is without each of the groups of the one set, and of the other."""

    value: float
    without: tuple[tuple[float, ...], tuple[float, ...]]

    @property
    def se(self) -> float:
        """Of the jackknife: (G - 1) / G sum over groups (estimate without the group - their mean)^2, of both sets."""
        return float(sum((len(one) - 1) * np.var(one) for one in self.without)) ** 0.5

    def minus(self, other: "Kid") -> "Kid":
        """The difference of two estimates, of answers to the same pictures against the same others: what moves both
        alike moves it not at all."""
        pairs = [tuple(np.subtract(a, b).tolist()) for a, b in zip(self.without, other.without, strict=True)]
        return Kid(self.value - other.value, (pairs[0], pairs[1]))


def kid(a: Tensor, b: Tensor, groups_a: Sequence[str], groups_b: Sequence[str]) -> Kid:
    """KID of features [N, D] and [M, D]; groups_a, groups_b: what each row is from, one name a row.

    Raises: ValueError for fewer than three groups on a side, and names that are not as many as rows.
    """
    (a, which_a), (b, which_b) = _grouped(a, groups_a), _grouped(b, groups_b)
    (rows_a, _), (rows_b, _) = _kernel_sums(a, a, which_a, which_a), _kernel_sums(b, b, which_b, which_b)
    rows, columns = _kernel_sums(a, b)
    inside_a, without_a = _mean_inside(rows_a, which_a)
    inside_b, without_b = _mean_inside(rows_b, which_b)
    across, left_a = _mean_across(rows, which_a, len(b))
    _, left_b = _mean_across(columns, which_b, len(a))
    lists = without_a + inside_b - 2 * left_a, inside_a + without_b - 2 * left_b
    return Kid(float(inside_a + inside_b - 2 * across), (tuple(lists[0].tolist()), tuple(lists[1].tolist())))


def _grouped(x: Tensor, groups: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features in float64, and the number of the group of each row."""
    names, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    if len(which) != len(x):
        raise ValueError(f"{len(x)} pictures need as many names of groups, got {len(which)}")
    if len(names) < 3:
        raise ValueError(f"KID needs pictures of at least 3 groups on each side, got {len(names)}")
    return x.double(), torch.from_numpy(which).to(x.device)


def _kernel_sums(
    x: Tensor, y: Tensor, which_x: Tensor | None = None, which_y: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The kernel matrix summed over each row [N] and each column [M], without pairs of the same group if groups are
    given."""
    rows, columns = [], y.new_zeros(len(y))
    for first in range(0, len(x), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        kernel = (x[part] @ y.T / x.shape[1] + 1) ** 3
        if which_x is not None and which_y is not None:
            kernel[which_x[part, None] == which_y] = 0
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return torch.cat(rows), columns


def _by_group(values: Tensor, which: Tensor) -> Tensor:
    return torch.zeros(int(which.max()) + 1, dtype=values.dtype, device=values.device).index_add_(0, which, values)


def _mean_inside(rows: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over pairs of different groups of one set, and that without each group [G]. rows: of the kernel matrix,
    summed; a group's pairs are in its own rows and, as many, in its columns."""
    counts, sums = _by_group(torch.ones_like(rows), which), _by_group(rows, which)
    pairs = counts.sum() ** 2 - counts.square().sum()
    left = (counts.sum() - counts) ** 2 - (counts.square().sum() - counts.square())
    return sums.sum() / pairs, (sums.sum() - 2 * sums) / left


def _mean_across(sums: Tensor, which: Tensor, others: int) -> tuple[Tensor, Tensor]:
    """The mean over pairs of both sets, and that without each group of the one that `sums` [N] are of."""
    counts, total = _by_group(torch.ones_like(sums), which), sums.sum()
    return total / (len(sums) * others), (total - _by_group(sums, which)) / ((len(sums) - counts) * others)
