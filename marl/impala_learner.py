"""IMPALA's batch and learner: V-trace over whole chunks, then one gradient step.

The formulas are in marl/returns.py and marl/losses.
"""

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agents import TeamNetwork
from marl.batch import ADVANTAGES, Chunks, TeamBatch, outputs_of
from marl.learner import Stats, TeamPPOLearner
from marl.losses.impala import off_policy_stats, policy_gradient_loss
from marl.losses.ppo import log_prob
from marl.returns import VTrace, standardise, vtrace


def vtrace_of(
    logp: list[Tensor],
    behaviour_logp: list[Tensor],
    rewards: list[Tensor],
    values: list[Tensor],
    terminated: list[bool],
    **settings: float,
) -> VTrace:
    """V-trace of chunks of unequal length, in one padded pass.

    Args: logp, behaviour_logp, rewards: per chunk [T_i, A]; values: per chunk [T_i + 1, A], the last of the observation
    after the chunk; terminated: per chunk; settings: those of `vtrace`. Returns: [N, A], chunk after chunk.
    """
    lengths = torch.tensor([len(r) for r in rewards], device=rewards[0].device)
    steps = torch.arange(int(lengths.max()), device=lengths.device)[:, None]
    ended = steps >= lengths - 1  # the padding is past the end too, so nothing leaks out of it
    over = ended & torch.tensor(terminated, device=lengths.device)
    padded = vtrace(
        pad_sequence(logp),
        pad_sequence(behaviour_logp),
        pad_sequence(rewards),
        pad_sequence([value[:-1] for value in values]),
        pad_sequence([value[1:] for value in values]),
        over,
        ended,
        **settings,
    )
    there = (steps < lengths).T  # chunk by chunk, as the rows come
    return VTrace(*(field.transpose(0, 1)[there] for field in padded))


class VTraceBatch(TeamBatch):
    """Learner connector: episode chunks -> one batch with V-trace's targets and advantages under the present weights.

    They are constants of the loss, so that computing them before the gradient step rather than in it changes nothing.
    """

    def __init__(self, *, rho_clip: float, c_clip: float, standardise_advantages: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rho_clip, self.c_clip, self.standardise_advantages = rho_clip, c_clip, standardise_advantages

    def estimates(self, network: TeamNetwork, chunks: Chunks) -> tuple[Tensor, Tensor]:
        """V-trace's targets of the critic and advantages of the policy, [N, A] each."""
        mask = chunks.rows["mask"]
        logits, values = outputs_of(network, chunks.obs)
        logp = torch.where(mask, log_prob(logits[chunks.acted], chunks.actions), chunks.logp)
        traced = vtrace_of(
            list(logp.split(chunks.lengths)),
            list(chunks.logp.split(chunks.lengths)),
            list(chunks.rewards.split(chunks.lengths)),
            list(values.split(chunks.framed)),
            chunks.terminated,
            gamma=self.gamma,
            lambda_=self.lambda_,
            rho_clip=self.rho_clip,
            c_clip=self.c_clip,
        )
        if not self.standardise_advantages:
            return traced.targets, traced.advantages
        # Not centred: under another policy's actions a constant that is taken off is no baseline but a bias.
        return traced.targets, standardise(traced.advantages, mask, std_min=self.advantage_std_min, centre=False)


class TeamIMPALALearner(TeamPPOLearner):
    """Policy gradient with V-trace's advantages, critic, entropy bonus and the predictive auxiliary loss."""

    def policy_loss(self, module_id: str, logp: Tensor, batch: dict[str, Any], settings: dict[str, Any]) -> Stats:
        """The policy gradient, and how far the data are from the present policy."""
        mask = batch[Columns.OBS]["mask"]
        stats = off_policy_stats(logp, batch[Columns.ACTION_LOGP], mask, rho_clip=settings["rho_clip"])
        return policy_gradient_loss(logp, batch[ADVANTAGES], mask), stats
