"""E team environments stepped one after another, writing straight into a rollout's arrays.

It has just the attributes that RLlib's SingleAgentEnvRunner expects of a vector environment, and none of gymnasium's
vector machinery, whose copies and dictionaries cost more than a DMLab2D step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

import envs
from envs import TeamEnv, TeamSpec


def observation_space(spec: TeamSpec) -> gym.spaces.Dict:
    """The team observation as a gymnasium space."""
    return gym.spaces.Dict(dict(spec.spaces.items()))


def action_space(spec: TeamSpec) -> gym.spaces.MultiDiscrete:
    """One discrete action per agent."""
    return gym.spaces.MultiDiscrete([spec.num_actions] * spec.num_agents)


class TeamVecEnv:
    """Owns E environments. Observation buffers have leading axes [T + 1, E]."""

    def __init__(self, make: Callable[[], TeamEnv], num_envs: int) -> None:
        self.envs = [make() for _ in range(num_envs)]
        self.num_envs = num_envs
        self.spec = self.envs[0].spec
        self.opponent_spec: TeamSpec | None = getattr(self.envs[0], "opponent_spec", None)
        """The right team's, where the caller plays it too."""
        self.single_observation_space = self.observation_space = observation_space(self.spec)
        self.single_action_space = self.action_space = action_space(self.spec)

    @property
    def unwrapped(self) -> "TeamVecEnv":
        return self

    def close(self) -> None:
        for env in self.envs:
            env.close()


class TeamGymEnv(gym.Env):
    """One team as a plain gymnasium environment whose reward is the mean over agents.

    Only for RLlib's stock runner, with which ours is compared, and for people who bring their own single-agent code.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(self, context: Mapping[str, Any]) -> None:
        """context["env"]: an `envs.EnvConfig`."""
        self.env = env = envs.make_team(context["env"])
        self.render_mode = "rgb_array"
        self.observation_space, self.action_space = observation_space(env.spec), action_space(env.spec)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict[str, np.ndarray], dict]:
        super().reset(seed=seed)
        return self.env.reset(seed), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict]:
        obs, rewards, terminated, truncated, info = self.env.step(action)
        return obs, float(rewards.mean()), terminated, truncated, info

    def render(self) -> np.ndarray:
        return self.env.draw()

    def close(self) -> None:
        self.env.close()
