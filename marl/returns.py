"""Advantages and returns as pure functions on [T, B, A] tensors (time, batch, agents)."""

import torch
from torch import Tensor


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    *,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """Generalised advantage estimation, per agent. Source: Schulman et al. 2016 (arXiv 1506.02438), Eq. 11 and 16.

        delta_t = r_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
        A_t     = delta_t + gamma lambda (1 - ended_t) A_{t+1}

    A time limit ends the sum but not the future: a truncated step has ended_t = 1 and terminated_t = 0, so its value
    is bootstrapped from its own final observation, which is why `next_values` is an argument of its own.

    Args:
        rewards, values, next_values: [T, B, A]; next_values[t] is V of the observation that step t led to.
        terminated, ended: [T, B] bool; ended also marks truncation and the last step of a chunk.
    Returns: [T, B, A] advantages; returns for the critic are advantages + values.
    """
    going = (~ended)[..., None].to(values.dtype)
    delta = rewards + gamma * next_values.masked_fill(terminated[..., None], 0) - values
    advantages, last = torch.empty_like(delta), torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        last = delta[t] + gamma * lambda_ * going[t] * last
        advantages[t] = last
    return advantages


def standardise(x: Tensor, mask: Tensor) -> Tensor:
    """(x - mean) / std over the entries where `mask` is True (population std); entries elsewhere become 0."""
    count = mask.sum().clamp(min=1)
    mean = x.masked_fill(~mask, 0).sum() / count
    centred = (x - mean).masked_fill(~mask, 0)
    return centred / (centred.square().sum() / count).sqrt().clamp(min=1e-8)
