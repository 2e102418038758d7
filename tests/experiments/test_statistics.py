"""Statistics over seeds: beside sorted lists, a bootstrap written out by hand, and rliable."""

import importlib
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments import statistics as stats

SCORES = np.random.default_rng(0).normal(size=(7, 3))


def sorted_iqm(values: list[float]) -> float:
    """The mean of what is left of a sorted list without its outer quarters."""
    ordered = sorted(values)
    cut = math.floor(len(ordered) / 4)
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("runs", [1, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("tasks", [1, 3])
def test_iqm_is_the_mean_of_the_middle_half(runs, tasks) -> None:
    scores = np.random.default_rng(runs).normal(size=(runs, tasks))
    expected = sorted_iqm(scores.flatten().tolist())
    assert stats.iqm(scores[None])[0] == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx(scipy.stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)


def test_iqm_of_curves_is_the_iqm_at_each_point() -> None:
    curves = np.random.default_rng(1).normal(size=(6, 2, 4))
    assert stats.iqm(curves[None])[0] == pytest.approx(
        [sorted_iqm(curves[..., p].flatten().tolist()) for p in range(4)]
    )


def by_hand(x: np.ndarray, y: np.ndarray, repetitions: int) -> tuple[float, float]:
    """A stratified bootstrap of the difference of two interquartile means, one repetition after the other."""
    rng, found = np.random.default_rng(5), []
    for _ in range(repetitions):
        values = []
        for scores in (x, y):
            columns = [scores[[rng.integers(len(scores)) for _ in scores], task] for task in range(scores.shape[1])]
            values.append(sorted_iqm(np.concatenate(columns).tolist()))
        found.append(values[0] - values[1])
    return tuple(np.quantile(found, (0.025, 0.975)))


def test_an_interval_is_that_of_a_bootstrap_by_hand() -> None:
    x, y = SCORES, SCORES[:5] + 10 * np.arange(3)  # tasks of very different scores: a mix of them would show
    found = stats.estimate(stats.difference_of_iqm, x, y, repetitions=10_000)
    low, high = by_hand(x, y, 2000)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.07 * width)
    assert found.high == pytest.approx(high, abs=0.07 * width)
    assert found.value == pytest.approx(sorted_iqm(x.flatten().tolist()) - sorted_iqm(y.flatten().tolist()))


def test_the_same_scores_give_the_same_interval_whatever_else_drew_numbers() -> None:
    first = stats.estimate(stats.iqm, SCORES, repetitions=500)
    np.random.seed(3)
    second = stats.estimate(stats.iqm, SCORES, repetitions=500)
    assert (first.low, first.high) == (second.low, second.high)


def test_blocks_of_repetitions_do_not_change_what_is_drawn() -> None:
    curves = np.random.default_rng(1).normal(size=(4, 1, 50_000))  # ten repetitions fit into a block
    found = stats.estimate(stats.mean, curves, repetitions=25)
    assert found.low.shape == (50_000,)
    assert (found.low <= found.value + 1e-9).mean() > 0.9


def rliable() -> tuple[types.ModuleType, types.ModuleType]:
    """rliable's `library` and `metrics`. It asks for arch 7, which as a whole does not import beside pandas 3; of it
    rliable needs the bootstrap alone."""
    if "arch" not in sys.modules:
        spec = importlib.util.find_spec("arch")
        assert spec is not None
        assert spec.origin is not None
        package = types.ModuleType("arch")
        package.__path__ = [str(Path(spec.origin).parent)]
        sys.modules["arch"] = package
    return importlib.import_module("rliable.library"), importlib.import_module("rliable.metrics")


def test_estimates_are_those_of_rliable() -> None:
    library, metrics = rliable()
    np.random.seed(0)  # rliable draws from the global generator
    value, interval = library.get_interval_estimates(
        {"x": SCORES}, lambda scores: np.array([metrics.aggregate_iqm(scores)]), reps=1000
    )
    found = stats.estimate(stats.iqm, SCORES, repetitions=10_000)
    assert found.value == pytest.approx(value["x"][0], abs=1e-12)
    width = float(np.ptp(interval["x"]))
    assert [float(found.low), float(found.high)] == pytest.approx(interval["x"][:, 0], abs=0.08 * width)
    other = SCORES[:5, ::-1] + 0.3
    expected = metrics.probability_of_improvement(SCORES, other)
    assert stats.improvement(SCORES[None], other[None])[0] == pytest.approx(expected, abs=1e-12)


def test_a_tie_is_half_an_improvement() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0], [1.0], [3.0]])
    assert stats.improvement(x[None], y[None])[0] == pytest.approx((0.5 + 0.5 + 0 + 1 + 1 + 0) / 6)


