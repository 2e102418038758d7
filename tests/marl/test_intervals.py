"""Intervals of paired shares: coverage by simulation, and the two extremes of dependence."""

import numpy as np
import pytest

from marl.intervals import share_of_pairs, student, wilson


def pairs_of(rng, share, same, count):
    """[count] means of pairs of trials; with chance `same` the second trial repeats the first."""
    trials = rng.random((count, 2)) < share
    trials[:, 1] = np.where(rng.random(count) < same, trials[:, 0], trials[:, 1])
    return trials.mean(1)


@pytest.mark.parametrize("same", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_intervals_of_pairs_cover_the_share_of_19_in_20_matches(share, same):
    rng, inside = np.random.default_rng(0), []
    for _ in range(1500):
        low, high = share_of_pairs(pairs_of(rng, share, same, 30))
        inside.append(low <= share <= high)
    assert 0.92 < np.mean(inside) < 0.98


def test_pairs_that_repeat_themselves_count_once_and_opposites_twice():
    agree = np.repeat([1.0, 0.0], [12, 28])
    low, high = share_of_pairs(agree)
    assert (low, high) == pytest.approx(wilson(0.3, 40), abs=0.004)  # the variance of a sample has one degree less
    assert share_of_pairs(np.full(40, 0.5)) == wilson(0.5, 80)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_alike_still_has_a_width_and_stays_a_share(value):
    low, high = share_of_pairs(np.full(10, value))
    assert 0 <= low < high <= 1
    assert low <= value <= high or value == pytest.approx(high)
    assert share_of_pairs(np.array([value])) == wilson(value, 1)


def test_a_single_pair_that_disagrees_has_the_widest_interval():
    assert share_of_pairs(np.array([0.5])) == wilson(0.5, 1)


def test_one_value_has_no_width():
    assert student(np.array([2.0])) == (2.0, 2.0)
