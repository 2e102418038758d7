"""A game of two teams without an engine: both push a ball along a line, and chance pushes too."""

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from envs.fakes import make_spec

ACTIONS = ("stay", "push", "pull")
METRICS = ("goals_for", "goals_against", "goal_difference")


@dataclass(frozen=True, kw_only=True)
class DuelConfig:
    """Where `envs.make_team` expects an `envs.EnvConfig`."""

    level: str = "duel"
    players: int = 2
    opponents: int = 0
    steps: int = 12
    wind: float = 0.0
    """What moves the ball to the right in every step, so that the left team has an advantage."""

    def build(self) -> "Duel":
        return Duel(self)


class Duel:
    """The left team scores at x = 1, the right one at x = -1; then the ball goes back to the middle. With opponents=0
    an engine of sorts plays the right team: all of it pushes. View of an agent: x as its team sees it, step, number."""

    def __init__(self, config: DuelConfig) -> None:
        self.config = config
        box = gym.spaces.Box(-np.inf, np.inf, (config.players, 3), np.float32)
        spec = make_spec(box, players=config.players, others=("ball",), actions=3, steps=config.steps)
        spec = replace(spec, action_names=ACTIONS, metrics=METRICS)
        self.spec = replace(spec, num_opponents=config.opponents)
        self.opponent_spec = spec if config.opponents else None
        self.closed = False

    def reset(self, seed: int | None = None) -> dict[str, np.ndarray]:
        self.rng = np.random.default_rng(seed)
        self.x, self.step_number, self.goals = 0.0, 0, [0, 0]
        return self._seen(1)

    def step(self, actions: np.ndarray, opponent_actions: np.ndarray | None = None) -> tuple[Any, ...]:
        assert (opponent_actions is None) == (self.config.opponents == 0)
        theirs = np.ones(self.config.players, int) if opponent_actions is None else opponent_actions
        force = [(team == 1).sum() - (team == 2).sum() for team in (actions, theirs)]
        self.x += 0.4 * (force[0] - force[1]) / self.config.players + self.config.wind + self.rng.normal(0, 0.3)
        self.step_number += 1
        scored = int(self.x >= 1) - int(self.x <= -1)
        if scored:
            self.goals[scored < 0] += 1
            self.x = 0.0
        truncated = self.step_number >= self.config.steps
        numbers = dict(zip(METRICS, (*self.goals, self.goals[0] - self.goals[1]), strict=True))
        info = {"episode": {name: float(value) for name, value in numbers.items()}} if truncated else {}
        return self._seen(1), np.full(self.config.players, scored, np.float32), False, truncated, info

    def observe_opponents(self) -> dict[str, np.ndarray]:
        return self._seen(-1)

    def _seen(self, sign: int) -> dict[str, np.ndarray]:
        obs, agents = self.spec.empty(), np.arange(self.config.players)
        obs["view"][:] = np.stack(
            [np.full(len(agents), sign * self.x), np.full(len(agents), self.step_number), agents], 1
        )
        obs["mask"][:], obs["who"][:], obs["entity_mask"][:] = True, agents, True
        return obs

    def close(self) -> None:
        self.closed = True
