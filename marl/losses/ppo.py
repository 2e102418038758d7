"""Proximal policy optimisation, clipped per agent. Source: Schulman et al. 2017 (arXiv 1707.06347), Eq. 7.

A team's joint ratio is a product over agents whose variance grows with their number; here each agent has its own ratio,
its own clip and its own advantage, as in independent PPO with shared weights (de Witt et al. 2020, arXiv 2011.09533).
Shapes: [..., A], any leading axes; mask is True where the agent was present.
"""

import torch
from torch import Tensor

from marl.losses.masked import masked_mean


def log_prob(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probability of each agent's action. logits: [..., A, N]; actions: [..., A] integers. Returns [..., A]."""
    return logits.log_softmax(-1).gather(-1, actions.long()[..., None]).squeeze(-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each agent's policy in nats. logits: [..., A, N]. Returns [..., A]."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def ppo_loss(
    logp: Tensor, logp_old: Tensor, advantages: Tensor, mask: Tensor, *, clip_eps: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate, averaged over present agents.

        ratio = exp(logp - logp_old)
        loss  = -mean min(ratio adv, clip(ratio, 1 - clip_eps, 1 + clip_eps) adv)

    Args: logp, logp_old, advantages, mask: [..., A]. Returns: scalar loss (to minimise) and statistics: "kl" (the
    estimator ratio - 1 - log ratio, which is never negative), "clip_fraction", "ratio_error" (largest |ratio - 1|).
    """
    log_ratio = torch.where(mask, logp - logp_old, 0.0)
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip_eps, 1 + clip_eps) * advantages)
    with torch.no_grad():
        stats = {
            "kl": masked_mean(log_ratio.expm1() - log_ratio, mask),
            "clip_fraction": masked_mean(((ratio - 1).abs() > clip_eps).to(ratio.dtype), mask),
            "ratio_error": (ratio - 1).abs().max(),
        }
    return -masked_mean(surrogate, mask), stats


def value_loss(values: Tensor, returns: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Half the mean squared error of the critic over present agents.

    Args: values, returns, mask: [..., A]. Returns: scalar loss and statistics: "value_error" (root mean squared),
    "explained_variance" (1 - Var[returns - values] / Var[returns]).
    """
    error = torch.where(mask, values - returns, 0.0)  # before squaring, or the gradient is 0 * inf
    loss = 0.5 * masked_mean(error.square(), mask)
    with torch.no_grad():
        mean = masked_mean(returns, mask)
        variance = masked_mean((returns - mean).square(), mask)
        residual = masked_mean((error - masked_mean(error, mask)).square(), mask)
        stats = {
            "value_error": (2 * loss).sqrt(),
            "explained_variance": 1 - residual / variance.clamp(min=1e-8),
        }
    return loss, stats
