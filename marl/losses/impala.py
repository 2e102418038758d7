"""The policy gradient of IMPALA, per agent. Source: Espeholt et al. 2018 (arXiv 1802.01561), Sec. 4.2.

The advantages come from `marl.returns.vtrace`; critic and entropy bonus are those of marl/losses/ppo.py.
Shapes: [..., A], any leading axes; mask is True where the agent was present.
"""

import torch
from torch import Tensor

from marl.losses.masked import masked_mean


def policy_gradient_loss(logp: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """-mean logp adv over present agents (the paper's sum over the batch ties the step size to the batch's size).

    Args: logp: [..., A] log-probability of the action taken, with gradient; advantages: [..., A], constants that carry
    the importance weight rho already; mask: [..., A]. Returns: scalar loss (to minimise).
    """
    return -masked_mean(torch.where(mask, logp, 0.0) * advantages.detach(), mask)


@torch.no_grad()
def off_policy_stats(logp: Tensor, behaviour_logp: Tensor, mask: Tensor, *, rho_clip: float) -> dict[str, Tensor]:
    """How far the learner's policy has moved on from the one that acted.

    Args: logp, behaviour_logp, mask: [..., A]. Returns: "kl" (ratio - 1 - log ratio, which is never negative, estimates
    KL(behaviour || learner)), "rho" (mean clipped importance weight; 1 on-policy).
    """
    log_ratio = torch.where(mask, logp - behaviour_logp, 0.0)
    ratio = log_ratio.exp()
    return {
        "kl": masked_mean(log_ratio.expm1() - log_ratio, mask),
        "rho": masked_mean(ratio.clamp(max=rho_clip), mask),
    }
