"""PPO's learner: unpacks the batch, calls the losses, logs. The formulas are in marl/losses."""

from typing import Any

from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from torch import Tensor

from agents.rl_module import TOKENS, VALUES
from marl.batch import ADVANTAGES, RETURNS
from marl.losses.masked import masked_mean
from marl.losses.ppo import entropy, log_prob, ppo_loss, value_loss
from marl.losses.prediction import Targets, prediction_loss


class TeamPPOLearner(PPOTorchLearner):
    """Clipped PPO per agent, critic, entropy bonus and the predictive auxiliary loss."""

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        self._first_minibatch = True

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        settings = config.learner_config_dict
        mask, actions = batch[Columns.OBS]["mask"], batch[Columns.ACTIONS]
        logits = fwd_out[Columns.ACTION_DIST_INPUTS].view(*actions.shape, -1)
        logp = log_prob(logits, actions)
        loss, stats = ppo_loss(
            logp, batch[Columns.ACTION_LOGP], batch[ADVANTAGES], mask, clip_eps=settings["clip_eps"]
        )
        stats["policy_loss"] = loss
        critic, critic_stats = value_loss(fwd_out[VALUES], batch[RETURNS], mask)
        bonus = masked_mean(entropy(logits), mask)
        coefficient = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        loss = loss + settings["value_coeff"] * critic - coefficient * bonus
        stats |= critic_stats | {"entropy": bonus}
        if settings["prediction_coeff"] > 0:
            predicted = self.module[module_id].unwrapped().network.predict(fwd_out[TOKENS])
            target = Targets(*(batch[name] for name in Targets._fields))
            auxiliary, prediction_stats = prediction_loss(predicted, target, mask)
            loss = loss + settings["prediction_coeff"] * auxiliary
            stats |= prediction_stats
        if self._first_minibatch:  # before any step runner and learner must agree: a ratio of exactly 1
            self.metrics.log_value((module_id, "first_ratio_error"), stats["ratio_error"], window=1)
            self._first_minibatch = False
        del stats["ratio_error"]
        self.metrics.log_dict(stats, key=module_id, window=settings["minibatches"])
        return loss
