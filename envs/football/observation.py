"""Observations of one team: the keys every view shares, and the view itself."""

from typing import Any

import gymnasium as gym
import numpy as np

from envs.football.entities import Entities
from envs.football.facts import Facts
from envs.football.features import Features
from envs.football.frame import ACTIVE, Frame
from envs.football.smm import SuperMiniMap
from envs.team import Obs

_BOOL: Any = np.bool_
"""gymnasium takes it, though its annotations list only numbers."""


class Observer:
    """Writes the observations of one team's agents."""

    def __init__(self, view: str, agents: int, own: int, other: int, *, max_steps: int, stack: int) -> None:
        self._facts = facts = Facts(own, other, agents, max_steps)
        self._smm = SuperMiniMap(facts, own, other, stack) if view == "smm" else None
        self._view = self._smm or (Features if view == "features" else Entities)(facts, own, other)
        entities = own + other + 1
        self.entity_kinds = ("teammate",) * own + ("opponent",) * other + ("ball",)
        self.boxes: dict[str, gym.spaces.Box] = {
            **self._view.boxes,
            "mask": gym.spaces.Box(0, 1, (agents,), _BOOL),
            "who": gym.spaces.Box(-1, entities - 2, (agents,), np.int16),
            "positions": gym.spaces.Box(-1, 1, (entities, 2), np.float32),
            "entity_mask": gym.spaces.Box(0, 1, (entities,), _BOOL),
        }
        self._blank = [(key, box.shape, box.dtype) for key, box in self.boxes.items()]
        self._controlled: list[int] = []

    def advance(self, frame: Frame, *, first: bool = False) -> None:
        """Takes note of a new moment; `first` of an episode forgets what was before. Once per step, before `write`."""
        if first:
            self._facts.begin(frame)
            self._controlled = []
        if self._smm is not None:
            if first:
                self._smm.reset()
            self._smm.advance(frame.table())

    def write(self, frame: Frame, sticky: list[float], out: Obs | None) -> Obs:
        """Fills `out` (fresh arrays without one) with what the team of `frame` sees. sticky: A * NUM_STICKY."""
        if out is None:
            out = {key: np.empty(shape, dtype) for key, shape, dtype in self._blank}
        if frame.controlled != self._controlled or not frame.complete:
            self._control(frame)
        facts = self._facts
        facts.load(frame, sticky)
        self._view.write(out)
        out["positions"][...] = facts.positions
        out["mask"][...] = self._mask
        out["who"][...] = self._who
        out["entity_mask"][...] = True
        if not (frame.complete and self._all_there):
            self._write_absent(out)
        return out

    def _control(self, frame: Frame) -> None:
        """Works out who obeys whom; kept until it changes."""
        self._controlled = list(frame.controlled)
        there = [row >= 0 and frame.is_active(row) for row in frame.controlled]
        self._mask = np.array(there)
        self._who = np.where(self._mask, frame.controlled, -1)
        self._all_there = all(there)
        self._view.control([max(row, 0) for row in frame.controlled])

    def _write_absent(self, out: Obs) -> None:
        present = self._facts.table[:, ACTIVE] > 0
        out["entity_mask"][...] = present
        out["positions"][~present] = 0
        self._view.write_absent(self._mask, out)

    def memory(self) -> list[Any]:
        """What the view remembers of earlier steps, as JSON."""
        return self._smm.memory() if self._smm is not None else []

    def remember(self, memory: list[Any]) -> None:
        """Takes back what `memory` returned. The newest frame of it is the present one."""
        if self._smm is not None:
            self._smm.remember(memory)
