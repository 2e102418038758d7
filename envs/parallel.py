"""A TeamEnv as a PettingZoo ParallelEnv, for people and for other libraries."""

from typing import Any, cast

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv

from envs.team import AGENT_KEYS, Obs, TeamEnv


class TeamParallelEnv(ParallelEnv[str, dict[str, np.ndarray], int]):
    """Agents "player_0" ... act for the team, "opponent_0" ... for the other side where the caller controls it too.

    An agent's observation is its own slice of the per-agent arrays of the team's observation (`view`, `mask`, `who`)
    plus the arrays that are common to the team. Rewards of opponents are minus the mean reward of the team. All agents
    live until the episode ends; one whose `mask` is False is off the pitch and its action is ignored.
    """

    def __init__(self, team_env: TeamEnv, render_mode: str | None = "rgb_array") -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} does not exist; allowed: None, 'rgb_array'")
        spec = team_env.spec
        self.team_env = team_env
        self.render_mode = render_mode
        self.metadata = {"name": spec.env.replace("/", "_"), "render_modes": ["rgb_array"], "is_parallelizable": True}
        self._players = [f"player_{i}" for i in range(spec.num_agents)]
        self._opponents = [f"opponent_{i}" for i in range(spec.num_opponents)]
        self.possible_agents = self._players + self._opponents
        self.agents: list[str] = []
        self.observation_spaces = {agent: _agent_space(spec.spaces) for agent in self.possible_agents}
        self.action_spaces = {agent: gym.spaces.Discrete(spec.num_actions) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> gym.Space:
        """The observation space of `agent`, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """The action space of `agent`, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict[str, Obs], dict[str, dict]]:
        """Starts an episode; `options` has no meaning here."""
        obs = self.team_env.reset(seed)
        self.agents = list(self.possible_agents)
        return self._by_agent(obs), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Obs], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict]]:
        """Raises: ValueError for missing or unknown agents or actions; RuntimeError when the episode is over."""
        if not self.agents:
            raise RuntimeError(f"{self.team_env.spec.env} is not in an episode; call reset() first")
        if set(actions) != set(self.agents):
            odd = sorted(set(actions) ^ set(self.agents))
            raise ValueError(
                f"actions must name exactly the agents {', '.join(self.agents)}; at odds: {', '.join(odd)}"
            )
        obs, rewards, terminated, truncated, info = self._step_team(actions)
        agents = self.agents
        self.agents = [] if terminated or truncated else agents
        by_agent = dict(zip(self._players, rewards.tolist(), strict=True))
        by_agent |= dict.fromkeys(self._opponents, -float(rewards.mean()))
        return (
            self._by_agent(obs),
            by_agent,
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            {agent: dict(info) for agent in agents},
        )

    def render(self) -> np.ndarray | None:
        """The present state as uint8 [H, W, 3], or None without a render mode."""
        return self.team_env.draw() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Gives the engine back."""
        self.team_env.close()

    def _step_team(self, actions: dict[str, int]) -> tuple[Obs, np.ndarray, bool, bool, dict[str, Any]]:
        ours = np.array([actions[agent] for agent in self._players])
        if not self._opponents:
            return self.team_env.step(ours)
        theirs = np.array([actions[agent] for agent in self._opponents])
        # Only environments with opponents take their actions, so the protocol does not know this argument.
        return cast(Any, self.team_env).step(ours, opponent_actions=theirs)

    def _by_agent(self, obs: Obs) -> dict[str, Obs]:
        found = {agent: _slice(obs, i) for i, agent in enumerate(self._players)}
        if self._opponents:
            other = cast(Any, self.team_env).observe_opponents()
            found |= {agent: _slice(other, i) for i, agent in enumerate(self._opponents)}
        return found


def _slice(obs: Obs, agent: int) -> Obs:
    """What agent number `agent` sees. Copies, or one agent could change another's observation."""
    return {key: (value[agent, ...] if key in AGENT_KEYS else value).copy() for key, value in obs.items()}


def _agent_space(spaces: dict[str, gym.spaces.Box]) -> gym.spaces.Dict:
    def one(key: str, box: gym.spaces.Box) -> gym.spaces.Box:
        if key not in AGENT_KEYS:
            return box
        return gym.spaces.Box(box.low[0, ...], box.high[0, ...], box.shape[1:], cast(Any, box.dtype))

    return gym.spaces.Dict({key: one(key, box) for key, box in spaces.items()})
