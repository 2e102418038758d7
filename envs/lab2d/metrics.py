"""Social metrics of an episode, as pure functions.

Source: Perolat et al. 2017, "A multi-agent reinforcement learning model of common-pool resource appropriation",
Sec. 3.
Axes: T steps, N agents. Differences: equality and sustainability count what agents collect (never negative) instead
of their reward, because a Gini coefficient means nothing once fines make returns negative; peace is divided by N, so
that it is a share in [0, 1], and an agent is "tagged" in the step in which a beam hits it (nobody is removed here).
"""

import numpy as np


def per_capita_return(rewards: np.ndarray) -> float:
    """Sum of all rewards divided by the number of agents (Perolat's efficiency times T / N). rewards: [T, N]."""
    return float(np.sum(rewards) / rewards.shape[1])


def equality(collected: np.ndarray) -> float:
    """1 - Gini = 1 - sum_ij |c_i - c_j| / (2 N sum_i c_i); 1 where nobody has anything. collected: [N], not negative.

    Raises: ValueError if a value is negative.
    """
    if np.any(collected < 0):
        raise ValueError(f"equality needs non-negative amounts; got {float(np.min(collected))}")
    total = float(np.sum(collected))
    if total == 0:
        return 1.0
    gaps = np.abs(collected[:, None] - collected[None, :]).sum()
    return float(1 - gaps / (2 * len(collected) * total))


def sustainability(collected: np.ndarray) -> float:
    """Mean over agents of the mean step (first step: 1) at which they collect something. collected: [T, N].

    Agents that collect nothing have no such step and are left out; 0 where nobody collects anything.
    """
    got = collected > 0
    steps = np.arange(1, len(collected) + 1)
    times = [steps[got[:, agent]].mean() for agent in range(collected.shape[1]) if got[:, agent].any()]
    return float(np.mean(times)) if times else 0.0


def peace(hits: np.ndarray) -> float:
    """Share of agent-steps in which the agent was not hit by a punishing beam. hits: [T, N], hits taken."""
    return float(1 - np.mean(hits > 0))
