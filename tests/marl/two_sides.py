"""A tiny game of two teams without an engine, and runners on it: whoever takes action 0 more often wins."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from envs import TeamSpec
from envs.fakes import make_spec
from marl import OpponentSettings, PPOSettings, RunnerSettings, TrainConfig

WIDTH = 4
SMALL = NetworkConfig(width=8, hidden=8)


def spec_of(players: int, others: int, steps: int) -> TeamSpec:
    box = gym.spaces.Box(-np.inf, np.inf, (players, WIDTH), np.float32)
    spec = make_spec(box, players=players, others=("opponent",) * others, actions=3, steps=steps)
    return replace(spec, env="fake/duel", metrics=("goal_difference",))


class Duel:
    """Both teams see noise of their own; every action 0 is a point, and the difference of points is the reward."""

    def __init__(self, players: int, opponents: int, steps: int) -> None:
        rivals = opponents or players
        self.spec, self.opponent_spec = spec_of(players, rivals, steps), spec_of(rivals, players, steps)
        if not opponents:
            self.opponent_spec = None
        self.history: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
        """What the right team saw and did, step by step."""
        self._seeds = np.random.default_rng()

    def reset(self, seed: int | None = None, out: Any = None) -> Any:
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._rng = np.random.default_rng(int(self._seeds.integers(2**31)))
        self.steps, self.difference = 0, 0
        return self._observe(self.spec, out)

    def step(self, actions: np.ndarray, out: Any = None, opponent_actions: np.ndarray | None = None) -> Any:
        theirs = np.zeros(0, np.int64)
        if self.opponent_spec is not None:
            assert opponent_actions is not None
            assert opponent_actions.shape == (self.opponent_spec.num_agents,)
            self.history.append((self.right, opponent_actions.copy()))
            theirs = opponent_actions
        points = int((actions == 0).sum() - (theirs == 0).sum())
        self.difference += points
        self.steps += 1
        over = self.steps >= self.spec.max_steps
        info = {"episode": {"goal_difference": float(self.difference)}} if over else {}
        rewards = np.full(self.spec.num_agents, points, np.float32)
        return self._observe(self.spec, out), rewards, False, over, info

    def observe_opponents(self, out: Any = None) -> Any:
        assert self.opponent_spec is not None
        obs = self._observe(self.opponent_spec, out)
        self.right = {key: value.copy() for key, value in obs.items()}
        return obs

    def _observe(self, spec: TeamSpec, out: Any) -> Any:
        out = spec.empty() if out is None else out
        out["view"][...] = self._rng.standard_normal(out["view"].shape)
        out["mask"][...] = True
        out["who"][...] = np.arange(spec.num_agents)
        out["positions"][...] = self._rng.uniform(-1, 1, out["positions"].shape)
        out["entity_mask"][...] = True
        return out

    def draw(self, attention: Any = None) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class DuelConfig:
    players: int = 2
    opponents: int = 2
    steps: int = 5

    def build(self) -> Duel:
        return Duel(self.players, self.opponents, self.steps)


def network(seed: int = 0, *, players: int = 2, others: int = 2, scale: float = 1.5) -> TeamNetwork:
    """A network for the right (or left) team of the duel whose policy is far from uniform."""
    torch.manual_seed(seed)
    net = TeamNetwork(ObservationSpec.from_team(spec_of(players, others, 5)), SMALL).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                torch.nn.init.orthogonal_(parameter, scale)
    return net


def policy(seed: int = 0, **options: Any) -> Policy:
    return Policy(network(seed, **options), {"env_steps": seed})


def always(action: int) -> TeamNetwork:
    """A network that takes one action."""
    net = network()
    with torch.no_grad():
        net.policy[-1].bias[action] += 100
    return net


def train_config(**changes: Any) -> TrainConfig:
    config = TrainConfig(
        env=DuelConfig(),  # type: ignore[arg-type]
        network=SMALL,
        opponent=OpponentSettings(kind="self_play", snapshot_env_steps=100, pool_size=3),
        ppo=PPOSettings(batch_env_steps=64, minibatch_env_steps=32, epochs=1),
        runners=RunnerSettings(num_runners=0, num_envs=4),
        env_steps=10_000,
    )
    return replace(config, **changes)


def saved(folder: Path, seed: int = 0, **options: Any) -> str:
    return str(policy(seed, **options).save(folder))
