"""Means and clustered standard errors against closed forms and the bootstrap."""

import math

import numpy as np
import pytest
import torch

from generative.metrics.bits import degrees_of_freedom, half_width, mean_and_se, per_dim


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


def test_intervals_of_few_uneven_groups_hold_the_truth_as_often_as_they_say():
    """Of 3,000 sets of crops of 25 photographs, of which some have many; +- 1.96 is too narrow there."""
    rng, sizes = (
        np.random.default_rng(4),
        [44, 43, 42, 42, 40, 30, 26, 20, 16, 12, 10, 8, 6, 5, 4, 4, 3, 2, 2, 2, 1, 1, 1, 1, 1],
    )
    which = np.repeat(np.arange(25), sizes)
    groups = [str(i) for i in which]
    found = [mean_and_se(rng.normal(size=25)[which] + rng.normal(size=len(which)), groups) for _ in range(3000)]
    inside = [abs(mean) < half_width(se, groups) for mean, se in found]
    assert np.mean(inside) == pytest.approx(0.94, abs=0.015)
    assert np.mean([abs(mean) < 1.96 * se for mean, se in found]) < 0.915


def test_degrees_of_freedom_are_the_groups_less_one_where_they_are_of_one_size():
    assert degrees_of_freedom(["a", "b", "c", "a", "b", "c"]) == pytest.approx(2)
    assert half_width(1, ["a", "b", "c"]) == pytest.approx(4.303, abs=1e-3)  # a printed table's


def test_one_group_has_no_standard_error():
    mean, se = mean_and_se(np.array([1.0, 2.0]), ["a", "a"])
    assert mean == 1.5
    assert math.isnan(se)
    assert math.isnan(half_width(se, ["a", "a"]))


def test_per_dim():
    assert per_dim(torch.tensor([48.0, 96.0]), (3, 4, 4)).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("values", "groups"), [([], []), ([1.0], ["a", "b"]), ([[1.0]], ["a"])])
def test_bad_input(values: list, groups: list[str]):
    with pytest.raises(ValueError, match=r"values must be \[N\] with N names"):
        mean_and_se(np.array(values), groups)
