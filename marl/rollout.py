"""T steps of E environments in arrays, and their way out as RLlib episodes.

Row t of `obs` is what the policy saw at step t. Where an episode ends at step t, row t + 1 already holds the first
observation of the next one, so the final observation is kept apart: truncation bootstraps from it.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from envs import Obs, TeamSpec

AGENT_REWARDS = "agent_rewards"


@dataclass
class Rollout:
    """Arrays [T, E, ...] of one call of `sample`."""

    obs: Obs
    """[T + 1, E, ...]"""
    actions: np.ndarray
    """[T, E, A] int64"""
    logp: np.ndarray
    """[T, E, A] float32"""
    rewards: np.ndarray
    """[T, E, A] float32"""
    ends: dict[int, list[tuple[int, bool, bool, Obs]]] = field(default_factory=dict)
    """Environment -> its ends in order: (step, terminated, truncated, final observation)."""

    @classmethod
    def empty(cls, spec: TeamSpec, steps: int, num_envs: int) -> "Rollout":
        shape = (steps, num_envs, spec.num_agents)
        return cls(
            obs=spec.empty(steps + 1, num_envs),
            actions=np.zeros(shape, np.int64),
            logp=np.zeros(shape, np.float32),
            rewards=np.zeros(shape, np.float32),
        )

    def slot(self, step: int, env: int) -> Obs:
        """The place of one observation, to be passed to an environment as `out`."""
        return {key: value[step, env] for key, value in self.obs.items()}

    def slots(self, step: int) -> Iterator[Obs]:
        """`slot(step, env)` of every environment in order; quicker than one at a time."""
        keys = self.obs.keys()
        return (
            dict(zip(keys, views, strict=True)) for views in zip(*(v[step] for v in self.obs.values()), strict=True)
        )

    def end(self, step: int, env: int, terminated: bool, truncated: bool) -> None:
        """Notes that `step` ended an episode; the final observation is in row step + 1 and is copied from there."""
        final = {key: np.array(value[step + 1, env]) for key, value in self.obs.items()}
        self.ends.setdefault(env, []).append((step, terminated, truncated, final))

    def episodes(self, ids: list[str], starts: np.ndarray) -> list[SingleAgentEpisode]:
        """Cuts the arrays into RLlib episode chunks.

        Args: ids: [E] id of each environment's episode at step 0, replaced in place where a new one began;
        starts: [E] int, how many steps that episode already had, likewise.
        """
        chunks = []
        for env in range(self.actions.shape[1]):
            begin = 0
            for step, terminated, truncated, final in self.ends.get(env, []):
                chunks.append(self._chunk(env, begin, step + 1, final, terminated, truncated, ids[env], starts[env]))
                begin, ids[env], starts[env] = step + 1, uuid.uuid4().hex, 0
            if begin < len(self.actions):
                last = {key: value[-1, env] for key, value in self.obs.items()}
                chunks.append(self._chunk(env, begin, len(self.actions), last, False, False, ids[env], starts[env]))
                starts[env] += len(self.actions) - begin
        return chunks

    def _chunk(
        self, env: int, begin: int, end: int, last: Obs, terminated: bool, truncated: bool, id_: str, start: int
    ) -> SingleAgentEpisode:
        return SingleAgentEpisode(
            id_=id_,
            # Arrays with a time axis, which RLlib takes as well as the lists that its annotation names.
            observations=cast(
                Any, {k: np.concatenate([v[begin:end, env], last[k][None]]) for k, v in self.obs.items()}
            ),
            infos=[{}] * (end - begin + 1),  # RLlib wants one per observation
            actions=cast(Any, self.actions[begin:end, env]),
            rewards=cast(Any, self.rewards[begin:end, env].mean(-1)),
            extra_model_outputs={
                Columns.ACTION_LOGP: self.logp[begin:end, env],
                AGENT_REWARDS: self.rewards[begin:end, env],
            },
            terminated=terminated,
            truncated=truncated,
            t_started=int(start),
            len_lookback_buffer=0,
        )
