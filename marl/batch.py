"""From episode chunks to one training batch: values, advantages per agent and prediction targets.

Runs in the learner as the only piece of its connector pipeline. Row n of the batch is one step of a whole team.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agents import TeamNetwork
from marl.losses.prediction import RESTART, Targets, targets
from marl.returns import gae, standardise
from marl.rollout import AGENT_REWARDS

ADVANTAGES, RETURNS = "advantages", "returns"
VALUE_ROWS = 4096  # observations per forward pass, to bound memory


def outputs_of(network: TeamNetwork, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits [M, A, N] and values [M, A] of M team observations, without gradient."""
    with torch.no_grad():
        parts = [
            network({key: value[i : i + VALUE_ROWS] for key, value in obs.items()})
            for i in range(0, len(obs["mask"]), VALUE_ROWS)
        ]
    return torch.cat([part.logits for part in parts]), torch.cat([part.values for part in parts])


def advantages_of(
    rewards: list[Tensor], values: list[Tensor], terminated: list[bool], *, gamma: float, lambda_: float
) -> list[Tensor]:
    """GAE of chunks of unequal length, in one padded pass.

    Args: rewards: per chunk [T_i, A]; values: per chunk [T_i + 1, A], the last of the observation after the chunk;
    terminated: per chunk. Returns: per chunk [T_i, A].
    """
    lengths = torch.tensor([len(r) for r in rewards], device=rewards[0].device)
    padded_rewards = pad_sequence(rewards)  # [T, C, A]
    padded_values = pad_sequence([value[:-1] for value in values])
    padded_next = pad_sequence([value[1:] for value in values])
    steps = torch.arange(len(padded_rewards), device=lengths.device)[:, None]
    ended = steps >= lengths - 1  # the padding is past the end too, so nothing leaks out of it
    over = ended & torch.tensor(terminated, device=lengths.device)
    padded = gae(padded_rewards, padded_values, padded_next, over, ended, gamma=gamma, lambda_=lambda_)
    return [padded[: len(r), i] for i, r in enumerate(rewards)]


def prediction_targets(
    network: TeamNetwork, obs: dict[str, Tensor], chunks: list[int], *, restart: float
) -> dict[str, Tensor]:
    """The fields of Targets by name, [N, E, K, ...], for the N steps of all chunks.

    Args: obs: "positions" [M, E, 2] and "entity_mask" [M, E] of all chunks one after another, each with the observation
    after it; chunks: their lengths in observations, M in all (N is one less for each); restart: as of `targets`.
    """
    scale = torch.tensor(network.spec.step_scale, device=obs["positions"].device)
    pairs = zip(obs["positions"].split(chunks), obs["entity_mask"].split(chunks), strict=True)
    horizon = network.config.horizon
    each = [targets(positions, present, scale, horizon, restart=restart) for positions, present in pairs]
    return {name: torch.cat([getattr(one, name) for one in each]) for name in Targets._fields}


class Chunks(NamedTuple):
    """Episode chunks one after another: N steps in C chunks, and the M = N + C observations that frame them."""

    lengths: list[int]
    """Steps of each chunk."""
    terminated: list[bool]
    """Of each chunk: whether the episode is over after it."""
    obs: dict[str, Tensor]
    """[M, ...] observations, those after each chunk among them."""
    acted: Tensor
    """[M] whether the team acted on an observation."""
    actions: Tensor
    """[N, A]."""
    logp: Tensor
    """[N, A] log-probabilities of the actions when they were taken."""
    rewards: Tensor
    """[N, A], scaled."""

    @property
    def framed(self) -> list[int]:
        """Observations of each chunk."""
        return [length + 1 for length in self.lengths]

    @property
    def rows(self) -> dict[str, Tensor]:
        """[N, ...] the observations that the team acted on."""
        return {key: value[self.acted] for key, value in self.obs.items()}


class TeamBatch(ConnectorV2):
    """Learner connector: episode chunks -> {module: tensors of one batch}."""

    def __init__(
        self,
        *,
        gamma: float,
        lambda_: float,
        reward_scale: float,
        device: Any,
        advantage_std_min: float = 0.0,
        restart: float = RESTART,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gamma, self.lambda_, self.reward_scale, self.device = gamma, lambda_, reward_scale, device
        self.advantage_std_min, self.restart = advantage_std_min, restart

    def __call__(self, *, rl_module: Any, batch: Any, episodes: list[SingleAgentEpisode], **kwargs: Any) -> Any:
        network: TeamNetwork = rl_module[DEFAULT_MODULE_ID].unwrapped().network
        return {DEFAULT_MODULE_ID: self.build(network, episodes)}

    def build(self, network: TeamNetwork, episodes: list[SingleAgentEpisode]) -> dict[str, Any]:
        """The batch; all tensors on the learner's device, rows in the order of `episodes`."""
        chunks = self._chunks(network, episodes)
        returns, advantages = self.estimates(network, chunks)
        return {
            Columns.OBS: chunks.rows,
            Columns.ACTIONS: chunks.actions,
            Columns.ACTION_LOGP: chunks.logp,
            RETURNS: returns,
            ADVANTAGES: advantages,
            **prediction_targets(network, chunks.obs, chunks.framed, restart=self.restart),
        }

    def estimates(self, network: TeamNetwork, chunks: Chunks) -> tuple[Tensor, Tensor]:
        """What the critic and the policy learn from: returns and standardised advantages, [N, A] each. Here GAE's."""
        values = outputs_of(network, chunks.obs)[1].split(chunks.framed)
        advantages = torch.cat(
            advantages_of(
                list(chunks.rewards.split(chunks.lengths)),
                list(values),
                chunks.terminated,
                gamma=self.gamma,
                lambda_=self.lambda_,
            )
        )
        returns = advantages + torch.cat([value[:-1] for value in values])
        return returns, standardise(advantages, chunks.rows["mask"], std_min=self.advantage_std_min)

    def _chunks(self, network: TeamNetwork, episodes: list[SingleAgentEpisode]) -> Chunks:
        lengths = [len(episode) for episode in episodes]
        ends = torch.tensor(lengths, device=self.device).add(1).cumsum(0) - 1  # the observation after each chunk
        acted = torch.ones(sum(lengths) + len(lengths), dtype=torch.bool, device=self.device)
        acted[ends] = False
        return Chunks(
            lengths=lengths,
            terminated=[episode.is_terminated for episode in episodes],
            obs={
                key: self._tensor([cast(Any, episode.observations.data)[key] for episode in episodes])
                for key in network.spec.shapes
            },
            acted=acted,
            actions=self._tensor([episode.actions.data for episode in episodes]),
            logp=self._tensor([e.extra_model_outputs[Columns.ACTION_LOGP].data for e in episodes]),
            rewards=self._tensor([e.extra_model_outputs[AGENT_REWARDS].data for e in episodes]) * self.reward_scale,
        )

    def _tensor(self, arrays: list[Any]) -> Tensor:
        """The arrays of all chunks one after another, on the learner's device."""
        return torch.from_numpy(np.concatenate(arrays)).to(self.device)
