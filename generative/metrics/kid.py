"""KID of pictures of which several come from one photograph, with a standard error that knows it.

The unbiased estimate of the squared maximum mean discrepancy with kernel k(x, y) = (x.y / D + 1)^3 (Binkowski et al.
2018, arXiv 1801.01401, Sec 4) is a mean over pairs of independent pictures. Crops of one photograph are not: they are
nearer to each other than two pictures of the set are. So their pairs are left out here,

    KID = mean of k(a_i, a_j) + mean of k(b_i, b_j) - 2 mean of k(a_i, b_j),     i, j of different groups,

and the standard error is the jackknife's that leaves out whole groups, of both sets where both have pictures of one
(after Arvesen 1969); of sets that are alike it is too large. Where each picture is a group of its own, it is the usual
estimate from all of both sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 1024
"""Rows of a kernel matrix that are held."""
FEWEST = 3
"""Groups on a side: without one of them there are still pairs."""


@dataclass(frozen=True)
class Kid:
    """An estimate, and what it is without each of the groups."""

    value: float
    without: tuple[float, ...]

    @property
    def se(self) -> float:
        """Of the jackknife: se^2 = (G - 1) / G sum over G groups (estimate without the group - their mean)^2."""
        return float((len(self.without) - 1) * np.var(self.without)) ** 0.5

    def minus(self, other: "Kid") -> "Kid":
        """The difference of two estimates, of answers to the same pictures against the same others: what moves both
        alike moves it not at all."""
        return Kid(self.value - other.value, tuple(np.subtract(self.without, other.without).tolist()))


def kid(a: Tensor, b: Tensor, groups_a: Sequence[str], groups_b: Sequence[str]) -> Kid:
    """KID of features [N, D] and [M, D]; groups_a, groups_b: what each row is from, one name a row; one name on both
    sides is one group.

    Raises: ValueError for fewer than FEWEST groups on a side, and names that are not as many as rows.
    """
    a, b = a.double(), b.double()
    check_groups(a, groups_a)
    check_groups(b, groups_b)
    names, found = np.unique(np.asarray([*groups_a, *groups_b], dtype=object).astype(str), return_inverse=True)
    which_a, which_b = torch.from_numpy(found).to(a.device).split([len(a), len(b)])

    def of_groups(values: Tensor, which: Tensor) -> Tensor:
        return values.new_zeros(len(names)).index_add_(0, which, values)

    rows_a, rows_b = _kernel_sums(a, a, which_a, which_a)[0], _kernel_sums(b, b, which_b, which_b)[0]
    rows, columns = _kernel_sums(a, b, which_a, which_b)
    many_a, many_b = (of_groups(torch.ones_like(one), which) for one, which in ((rows_a, which_a), (rows_b, which_b)))
    inside_a = _leaving_out(of_groups(rows_a, which_a), of_groups(rows_a, which_a), many_a, many_a)
    inside_b = _leaving_out(of_groups(rows_b, which_b), of_groups(rows_b, which_b), many_b, many_b)
    across = _leaving_out(of_groups(rows, which_a), of_groups(columns, which_b), many_a, many_b)
    every = inside_a + inside_b - 2 * across
    return Kid(float(every[0]), tuple(every[1:].tolist()))


def check_groups(x: Sequence[object] | Tensor, groups: Sequence[str]) -> None:
    """Raises ValueError for names that are not as many as rows, and for too few groups."""
    if len(groups) != len(x):
        raise ValueError(f"{len(x)} pictures need as many names of groups, got {len(groups)}")
    if len(set(groups)) < FEWEST:
        raise ValueError(f"KID needs pictures of at least {FEWEST} groups on each side, got {len(set(groups))}")


def _kernel_sums(x: Tensor, y: Tensor, which_x: Tensor, which_y: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel matrix summed over each row [N] and each column [M], without pairs of the same group."""
    rows, columns = [], y.new_zeros(len(y))
    for first in range(0, len(x), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        kernel = (x[part] @ y.T / x.shape[1] + 1) ** 3
        kernel[which_x[part, None] == which_y] = 0
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return torch.cat(rows), columns


def _leaving_out(rows: Tensor, columns: Tensor, many_x: Tensor, many_y: Tensor) -> Tensor:
    """[1 + G]: the mean over pairs of different groups, then that without each group. rows, columns [G]: sums over a
    group's rows and columns of the kernel matrix; many_x, many_y [G]: pictures of each group."""
    total, same = rows.sum(), (many_x * many_y).sum()
    pairs = many_x.sum() * many_y.sum() - same
    left = (many_x.sum() - many_x) * (many_y.sum() - many_y) - (same - many_x * many_y)
    return torch.cat([(total / pairs)[None], (total - rows - columns) / left])
