"""Advantages and returns as pure functions on [T, B, A] tensors (time, batch, agents)."""

from typing import NamedTuple

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


def lambda_returns(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    *,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """Lambda-returns, per agent. Source: Sutton and Barto 2018, Eq. 12.18.

        R_t = r_t + gamma (1 - terminated_t) ((1 - lambda) V(s_{t+1}) + lambda R_{t+1}), with V(s_{t+1}) for R_{t+1} if
        ended_t

    Equal to `gae` + values. Args: as `gae`. Returns: [T, B, A].
    """
    future = next_values.masked_fill(terminated[..., None], 0)
    returns, last = torch.empty_like(values), torch.zeros_like(values[0])
    for t in range(len(values) - 1, -1, -1):
        onward = torch.where(ended[t][..., None], future[t], (1 - lambda_) * future[t] + lambda_ * last)
        last = returns[t] = rewards[t] + gamma * onward
    return returns


class VTrace(NamedTuple):
    """What V-trace says of a batch of chunks; constants, to be learnt from without gradient."""

    targets: Tensor
    """[T, B, A] v_t, for the critic."""
    advantages: Tensor
    """[T, B, A] of the actions taken, weighted by rho, for the policy gradient."""


def vtrace(
    logp: Tensor,
    behaviour_logp: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    *,
    gamma: float,
    lambda_: float,
    rho_clip: float,
    c_clip: float,
) -> VTrace:
    """V-trace, per agent with its own ratio. Source: Espeholt et al. 2018 (arXiv 1802.01561), Sec. 4.1, Eq. 1, Sec. 4.2
    and Remark 2 (lambda).

        rho_t = min(rho_clip, pi/mu),  c_t = lambda min(c_clip, pi/mu),  pi/mu = exp(logp_t - behaviour_logp_t)
        delta_t = rho_t (r_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t))
        v_t = V(s_t) + sum_{k >= t} gamma^{k-t} (c_t ... c_{k-1}) delta_k, up to the first ended k
        A_t = rho_t (r_t + gamma ((1 - lambda) V(s_{t+1}) + lambda v_{t+1}) - V(s_t))

    A team's joint ratio is a product over agents, which clipping at 1 makes vanish as they become more; so each agent
    has its own. Differs: for lambda < 1 the paper's A_t takes v_{t+1} alone; with the mixture, A_t equals `gae` (and
    v_t the lambda-return) when pi = mu. At lambda = 1 the two are the same.

    Args:
        logp, behaviour_logp: [T, B, A] log-probability of the action taken, under the learner's policy and under the
            one that acted; equal where an agent was absent (it decided nothing).
        others: as `gae`.
    """
    ratio = (logp - behaviour_logp).exp()
    rho, c = ratio.clamp(max=rho_clip), lambda_ * ratio.clamp(max=c_clip)
    going = (~ended)[..., None].to(values.dtype)
    future = next_values.masked_fill(terminated[..., None], 0)
    delta = rho * (rewards + gamma * future - values)
    correction = values.new_zeros(len(values) + 1, *values.shape[1:])  # v_t - V(s_t), and 0 after the end
    for t in range(len(values) - 1, -1, -1):
        correction[t] = delta[t] + gamma * going[t] * c[t] * correction[t + 1]
    onward = future + lambda_ * going * correction[1:]
    return VTrace(values + correction[:-1], rho * (rewards + gamma * onward - values))


def standardise(x: Tensor, mask: Tensor, *, std_min: float = 0.0, centre: bool = True) -> Tensor:
    """(x - mean) / max(std, std_min) over the entries where `mask` is True (population std); entries elsewhere
    become 0. Without `centre` the mean stays."""
    count = mask.sum().clamp(min=1)
    present = x.masked_fill(~mask, 0)
    centred = (present - present.sum() / count).masked_fill(~mask, 0)
    std = (centred.square().sum() / count).sqrt().clamp(min=max(std_min, 1e-8))
    return (centred if centre else present) / std
