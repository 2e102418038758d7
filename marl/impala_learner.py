"""IMPALA's batch and learner: V-trace over whole chunks, then one gradient step.

The formulas are in marl/returns.py and marl/losses.
"""

from typing import Any, cast

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agents import TeamNetwork
from agents.rl_module import TOKENS, VALUES
from marl.batch import ADVANTAGES, RETURNS, VALUE_ROWS, TeamBatch, prediction_targets
from marl.learner import TeamPPOLearner
from marl.losses.impala import off_policy_stats, policy_gradient_loss
from marl.losses.masked import masked_mean
from marl.losses.ppo import entropy, log_prob, value_loss
from marl.losses.prediction import prediction_term
from marl.returns import VTrace, standardise, vtrace
from marl.rollout import AGENT_REWARDS


def outputs_of(network: TeamNetwork, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits [M, A, N] and values [M, A] of M team observations, without gradient."""
    with torch.no_grad():
        parts = [
            network({key: value[i : i + VALUE_ROWS] for key, value in obs.items()})
            for i in range(0, len(obs["mask"]), VALUE_ROWS)
        ]
    return torch.cat([part.logits for part in parts]), torch.cat([part.values for part in parts])


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
        pad_sequence([v[:-1] for v in values]),
        pad_sequence([v[1:] for v in values]),
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

    def build(self, network: TeamNetwork, episodes: list[SingleAgentEpisode]) -> dict[str, Any]:
        """The batch; all tensors on the learner's device, rows in the order of `episodes`."""
        lengths = [len(episode) for episode in episodes]
        chunks = [length + 1 for length in lengths]
        obs = {
            key: self._tensor([cast(Any, episode.observations.data)[key] for episode in episodes])
            for key in network.spec.shapes
        }
        keep = torch.ones(sum(chunks), dtype=torch.bool, device=self.device)
        keep[torch.tensor(chunks, device=self.device).cumsum(0) - 1] = False  # the observation after each chunk
        rows = {key: value[keep] for key, value in obs.items()}
        actions = self._tensor([episode.actions.data for episode in episodes])
        behaviour = self._tensor([e.extra_model_outputs[Columns.ACTION_LOGP].data for e in episodes])
        rewards = self._tensor([e.extra_model_outputs[AGENT_REWARDS].data for e in episodes]) * self.reward_scale
        logits, values = outputs_of(network, obs)
        logp = torch.where(rows["mask"], log_prob(logits[keep], actions), behaviour)
        traced = vtrace_of(
            list(logp.split(lengths)),
            list(behaviour.split(lengths)),
            list(rewards.split(lengths)),
            list(values.split(chunks)),
            [episode.is_terminated for episode in episodes],
            gamma=self.gamma,
            lambda_=self.lambda_,
            rho_clip=self.rho_clip,
            c_clip=self.c_clip,
        )
        advantages = traced.advantages
        if self.standardise_advantages:
            # Not centred: under another policy's actions a constant that is taken off is no baseline but a bias.
            advantages = standardise(advantages, rows["mask"], std_min=self.advantage_std_min, centre=False)
        return {
            Columns.OBS: rows,
            Columns.ACTIONS: actions,
            Columns.ACTION_LOGP: behaviour,
            RETURNS: traced.targets,
            ADVANTAGES: advantages,
            **prediction_targets(network, obs, chunks),
        }


class TeamIMPALALearner(TeamPPOLearner):
    """Policy gradient with V-trace's advantages, critic, entropy bonus and the predictive auxiliary loss."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        settings = config.learner_config_dict
        mask, actions = batch[Columns.OBS]["mask"], batch[Columns.ACTIONS]
        logits = fwd_out[Columns.ACTION_DIST_INPUTS].view(*actions.shape, -1)
        logp = log_prob(logits, actions)
        policy = policy_gradient_loss(logp, batch[ADVANTAGES], mask)
        critic, stats = value_loss(fwd_out[VALUES], batch[RETURNS], mask)
        bonus = masked_mean(entropy(logits), mask)
        auxiliary, prediction_stats = prediction_term(
            self._network(module_id),
            fwd_out[TOKENS],
            batch,
            mask,
            coeff=settings["prediction_coeff"],
            kinds=settings["prediction_kinds"],
        )
        stats |= {"policy_loss": policy, "entropy": bonus} | prediction_stats
        stats |= off_policy_stats(logp, batch[Columns.ACTION_LOGP], mask, rho_clip=settings["rho_clip"])
        self.metrics.log_dict(stats, key=module_id, window=1)
        coefficient: Any = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        return policy + settings["value_coeff"] * critic - coefficient * bonus + auxiliary
