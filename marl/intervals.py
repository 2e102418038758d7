"""95% intervals of means and shares, also where observations come in pairs."""

import numpy as np

Z95 = 1.959964
"""The normal distribution's 97.5% quantile."""


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share in `count` independent trials (need not be whole)."""
    z2 = Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def student(values: np.ndarray) -> tuple[float, float]:
    """Student's t interval of a mean. One value, or equal values, give an interval of no width."""
    values = np.asarray(values, dtype=np.float64)
    count, mean = len(values), float(values.mean())
    if count < 2:
        return mean, mean
    from scipy.stats import t  # scipy takes a second to import, and only this line needs it

    half = float(t.ppf(0.975, count - 1)) * values.std(ddof=1) / np.sqrt(count)
    return float(mean - half), float(mean + half)


def share_of_pairs(values: np.ndarray) -> tuple[float, float]:
    """Interval of a share whose trials come in pairs that may depend on each other. values: [P], each pair's mean
    (0, 1/2 or 1).

    Wilson's interval with the number of trials that independent ones would need for the variance between the pairs,
    p (1 - p) / (s^2 / P): from P, where both trials of a pair always agree, to 2 P, where they tell nothing about each
    other. (A t interval of the pairs would have no width where all agree.)
    """
    values = np.asarray(values, dtype=np.float64)
    pairs, share = len(values), float(values.mean())
    variance = values.var(ddof=1) / pairs if pairs > 1 else 0.0
    if share in (0.0, 1.0) or pairs < 2:  # nothing says how much the trials of a pair depend on each other
        return wilson(share, pairs)
    return wilson(
        share, 2 * pairs if variance == 0 else float(np.clip(share * (1 - share) / variance, pairs, 2 * pairs))
    )
