"""The view `smm`: the "super mini map" of gfootball as planes, drawn once for the team.

`shared` [72, 96, 3 * stack] uint8 holds a dot of 255 for every player on the pitch and the ball: left team, right
team, ball, for each frame, oldest first. `view` [A, 2] int16 is the cell (row, column) of the agent's own player in the
newest frame, which replaces gfootball's fourth plane (drawn per agent there); (0, 0) where the agent controls nobody.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from envs.football.facts import Facts
from envs.football.frame import ACTIVE

HEIGHT, WIDTH, PLANES = 72, 96, 3
_CELLS = np.array((WIDTH, HEIGHT))
_HALF = np.array((1.0, 1 / 2.25))
"""Half extent of the map along x and y in engine units: a little wider than the pitch."""


def cells(table: np.ndarray) -> np.ndarray:
    """int64 [N + 1, 2]: row and column on the map of every row of a frame's table."""
    share = (table[:, :2].astype(np.float64) + _HALF) / (2 * _HALF)
    # Truncation towards zero, not floor: gfootball rounds so, and both are clamped to the map.
    column_row = np.clip((share * _CELLS).astype(np.int64), 0, _CELLS - 1)
    return column_row[:, ::-1]


class SuperMiniMap:
    """Writes the view for one team and remembers the frames of the stack."""

    def __init__(self, facts: Facts, own: int, other: int, stack: int) -> None:
        self._facts, self._stack = facts, stack
        self.boxes = {
            "view": gym.spaces.Box(0, WIDTH - 1, (facts.agents, 2), np.int16),
            "shared": gym.spaces.Box(0, 255, (HEIGHT, WIDTH, PLANES * stack), np.uint8),
        }
        self._plane = np.repeat(np.arange(PLANES), (own, other, 1))
        self._who: list[int] = []
        self._history: list[tuple[np.ndarray, np.ndarray]] = []

    def reset(self) -> None:
        """Forgets the frames; the first one of an episode fills the whole stack."""
        self._history = []

    def advance(self, table: np.ndarray) -> None:
        """Takes the newest frame's table into the stack."""
        self._history.append((cells(table), table[:, ACTIVE] > 0))
        missing = self._stack - len(self._history)
        self._history = [self._history[0]] * missing + self._history[-self._stack :]

    def control(self, who: list[int]) -> None:
        """Agents control other players from now on."""
        self._who = who

    def write(self, out: dict[str, np.ndarray]) -> None:
        """Fills out["view"] and out["shared"] from the remembered frames."""
        planes = out["shared"]
        planes[...] = 0
        for age, (cell, present) in enumerate(self._history):
            planes[cell[present, 0], cell[present, 1], self._plane[present] + PLANES * age] = 255
        newest, _ = self._history[-1]
        out["view"][...] = newest[self._who]

    def write_absent(self, mask: np.ndarray, out: dict[str, np.ndarray]) -> None:
        """Zeroes the cells of absent agents, after `write` (absent players are never drawn)."""
        out["view"][~mask] = 0

    def memory(self) -> list[Any]:
        """The remembered frames as JSON."""
        return [[cell.tolist(), present.tolist()] for cell, present in self._history]

    def remember(self, memory: list[Any]) -> None:
        """Takes back what `memory` returned."""
        self._history = [(np.array(cell), np.array(present)) for cell, present in memory]
