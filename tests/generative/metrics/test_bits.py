"""Means and clustered standard errors against closed forms and the bootstrap."""

import math

import numpy as np
import pytest
import torch

from generative.metrics.bits import mean_and_se, per_dim


def test_one_picture_per_group_is_the_plain_standard_error():
    values = np.random.default_rng(0).normal(3, 2, 50)
    mean, se = mean_and_se(values, [str(i) for i in range(50)])
    assert mean == pytest.approx(values.mean())
    assert se == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_equal_groups_are_the_standard_error_of_their_means():
    values = np.random.default_rng(1).normal(size=(12, 5))
    mean, se = mean_and_se(torch.tensor(values.flatten()), [f"g{i // 5}" for i in range(60)])
    assert mean == pytest.approx(values.mean())
    assert se == pytest.approx(values.mean(1).std(ddof=1) / math.sqrt(12))


def test_copies_add_no_certainty():
    values, names = np.random.default_rng(2).normal(size=9), [f"photo {i}" for i in range(9)]
    copies = mean_and_se(np.repeat(values, 40), [name for name in names for _ in range(40)])
    assert copies == pytest.approx(mean_and_se(values, names))


def test_unequal_groups_agree_with_the_bootstrap_over_groups():
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 30, 200)
    which = np.repeat(np.arange(200), sizes)
    values = (rng.normal(size=200) + sizes / 20)[which] + rng.normal(size=len(which))
    mean, se = mean_and_se(values, [str(i) for i in which])
    sums = np.bincount(which, values)
    draws = rng.integers(0, 200, (4000, 200))
    resampled = sums[draws].sum(1) / sizes[draws].sum(1)
    assert mean == pytest.approx(values.mean())
    assert se == pytest.approx(resampled.std(), rel=0.05)
    assert se > 2 * values.std() / math.sqrt(len(values))  # the plain formula is far off here


def test_one_group_has_no_standard_error():
    mean, se = mean_and_se(np.array([1.0, 2.0]), ["a", "a"])
    assert mean == 1.5
    assert math.isnan(se)


def test_per_dim():
    assert per_dim(torch.tensor([48.0, 96.0]), (3, 4, 4)).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("values", "groups"), [([], []), ([1.0], ["a", "b"]), ([[1.0]], ["a"])])
def test_bad_input(values: list, groups: list[str]):
    with pytest.raises(ValueError, match=r"values must be \[N\] with N names"):
        mean_and_se(np.array(values), groups)
