"""The view `features`: one float vector per agent, seen from the player it controls.

Order of the parts (`feature_names` spells them out): the player itself, its role, the agent's sticky actions, the
ball, the state of the game, then one block per player of the own team and of the other team.
Positions are in units of `positions` (the pitch is 2 x 2), those of ball and blocks relative to the player (other minus
own); displacements per step in units of STEP_SCALE. The block of an absent player, and the player's own, is zero, and
so is the whole row of an agent that controls nobody.
"""

import gymnasium as gym
import numpy as np

from envs.football.facts import AGENT_NAMES, BALL_NAMES, GAME_NAMES, Facts
from envs.football.frame import ACTIVE, DX, DY, NUM_COLUMNS, ROLES, STEP_SCALE, TIRED, TO_UNIT, YELLOW, X, Y

_SELF = {"x": X, "y": Y, "dx": DX, "dy": DY, "tired": TIRED, "yellow_card": YELLOW}
_BALL = {"ball_x": X, "ball_y": Y, "ball_dx": DX, "ball_dy": DY}
_BLOCK = {"present": ACTIVE, "x": X, "y": Y, "dx": DX, "dy": DY}
_HAS_BALL = "has_ball"
COLUMN_SCALE = np.ones(NUM_COLUMNS, np.float32)
"""Turns the columns of a frame's table into the units of the views."""
COLUMN_SCALE[[X, Y]] = TO_UNIT
COLUMN_SCALE[[DX, DY]] = TO_UNIT / np.array(STEP_SCALE)


def feature_names(own: int, other: int) -> list[str]:
    """Name of every feature for teams of `own` and `other` players, in order."""
    names = [*_SELF, _HAS_BALL, *(f"role_{role}" for role in ROLES), *AGENT_NAMES, *_BALL, *BALL_NAMES, *GAME_NAMES]
    for team, count in (("teammate", own), ("opponent", other)):
        names += [f"{team}{player}_{name}" for player in range(count) for name in (*_BLOCK, _HAS_BALL)]
    return names


def unbounded(*shape: int) -> gym.spaces.Box:
    """float32 of any size."""
    return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)


class Features:
    """Writes the view for one team: every feature is (one fact minus another) times a scale."""

    def __init__(self, facts: Facts, own: int, other: int) -> None:
        self._facts = facts
        rows = [self._row(player) for player in range(own)]
        self._plus = np.array([[plus for plus, _, _ in row] for row in rows])
        self._minus = np.array([[minus for _, minus, _ in row] for row in rows])
        self._scale = np.array([scale for _, _, scale in rows[0]], np.float32)
        size = len(self._scale)
        self._blocks_from = size - (own + other) * (len(_BLOCK) + 1)
        start = len(_SELF) + 1 + len(ROLES)
        self._own_part = slice(start, start + len(AGENT_NAMES))
        self._index = np.zeros((2, facts.agents, size), np.intp)
        self._gathered = np.zeros((2, facts.agents, size), np.float32)
        self.boxes = {"view": unbounded(facts.agents, size)}

    def _row(self, me: int) -> list[tuple[int, int, float]]:
        """(index of the fact, index of what is taken off, scale) of every feature of an agent that controls `me`."""
        facts, zero = self._facts, self._facts.at_zero

        def entity(row: int, columns: dict[str, int], relative: bool) -> list[tuple[int, int, float]]:
            return [
                (
                    row * NUM_COLUMNS + column,
                    me * NUM_COLUMNS + column if relative and column in (X, Y) else zero,
                    float(COLUMN_SCALE[column]),
                )
                for column in columns.values()
            ]

        def plain(start: int, count: int) -> list[tuple[int, int, float]]:
            return [(start + offset, zero, 1.0) for offset in range(count)]

        row = (
            entity(me, _SELF, False)
            + plain(facts.at_owner + me, 1)
            + plain(facts.at_roles + me * len(ROLES), len(ROLES))
        )
        row += plain(facts.at_agents, len(AGENT_NAMES)) + entity(facts.players, _BALL, True)
        row += plain(facts.at_ball, len(BALL_NAMES)) + plain(facts.at_game, len(GAME_NAMES))
        for player in range(facts.players):
            block = entity(player, _BLOCK, True) + plain(facts.at_owner + player, 1)
            row += [(zero, zero, scale) for _, _, scale in block] if player == me else block
        return row

    def control(self, who: list[int]) -> None:
        """Agents control other players from now on."""
        self._index[0], self._index[1] = self._plus[who], self._minus[who]
        self._index[0, :, self._own_part] += len(AGENT_NAMES) * np.arange(len(who))[:, None]

    def write(self, out: dict[str, np.ndarray]) -> None:
        """Fills out["view"] from the facts."""
        view, gathered = out["view"], self._gathered
        self._facts.vector.take(self._index, out=gathered, mode="clip")
        np.subtract(gathered[0], gathered[1], out=view)
        np.multiply(view, self._scale, out=view)

    def write_absent(self, mask: np.ndarray, out: dict[str, np.ndarray]) -> None:
        """Zeroes what belongs to absent players and agents, after `write`."""
        present = np.repeat(self._facts.table[:-1, ACTIVE], len(_BLOCK) + 1)
        out["view"][:, self._blocks_from :] *= present
        out["view"][~mask] = 0
