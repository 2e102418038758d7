"""Social metrics against cases worked out by hand and against slow loops written from the definitions."""

from itertools import pairwise

import numpy as np
import pytest

from envs.lab2d import metrics


def test_per_capita_return_by_hand():
    assert metrics.per_capita_return(np.array([[1.0, 0.0], [2.0, -1.0], [0.0, 4.0]])) == 3.0


@pytest.mark.parametrize(
    ("collected", "expected"),
    [
        ([5, 5, 5, 5], 1.0),
        ([1, 0, 0, 0], 0.25),  # one agent has all: 1 - (N - 1) / N
        ([1, 3], 0.75),  # Gini = (2 + 2) / (2 * 2 * 4)
        ([0, 0, 0], 1.0),
        ([7], 1.0),
    ],
)
def test_equality_by_hand(collected, expected):
    assert metrics.equality(np.array(collected, float)) == pytest.approx(expected)


def test_equality_is_one_minus_the_area_under_the_lorenz_curve():
    collected = np.random.default_rng(0).integers(0, 50, 9).astype(float)
    lorenz = np.concatenate([[0], np.cumsum(np.sort(collected)) / collected.sum()])
    area = sum((a + b) / 2 / len(collected) for a, b in pairwise(lorenz))
    assert metrics.equality(collected) == pytest.approx(2 * area)


def test_equality_refuses_negative_amounts():
    with pytest.raises(ValueError, match=r"-2\.0"):
        metrics.equality(np.array([3.0, -2.0]))


def test_sustainability_by_hand():
    collected = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 2, 0]])
    # agent 0 at steps 1 and 3, agent 1 at step 4, agent 2 never
    assert metrics.sustainability(collected) == pytest.approx((2 + 4) / 2)
    assert metrics.sustainability(np.zeros((4, 3))) == 0.0


def test_sustainability_against_a_loop():
    collected = np.random.default_rng(1).integers(0, 2, (40, 5))
    means = []
    for agent in range(5):
        times = [t + 1 for t in range(40) if collected[t, agent] > 0]
        means.append(sum(times) / len(times))
    assert metrics.sustainability(collected) == pytest.approx(sum(means) / 5)


def test_peace_by_hand():
    hits = np.array([[0, 0], [2, 0], [1, 1], [0, 0]])
    assert metrics.peace(hits) == 1 - 3 / 8
    assert metrics.peace(np.zeros((3, 2))) == 1.0
