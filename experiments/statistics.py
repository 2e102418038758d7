"""Statistics over seeds and tasks. Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (arXiv 2108.13264), Sec. 4.

Interquartile means, stratified bootstrap intervals and probabilities of improvement, as in the authors' library
rliable, which the tests compare with. They are here and not there because rliable's bootstrap draws from NumPy's global
generator, whatever seed it is given, and does not import beside pandas 3. Axes: N runs (seeds), M tasks, P points.

With few runs a percentile bootstrap is too narrow: it never sees a run outside of those it has. `coverage` says by how
much, and `welch_interval` is the classical answer to put beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

REPETITIONS = 10_000
LEVEL = 0.95
SEED = 20210830
"""Of every bootstrap, so that the same scores give the same interval."""
Statistic = Callable[..., np.ndarray]
"""Takes arrays [R, N, M, ...], R repetitions, and returns [R, ...]."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number, or one for each point of a curve, with its 95% interval."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile means: of the values of all runs and tasks, the mean of the middle half.

    Of n values the smallest and the largest floor(n / 4) are left out. Args: scores: [R, N, M, ...]. Returns: [R, ...].
    """
    flat = np.sort(scores.reshape(scores.shape[0], -1, *scores.shape[3:]), axis=1)
    cut = flat.shape[1] // 4
    return flat[:, cut : flat.shape[1] - cut].mean(1)


def mean(scores: np.ndarray) -> np.ndarray:
    """Means over runs and tasks. Args: scores: [R, N, M, ...]. Returns: [R, ...]."""
    return scores.mean((1, 2))


def difference_of_iqm(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """iqm(x) - iqm(y)."""
    return iqm(x) - iqm(y)


def improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Probability that a run of x is better than a run of y on the same task, a tie as half, mean over tasks.

    Args: x: [R, N, M]; y: [R, K, M]. Returns: [R]. Source: Agarwal et al. 2021, Sec. 4.3 (Mann and Whitney 1947).
    """
    better = x[:, :, None] > y[:, None]
    equal = x[:, :, None] == y[:, None]
    return (better + 0.5 * equal).mean((1, 2, 3))


def estimate(
    statistic: Statistic, *scores: np.ndarray, repetitions: int = REPETITIONS, level: float = LEVEL, seed: int = SEED
) -> Estimate:
    """A statistic of one or several independent sets of runs, with its stratified percentile bootstrap interval.

    In each repetition and each task, runs are drawn with replacement from those of that task: tasks keep their numbers
    of runs and are never mixed (the strata), and runs of two sets are drawn independently.
    Args: scores: [N, M, ...] each. Raises: ValueError for scores that are empty or no finite numbers.
    """
    drawn = _drawn(statistic, scores, repetitions, seed)
    return _interval(statistic(*(each[None] for each in scores))[0], drawn, level)


def estimate_over_tasks(
    statistic: Statistic,
    tasks: Sequence[tuple[np.ndarray, ...]],
    *,
    repetitions: int = REPETITIONS,
    level: float = LEVEL,
    seed: int = SEED,
) -> Estimate:
    """The mean over tasks of a statistic of each, for tasks with different numbers of runs.

    Args: tasks: for each the arrays [N] or [N, ...] that the statistic takes. Raises: as `estimate`.
    """
    parts = [tuple(each[:, None] for each in arrays) for arrays in tasks]
    drawn = [_drawn(statistic, arrays, repetitions, seed + number) for number, arrays in enumerate(parts)]
    value = np.mean([statistic(*(each[None] for each in arrays))[0] for arrays in parts], axis=0)
    return _interval(value, np.mean(drawn, axis=0), level)


def _interval(value: np.ndarray, drawn: np.ndarray, level: float) -> Estimate:
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail), axis=0)
    return Estimate(value=value, low=low, high=high)


def _drawn(statistic: Statistic, scores: Sequence[np.ndarray], repetitions: int, seed: int) -> np.ndarray:
    """The statistic of `repetitions` resamples: [repetitions, ...]."""
    for each in scores:
        if each.ndim < 2 or 0 in each.shape or not np.isfinite(each).all():
            raise ValueError(f"scores must be finite numbers of at least one run and task, got shape {each.shape}")
    rng = np.random.default_rng(seed)
    drawn = []
    block = max(1, min(repetitions, 2_000_000 // max(each.size for each in scores)))  # 16 MB at a time
    for start in range(0, repetitions, block):
        count = min(block, repetitions - start)
        drawn.append(statistic(*(_resampled(each, count, rng) for each in scores)))
    return np.concatenate(drawn)


def _resampled(scores: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, N, M, ...]: all points of a curve come from the same run."""
    runs, tasks = scores.shape[:2]
    return scores[rng.integers(runs, size=(count, runs, tasks)), np.arange(tasks)]


def area(steps: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Mean height of learning curves: the area under them by the trapezoid rule, over the length of `steps`.

    Args: steps: [P], rising; scores: [..., P]. Returns: [...].
    """
    return np.trapezoid(scores, steps, axis=-1) / (steps[-1] - steps[0])


def welch_interval(tasks: Sequence[tuple[np.ndarray, np.ndarray]], level: float = LEVEL) -> tuple[float, float]:
    """Welch's t interval (1947) of mean(x) - mean(y), or of the mean of that over tasks.

    Args: tasks: for each x [N] and y [K]. Returns: of infinite width where a set has a single run.
    """
    from scipy.stats import t

    sets = [each for pair in tasks for each in pair]
    if min(map(len, sets)) < 2:
        return -np.inf, np.inf
    parts = np.array([each.var(ddof=1) / len(each) for each in sets]) / len(tasks) ** 2
    middle = float(np.mean([x.mean() - y.mean() for x, y in tasks]))
    if parts.sum() == 0:
        return middle, middle
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([len(each) for each in sets]) - 1)).sum()
    half = float(t.ppf(0.5 + level / 2, freedom) * np.sqrt(parts.sum()))
    return middle - half, middle + half


def coverage(runs: int, *, trials: int = 1000, repetitions: int = 1000, seed: int = SEED) -> float:
    """How often the bootstrap interval of a difference of two interquartile means holds the true difference, for normal
    scores of `runs` runs each: what "95%" means with so few."""
    rng = np.random.default_rng(seed)
    hits = 0
    for trial in range(trials):
        x, y = rng.normal(size=(2, runs, 1))
        found = estimate(difference_of_iqm, x, y, repetitions=repetitions, seed=seed + trial)
        hits += bool(found.low <= 0 <= found.high)
    return hits / trials


def verdict(low: float, high: float, margin: float) -> str:
    """What an interval of a difference says of the claim that it is above 0.

    "reproduced" if all of it is above 0; "not reproduced" if all of it is below 0, or within `margin` of 0 (no
    difference that matters); else "undecided".
    """
    if low > 0:
        return "reproduced"
    if high < 0 or (-margin <= low and high <= margin):
        return "not reproduced"
    return "undecided"