def test_tasks_with_different_numbers_of_runs_count_alike() -> None:
    tasks = [(np.array([1.0, 2.0, 3.0]), np.zeros(3)), (np.full(5, 10.0), np.zeros(5))]
    found = stats.estimate_over_tasks(stats.difference_of_iqm, tasks, repetitions=4000)
    assert found.value == pytest.approx((2 + 10) / 2)
    one = stats.estimate(stats.difference_of_iqm, tasks[0][0][:, None], tasks[0][1][:, None], repetitions=4000)
    assert found.low == pytest.approx((one.low + 10) / 2)


def test_tasks_are_resampled_independently() -> None:
    """The mean of two tasks with the same scores has an interval shorter by the square root of two."""
    pair = SCORES[:, 0], SCORES[:, 1]
    one, two = (stats.estimate_over_tasks(stats.difference_of_iqm, [pair] * count) for count in (1, 2))
    assert float(two.high - two.low) == pytest.approx(float(one.high - one.low) / math.sqrt(2), rel=0.05)


def test_area_is_the_mean_height() -> None:
    steps = np.array([0.0, 1.0, 4.0])
    assert stats.area(steps, np.array([2.0, 2.0, 2.0])) == pytest.approx(2)
    assert stats.area(steps, np.array([[0.0, 1.0, 4.0]])) == pytest.approx([2.0])


def test_welch_interval_is_scipys() -> None:
    x, y = SCORES[:, 0], SCORES[:4, 1]
    theirs = scipy.stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert stats.welch_interval([(x, y)]) == pytest.approx((theirs.low, theirs.high))
    assert stats.welch_interval([(x, y[:1])]) == (-math.inf, math.inf)
    assert stats.welch_interval([(np.ones(3), np.zeros(3))]) == (1, 1)


def test_welch_interval_over_tasks_is_that_of_their_mean() -> None:
    """Two equal tasks: the variance of the mean halves, and the degrees of freedom double."""
    x, y = SCORES[:5, 0], SCORES[:5, 1] + 0.1
    one = scipy.stats.ttest_ind(x, y, equal_var=False)
    half = scipy.stats.t.ppf(0.975, 2 * one.df) * math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 5 / 2)
    low, high = stats.welch_interval([(x, y), (x, y)])
    assert (low + high) / 2 == pytest.approx(x.mean() - y.mean())
    assert (high - low) / 2 == pytest.approx(half)


def test_three_runs_cover_less_than_they_say() -> None:
    assert 0.7 < stats.coverage(3, trials=100, repetitions=200) < 0.9


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.9, "reproduced"),
        (-0.9, -0.01, "not reproduced"),
        (-0.04, 0.05, "not reproduced"),
        (-0.06, 0.04, "undecided"),
        (-0.04, 0.06, "undecided"),
        (0.0, 0.5, "undecided"),
        (-math.inf, math.inf, "undecided"),
    ],
)
def test_verdicts(low, high, expected) -> None:
    assert stats.verdict(low, high, margin=0.05) == expected


@pytest.mark.parametrize("scores", [np.zeros((0, 1)), np.array([[math.nan]]), np.zeros(3)])
def test_scores_that_say_nothing_are_refused(scores) -> None:
    with pytest.raises(ValueError, match="scores must be finite numbers of at least one run and task"):
        stats.estimate(stats.iqm, scores)
