"""Who attends to whom, when and from where: attention weights of played episodes, averaged in groups of moments.

A weight belongs to a head, an asking and an answering agent at a step. Here agents are named by the player they move
(`who`), because football hands agents over between players. Every mean comes with its 95% interval over episodes: the
moments of an episode resemble each other, so they do not count as independent.

Axes: T moments, H heads, A agents, P players of the team, G groups, n weights.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was looked at in one episode, moment by moment."""

    attention: np.ndarray
    """[T, H, A, A] mixing weights, asking agent by answering agent."""
    mask: np.ndarray
    """[T, A] bool, agents that are present."""
    who: np.ndarray
    """[T, A] the row of `positions` of the player whom each agent moves."""
    positions: np.ndarray
    """[T, E, 2] in [-1, 1]."""
    phase: np.ndarray
    """[T] phase of the game (see `marl.phases`)."""
    holder: np.ndarray
    """[T] row of the teammate who has the ball, or -1."""


class Means(NamedTuple):
    """Mean attention in G groups."""

    mean: np.ndarray
    """[G, H], NaN where a group has no moment."""
    low: np.ndarray
    """[G, H] lower end of the 95% interval, NaN where fewer than two episodes have such a moment."""
    high: np.ndarray
    """[G, H]"""
    moments: np.ndarray
    """[G] weights per head that the mean is over."""
    episodes: np.ndarray
    """[G] episodes in which there were any."""


class Pairs(NamedTuple):
    """Attention of one present agent to a present teammate or to itself; n of them."""

    weight: np.ndarray
    """[n, H]"""
    asks: np.ndarray
    """[n] row of the asking player."""
    answers: np.ndarray
    """[n] row of the player who is attended to."""
    moment: np.ndarray
    """[n] step within the episode."""


def pairs(look: Look) -> Pairs:
    """All pairs of present agents, an agent with itself included."""
    there = look.mask & (look.who >= 0)
    t, a, b = np.nonzero(there[:, :, None] & there[:, None, :])
    return Pairs(look.attention[t, :, a, b], look.who[t, a], look.who[t, b], t)


def grouped(parts: list[tuple[np.ndarray, np.ndarray]], groups: int) -> Means:
    """Mean weight of every group, over all episodes together.

    The mean is a ratio of sums over episodes, sum S_e / sum N_e, and the interval is Student's t on its linearised
    standard error, sqrt(E / (E - 1) sum (S_e - mean N_e)^2) / sum N_e (Cochran 1977, "Sampling Techniques", Sec. 6.3,
    without the finite-population factor), over the E episodes in which the group occurs, cut to [0, 1].

    Args: parts: per episode the weights [n, H] and the group [n] of each, -1 to leave it out. groups: G.
    """
    heads = parts[0][0].shape[1] if parts else 0
    counts = np.zeros((len(parts), groups))
    sums = np.zeros((len(parts), groups, heads))
    for episode, (weight, group) in enumerate(parts):
        kept = group >= 0
        counts[episode] = np.bincount(group[kept], minlength=groups)
        for head in range(heads):
            sums[episode, :, head] = np.bincount(group[kept], weight[kept, head], minlength=groups)
    from scipy.stats import t as student_t  # scipy takes a second to import, and only this function needs it

    moments, episodes = counts.sum(0), (counts > 0).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums.sum(0) / moments[:, None]
        residual = ((sums - mean * counts[..., None]) ** 2).sum(0)
        error = np.sqrt(residual * (episodes / (episodes - 1.0))[:, None]) / moments[:, None]
        half = student_t.ppf(0.975, np.maximum(episodes - 1, 1))[:, None] * error
    half[episodes < 2] = np.nan
    return Means(mean, np.maximum(mean - half, 0), np.minimum(mean + half, 1), moments.astype(int), episodes)


def by_phase(looks: list[Look], phases: int, players: int) -> Means:
    """Means for every phase, asking and answering player: G = phases * P * P, to be reshaped so."""
    parts = []
    for look in looks:
        pair = pairs(look)
        parts.append((pair.weight, (look.phase[pair.moment] * players + pair.asks) * players + pair.answers))
    return grouped(parts, phases * players * players)


Size = tuple[float, float]
"""Along and across the field, in a unit of length."""


class _Places(NamedTuple):
    """Pairs of different players, and where they are in units of length."""

    weight: np.ndarray
    asks: np.ndarray
    answers: np.ndarray
    asker_at: np.ndarray
    answerer_at: np.ndarray
    holder: np.ndarray


def _places(look: Look, scale: Size) -> _Places:
    pair = pairs(look)
    other = pair.asks != pair.answers
    weight, asks, answers, moment = (column[other] for column in pair)
    at = look.positions[moment] * np.asarray(scale)
    rows = np.arange(len(at))
    return _Places(weight, asks, answers, at[rows, asks], at[rows, answers], look.holder[moment])


def cell(at: np.ndarray, half_size: Size, shape: tuple[int, int]) -> np.ndarray:
    """Index of the cell of each point of `at` [n, 2] in a grid of `shape` (rows, columns) over the rectangle
    [-half_size, half_size]; -1 outside."""
    rows, columns = shape
    x, y = ((at / np.asarray(half_size) + 1) / 2 * (columns, rows)).T
    inside = (x >= 0) & (x <= columns) & (y >= 0) & (y <= rows)
    flat = np.minimum(y, rows - 1).astype(int) * columns + np.minimum(x, columns - 1).astype(int)
    return np.where(inside, flat, -1)


def by_place(looks: list[Look], scale: Size, half_size: Size, shape: tuple[int, int]) -> Means:
    """Attention that a player gets from each teammate, by where on the field it stands: G = cells, row by row.

    Args: scale: what 1 of `positions` is; half_size: of the field; shape: rows and columns of cells.
    """
    places = [_places(look, scale) for look in looks]
    return grouped([(p.weight, cell(p.answerer_at, half_size, shape)) for p in places], shape[0] * shape[1])


def by_offset(looks: list[Look], scale: Size, reach: Size, shape: tuple[int, int]) -> Means:
    """The same by where the player stands as seen from the one who asks (in the middle), up to `reach` away."""
    places = [_places(look, scale) for look in looks]
    return grouped([(p.weight, cell(p.answerer_at - p.asker_at, reach, shape)) for p in places], shape[0] * shape[1])


RELATIONS = ("to the player on the ball", "by the player on the ball", "between the others")


def by_distance(looks: list[Look], scale: Size, edges: np.ndarray) -> Means:
    """Attention to a teammate by distance (bins between `edges`) and by who has the ball: G = 3 RELATIONS * bins.
    Without a ball all is "between the others"."""
    bins, parts = len(edges) - 1, []
    for look in looks:
        p = _places(look, scale)
        far = np.linalg.norm(p.answerer_at - p.asker_at, axis=1)
        place = np.searchsorted(edges, far, side="right") - 1
        relation = np.where(p.answers == p.holder, 0, np.where(p.asks == p.holder, 1, 2))
        parts.append((p.weight, np.where((place >= 0) & (place < bins), relation * bins + place, -1)))
    return grouped(parts, 3 * bins)
