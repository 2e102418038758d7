"""Curves and estimates of `tandem report`: intervals, and the means of bins that a long curve is drawn as."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Z = 1.959964
"""Half-width of a 95% normal interval, in standard errors."""
POINTS, RAW_POINTS = 120, 1500
"""A curve of more points is drawn as the means of so many bins, before the means of so many more."""


@dataclass(frozen=True)
class Curve:
    """A tag of a run: x (steps, or seconds of training) increases, y is finite; both [n] float64."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval, NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        """Two digits of the interval's half-width decide how many are shown."""
        half = (self.high - self.low) / 2
        if not 0 < half < math.inf:
            return f"{self.mean:,.0f}" if abs(self.mean) >= 1e4 else f"{self.mean:.4g}"
        decimals = min(6, max(0, 1 - math.floor(math.log10(half))))
        mean, low, high = (f"{value:,.{decimals}f}" for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def number(value: Any) -> float:
    """A JSON number as a float; NaN for anything else."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def is_bound(tag: str, curves: dict[str, Curve]) -> bool:
    """Whether a tag is the interval of another tag, not a number of its own."""
    return any(tag.endswith(end) and tag.removesuffix(end) in curves for end in ("_low", "_high", "_se"))


def bounds(curves: dict[str, Curve], tag: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The 95% interval of each point of a curve, from TAG_low and TAG_high or from TAG_se, if known."""
    curve, low, high, se = (curves.get(tag + end) for end in ("", "_low", "_high", "_se"))
    if curve and low and high and np.array_equal(low.x, curve.x) and np.array_equal(high.x, curve.x):
        return low.y, high.y
    return (curve.y - Z * se.y, curve.y + Z * se.y) if curve and se and np.array_equal(se.x, curve.x) else None


def t_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high), each [...], of values [n, ...] over n >= 2 seeds: Student's t, 95%, point by point."""
    from scipy.stats import t  # takes a second to import

    count, mean = len(values), values.mean(0)
    half = float(t.ppf(0.975, count - 1)) * values.std(0, ddof=1) / math.sqrt(count)
    return mean, mean - half, mean + half


def iqm_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(interquartile mean, low, high), each [n], of values [seeds, n]: stratified bootstrap, 95%, point by point."""
    from experiments import statistics

    if not values.size:  # seeds that share no step
        return values.mean(0), values.mean(0), values.mean(0)
    found = statistics.estimate(statistics.iqm, values[:, None], repetitions=2000)
    return found.value, found.low, found.high


def thin(curve: Curve, points: int = POINTS) -> Curve:
    """The curve, or means of x and y over `points` bins of equal width if it has more points than that."""
    if len(curve.x) <= points:
        return curve
    place = (curve.x - curve.x[0]) / (curve.x[-1] - curve.x[0]) * points
    bins = np.minimum(place.astype(int), points - 1)
    counts = np.bincount(bins, minlength=points)
    used = counts > 0
    return Curve(*(np.bincount(bins, values, points)[used] / counts[used] for values in (curve.x, curve.y)))
