"""Observations of one team: the keys every view shares, and the view itself."""

from typing import Any

import gymnasium as gym
import numpy as np

from envs.football.entities import Entities
from envs.football.features import Features, Seen
from envs.football.frame import ACTIVE, Frame
from envs.football.smm import SuperMiniMap
from envs.team import Obs

_BOOL: Any = np.bool_
"""gymnasium takes it, though its annotations list only numbers."""


class Observer:
    """Writes the observations of one team's agents."""

    def __init__(self, view: str, num_agents: int, own: int, other: int, *, max_steps: int, stack: int) -> None:
        self._smm = SuperMiniMap(num_agents, own, other, stack) if view == "smm" else None
        rich = Features if view == "features" else Entities
        self._view = self._smm or rich(num_agents, own, other, max_steps)
        entities = own + other + 1
        self.entity_kinds = ("teammate",) * own + ("opponent",) * other + ("ball",)
        self.boxes: dict[str, gym.spaces.Box] = {
            **self._view.boxes,
            "mask": gym.spaces.Box(0, 1, (num_agents,), _BOOL),
            "who": gym.spaces.Box(-1, entities - 2, (num_agents,), np.int16),
            "positions": gym.spaces.Box(-1, 1, (entities, 2), np.float32),
            "entity_mask": gym.spaces.Box(0, 1, (entities,), _BOOL),
        }

    def advance(self, frame: Frame, *, first: bool = False) -> None:
        """Takes note of a new moment; `first` of an episode forgets what was before. Once per step, before `write`."""
        if self._smm is None:
            return
        if first:
            self._smm.reset()
        self._smm.advance(frame)

    def write(self, frame: Frame, sticky: np.ndarray, out: Obs) -> Obs:
        """Fills `out` with what the team of `frame` sees. sticky: [A, 10]."""
        active = frame.table[:, ACTIVE] > 0
        controlled = np.array(frame.controlled)
        who = np.maximum(controlled, 0)
        mask = active[who] & (controlled >= 0)
        positions = frame.positions()
        positions[~active] = 0
        self._view.write(Seen(frame, positions, who, mask, sticky), out)
        out["mask"][...] = mask
        out["who"][...] = np.where(mask, controlled, -1)
        out["positions"][...] = positions
        out["entity_mask"][...] = active
        return out

    def memory(self) -> list[Any]:
        """What the view remembers of earlier steps, as JSON."""
        return self._smm.memory() if self._smm is not None else []

    def remember(self, memory: list[Any]) -> None:
        """Takes back what `memory` returned. The newest frame of it is the present one."""
        if self._smm is not None:
            self._smm.remember(memory)
