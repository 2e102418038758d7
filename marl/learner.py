"""PPO's learner: unpacks the batch, calls the losses, logs. The formulas are in marl/losses."""

import time
from typing import Any, cast

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from torch import Tensor

from agents import TeamNetwork
from agents.rl_module import TOKENS, VALUES, TeamRLModule
from marl.batch import ADVANTAGES, RETURNS
from marl.losses.masked import masked_mean
from marl.losses.ppo import entropy, log_prob, ppo_loss, value_loss
from marl.losses.prediction import prediction_term

Stats = tuple[Tensor, dict[str, Tensor]]
"""A loss, and statistics by name."""


class TeamPPOLearner(PPOTorchLearner):
    """Clipped PPO per agent, critic, entropy bonus and the predictive auxiliary loss."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam for everything but the predictor head, and one of its own for that head: a predictor that is only
        reported then never takes part in the clipping of the gradients that shape the policy."""
        network = self._network(module_id)
        head = list(network.predictor.parameters())
        ours = {id(parameter) for parameter in head}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in ours]
        for name, parameters in (("main", rest), ("predictor", head)):
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.Adam(parameters, eps=1e-5),
                params=parameters,
                lr_or_lr_schedule=config.lr,
            )

    def _network(self, module_id: str) -> TeamNetwork:
        return cast(TeamRLModule, self.module[module_id].unwrapped()).network

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        self._first_minibatch, self._began = True, time.perf_counter()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id in self.module.keys():  # noqa: SIM118 (no dictionary: it has keys() but cannot be iterated)
            self.metrics.log_value((module_id, "update_s"), time.perf_counter() - self._began, window=1)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        settings = config.learner_config_dict
        mask, actions = batch[Columns.OBS]["mask"], batch[Columns.ACTIONS]
        logits = fwd_out[Columns.ACTION_DIST_INPUTS].view(*actions.shape, -1)
        policy, stats = self.policy_loss(module_id, log_prob(logits, actions), batch, settings)
        critic, critic_stats = value_loss(fwd_out[VALUES], batch[RETURNS], mask)
        bonus = masked_mean(entropy(logits), mask)
        auxiliary, prediction_stats = prediction_term(
            self._network(module_id),
            fwd_out[TOKENS],
            batch,
            mask,
            coeff=settings["prediction_coeff"],
            kinds=settings["prediction_kinds"],
        )
        stats |= {"policy_loss": policy, "entropy": bonus} | critic_stats | prediction_stats
        self.metrics.log_dict(stats, key=module_id, window=settings["minibatches"])
        coefficient: Any = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        return policy + settings["value_coeff"] * critic - coefficient * bonus + auxiliary

    def policy_loss(self, module_id: str, logp: Tensor, batch: dict[str, Any], settings: dict[str, Any]) -> Stats:
        """The policy's part of the loss, and statistics.

        Args: logp: [N, A] log-probabilities of the batch's actions under the present weights.
        """
        mask = batch[Columns.OBS]["mask"]
        loss, stats = ppo_loss(logp, batch[Columns.ACTION_LOGP], batch[ADVANTAGES], mask, clip_eps=settings["clip_eps"])
        error = stats.pop("ratio_error")
        if self._first_minibatch:  # before any step runner and learner must agree: a ratio of exactly 1
            self.metrics.log_value((module_id, "first_ratio_error"), error, window=1)
            self._first_minibatch = False
        return loss, stats
