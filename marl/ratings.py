"""Elo ratings of several players from the matches between them. Source: Bradley and Terry 1952.

P(a beats b) = sigmoid(theta_a - theta_b), by maximum likelihood, a draw as half a win for either side. Each player also
has one draw against a virtual player of strength 0, so that who never lost (or never won) stays finite.
Elo = 1500 + theta x 400 / ln 10, with theta relative to the mean of the players or to one of them: 400 points are odds
of 10 to 1.

The 95% intervals are those of the weighted likelihood bootstrap (Newton and Raftery 1994): every seed, with all games
on it in all matches, gets a random weight from an exponential distribution of mean 1, and so does every prior draw. So
the two games of a pair, and matches that share seeds, count as the dependent numbers that they are, and a player that
won everything has an interval as well. With P seeds the intervals are widened as for a mean of P values: by Student's
quantile over the normal one, and by sqrt((P + 1) / (P - 1)), as the weights give a mean the variance s^2 / (P + 1).
Simulated (400 tables of three players, without and with 70% draws): they cover the truth in 93% to 95% at 10 seeds and
more; without the widening in 87% at 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ELO = 400 / np.log(10)
"""Elo points per unit of theta (a log-odds, in nats)."""
MEAN_ELO = 1500.0
_NEWTON_STEPS = 50
_LARGEST_STEP = 2.0


@dataclass(frozen=True, kw_only=True)
class Rating:
    """One row of an Elo table."""

    name: str
    elo: float
    low: float
    high: float
    """Ends of the 95% interval of `elo`."""
    games: int
    score: float
    """Share of the points won over all games, a draw as half."""


def strengths(points: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """The most likely theta of each player, R problems at once. Each is strictly concave; Newton's method, with steps
    kept short, finds its one maximum.

    Args: points: [R, N, N], points of the row's player against the column's (the diagonal is ignored);
    prior: [R, N], how many draws with the virtual player, above 0. Returns: [R, N], in nats.
    """
    players = np.arange(points.shape[1])
    points = points.copy()
    points[:, players, players] = 0
    games = points + points.transpose(0, 2, 1)
    theta = np.zeros(prior.shape)
    for _ in range(_NEWTON_STEPS):
        expected = 1 / (1 + np.exp(theta[:, None, :] - theta[:, :, None]))
        against_prior = 1 / (1 + np.exp(-theta))
        gradient = points.sum(2) - (games * expected).sum(2) + prior * (0.5 - against_prior)
        spread = games * expected * (1 - expected)
        curvature = -spread
        curvature[:, players, players] = spread.sum(2) + prior * against_prior * (1 - against_prior)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        longest = np.abs(step).max(1, keepdims=True)
        theta += step * np.minimum(1, _LARGEST_STEP / np.maximum(longest, 1e-300))
        if longest.max() < 1e-10:
            break
    return theta


def rate(
    scores: Mapping[tuple[str, str], np.ndarray],
    *,
    anchor: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Rating]:
    """The Elo table, strongest first.

    Args:
        scores: (a, b) -> [P], for each seed the points of a per game against b, a draw as half, from the two games on
            it; equal places of different matches are the same seed. Each pair of players appears once.
        anchor: the player whose rating is 1500; without one the players' mean is.
        resamples: of the bootstrap; seed: of its weights.
    Raises: ValueError for scores that are no shares, a match of a player with itself or a second one of the same two,
    no match at all, or an anchor that did not play.
    """
    names = _names(scores)
    if anchor is not None and anchor not in names:
        raise ValueError(f"anchor {anchor!r} did not play; allowed: {', '.join(names)}")
    seeds = max(map(len, scores.values()))
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.ones((1, seeds)), rng.exponential(size=(resamples, seeds))])
    prior = np.concatenate([np.ones((1, len(names))), rng.exponential(size=(resamples, len(names)))])
    points = _points(scores, names, weights)
    theta = strengths(points, prior)
    level = theta.mean(1) if anchor is None else theta[:, names.index(anchor)]
    elo = MEAN_ELO + ELO * (theta - level[:, None])
    ends = np.quantile(elo[1:], (0.025, 0.975), axis=0)
    low, high = elo[0] + _widening(min(map(len, scores.values()))) * (ends - elo[0])
    won, played = points[0].sum(1), (points[0] + points[0].T).sum(1)
    table = [
        Rating(
            name=name,
            elo=float(elo[0, i]),
            low=float(low[i]),
            high=float(high[i]),
            games=round(played[i]),
            score=float(won[i] / played[i]),
        )
        for i, name in enumerate(names)
    ]
    return sorted(table, key=lambda rating: -rating.elo)


def _widening(seeds: int) -> float:
    """What few seeds make intervals wider by; one seed counts as two."""
    from scipy.stats import t  # scipy takes a second to import

    seeds = max(2, seeds)
    return float(t.ppf(0.975, seeds - 1) / 1.959964 * np.sqrt((seeds + 1) / (seeds - 1)))


def _names(scores: Mapping[tuple[str, str], np.ndarray]) -> list[str]:
    """The players in order of appearance. Raises ValueError as `rate`."""
    if not scores:
        raise ValueError("ratings need at least one match")
    for (a, b), column in scores.items():
        if a == b or (b, a) in scores:
            raise ValueError(
                f"match {a!r} against {b!r}: ratings need two different players, and each two of them once"
            )
        column = np.asarray(column)
        if column.ndim != 1 or not len(column) or not ((column >= 0) & (column <= 1)).all():
            raise ValueError(f"scores of {a!r} against {b!r} must be a list of numbers between 0 and 1, got {column}")
    return list(dict.fromkeys(name for pair in scores for name in pair))


def _points(scores: Mapping[tuple[str, str], np.ndarray], names: list[str], weights: np.ndarray) -> np.ndarray:
    """[R, N, N] points, for weights [R, P] of the seeds; a seed counts two games."""
    points = np.zeros((len(weights), len(names), len(names)))
    for (a, b), column in scores.items():
        column, used = np.asarray(column, float), 2 * weights[:, : len(column)]
        points[:, names.index(a), names.index(b)] = used @ column
        points[:, names.index(b), names.index(a)] = used @ (1 - column)
    return points
