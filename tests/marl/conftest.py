"""A team without an engine as a configuration, and runners on it in this process, without Ray."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from envs.fakes import MeetEnv, meet
from marl import PPOSettings, RunnerSettings, TrainConfig
from marl.algorithm import ppo_config, team_spec
from marl.runner import TeamVecRunner


@dataclass(frozen=True, kw_only=True)
class MeetConfig:
    """The meeting game, where `envs.make_team` expects an `envs.EnvConfig`."""

    players: int = 3
    side: int = 4
    steps: int = 9
    absent: float = 0.0

    def build(self) -> MeetEnv:
        return meet(self.players, side=self.side, steps=self.steps, absent=self.absent)


@pytest.fixture
def meeting() -> type[MeetConfig]:
    return MeetConfig


@pytest.fixture
def make_runner() -> Callable[..., TeamVecRunner]:
    """make_runner(env, num_envs=..., steps=..., seed=...): steps per environment and call of `sample`. Its policy is
    reproducible and far from uniform."""

    def make_runner(env: Any, *, num_envs: int = 4, steps: int = 16, seed: int = 0, **network: Any) -> TeamVecRunner:
        config = TrainConfig(
            env=env,
            seed=seed,
            runners=RunnerSettings(num_runners=0, num_envs=num_envs),
            ppo=PPOSettings(batch_env_steps=num_envs * steps, minibatch_env_steps=num_envs),
        )
        config = replace(config, network=replace(config.network, width=16, hidden=24, **network))
        runner = TeamVecRunner(config=ppo_config(config, team_spec(env)))
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in runner.module.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.orthogonal_(parameter, 1.5)
        return runner

    return make_runner
