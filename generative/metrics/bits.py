"""Bits per dimension, and standard errors that count groups (photographs, concepts), not their crops."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor


def per_dim(bits: Tensor | np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bits per picture [N] as bits per dimension, float64 [N]; shape is a picture's (C, H, W)."""
    return _array(bits) / math.prod(shape)


def mean_and_se(values: Tensor | np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """The mean over pictures and its standard error, with whole groups as the independent units.

    The mean is a ratio of two sums over groups, of values and of counts, so with n_g pictures in each of G groups

        se^2 = G / (G - 1) sum_g (sum of the group's values - mean n_g)^2 / N^2.

    With one picture per group this is the plain standard error of the mean. Source: Cochran, Sampling Techniques
    (3rd ed. 1977), ch. 6 (ratio estimators), without the finite-population factor.

    Args: values: [N]; groups: N names. Returns: (mean, se); se is NaN where there is one group only.
    Raises: ValueError if there are no values, or not as many names as values.
    """
    numbers = _array(values)
    if numbers.ndim != 1 or len(numbers) != len(groups) or not len(numbers):
        raise ValueError(f"values must be [N] with N names of groups, got {list(numbers.shape)} and {len(groups)}")
    _, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    mean = float(numbers.mean())
    residuals = np.bincount(which, numbers - mean)  # of each group's sum
    if len(residuals) < 2:
        return mean, math.nan
    spread = len(residuals) / (len(residuals) - 1) * float(np.square(residuals).sum())
    return mean, math.sqrt(spread) / len(numbers)


def degrees_of_freedom(groups: Sequence[str]) -> float:
    """Of Student's t for a mean over pictures of such groups: (sum n_g)^2 / sum n_g^2 - 1, as many groups of equal size
    as would say as much (Kish, Survey Sampling, 1965), less one. Where a few groups hold most of the pictures, the
    others add little."""
    many = np.unique(np.asarray(groups, dtype=object).astype(str), return_counts=True)[1]
    return float(np.square(many.sum()) / np.square(many).sum()) - 1


def half_width(se: float, groups: Sequence[str]) -> float:
    """Of the 95% interval of a mean with this standard error, after `mean_and_se`; NaN where there is one group."""
    freedom = degrees_of_freedom(groups)
    return se * float(stats.t.ppf(0.975, freedom)) if freedom > 0 else math.nan


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
