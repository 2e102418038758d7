"""The right team's seats in a runner: which opponent plays in which environment, and their actions, all at once.

Opponents are plain networks that only act: nothing of theirs is recorded, so no learner trains on it. Axes: E
environments, O opponents (the agents of `opponent_spec`), N actions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from agents import TeamNetwork
from agents.policy import gumbel
from envs import TeamSpec


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """Who may play the right team."""

    chances: Mapping[str, float]
    """Opponent -> its chance to play an episode."""
    networks: Mapping[str, TeamNetwork] = field(repr=False)
    """Opponent -> its network; those that the receiver has already may be left out."""


def outcome(info: Mapping[str, Any]) -> str | None:
    """ "wins", "draws" or "losses" of the left team in an episode that ended with `info`; None where nobody counts."""
    goals = info.get("episode", {}).get("goal_difference")
    return None if goals is None else "wins" if goals > 0 else "losses" if goals < 0 else "draws"


class Seats:
    """The right teams of E environments, stepped with one forward pass per opponent that plays."""

    def __init__(self, spec: TeamSpec, num_envs: int, lineup: Lineup) -> None:
        self._obs = spec.empty(num_envs)
        self._batch = {key: torch.from_numpy(value) for key, value in self._obs.items()}  # the same memory
        self._slots = [{key: value[index] for key, value in self._obs.items()} for index in range(num_envs)]
        self._logits = torch.zeros(num_envs, spec.num_agents, spec.num_actions)
        self._rng = np.random.default_rng()
        self.playing: list[str] = []
        """[E] who plays in each environment."""
        self._networks: dict[str, TeamNetwork] = {}
        self.meet(lineup)
        self.informed = False
        """Whether the last line-up came from the driver and was complete. A restarted runner has that of its start."""

    def meet(self, lineup: Lineup) -> None:
        """The opponents of the episodes that begin from now on; those that play go on to the end of theirs."""
        known = {**self._networks, **lineup.networks}
        usable = {name: chance for name, chance in lineup.chances.items() if name in known}
        self.informed = len(usable) == len(lineup.chances)
        if not usable:
            return
        self._networks = {name: net for name, net in known.items() if name in usable or name in self.playing}
        self._names, weights = list(usable), np.array(list(usable.values()), np.float64)
        total = weights.sum()
        self._chances = weights / total if total > 0 else np.full(len(weights), 1 / len(weights))

    def start(self, rng: np.random.Generator) -> None:
        """Every environment begins an episode; `rng` decides about opponents and their actions from now on."""
        self._rng = rng
        self.playing = [self._draw() for _ in self._slots]
        self._groups = self._group()

    def change(self, index: int) -> None:
        """Environment `index` begins an episode."""
        self.playing[index] = self._draw()
        self._groups = self._group()

    def _draw(self) -> str:
        return self._names[self._rng.choice(len(self._names), p=self._chances)]

    def _group(self) -> dict[str, torch.Tensor]:
        """Opponent -> the environments in which it plays."""
        groups: dict[str, list[int]] = {}
        for index, name in enumerate(self.playing):
            groups.setdefault(name, []).append(index)
        return {name: torch.tensor(rows) for name, rows in groups.items()}

    @torch.inference_mode()
    def act(self, environments: Sequence[Any]) -> np.ndarray:
        """Sampled actions int64 [E, O] of the right teams as they see the environments now."""
        for env, slot in zip(environments, self._slots, strict=True):
            env.observe_opponents(slot)
        for name, rows in self._groups.items():
            whole = len(rows) == len(self._slots)
            batch = self._batch if whole else {key: value[rows] for key, value in self._batch.items()}
            self._logits[rows] = self._networks[name].logits(batch)
        logits = self._logits.numpy()
        return (logits + gumbel(self._rng.random(logits.shape, dtype=np.float32))).argmax(-1)
