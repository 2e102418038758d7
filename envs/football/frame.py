"""One moment of a game as arrays, read from the engine in a single pass.

Everything is seen by one team that plays from left (x = -1) to right (x = 1). Rows: own players in the engine's order,
then the other team's players, then the ball.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

X, Y, DX, DY, YELLOW, ACTIVE, TIRED = range(7)
NUM_COLUMNS = 7
GOAL_HALF_WIDTH = 0.044
FIELD_HALF_WIDTH = 0.42
"""Half of the pitch's width in engine units; half of its length is 1."""
METRES = np.array([54.4, 83.6], np.float32)
"""Metres per engine unit along x and y."""
TO_UNIT = np.array([1.0, 1 / FIELD_HALF_WIDTH], np.float32)
"""Engine units to `positions`, which run from -1 to 1 along both axes."""
STEP_SCALE = (0.015, 0.022)
"""An ordinary large displacement per step in units of `positions`: about 0.8 m along either axis, a player's sprint for
0.1 s. Measured: 1 % of the players' steps are longer than (0.014, 0.021), 1 % of the ball's than (0.05, 0.055)."""
GAME_MODES = ("normal", "kick_off", "goal_kick", "free_kick", "corner", "throw_in", "penalty")
ROLES = (
    "goalkeeper", "centre_back", "left_back", "right_back", "defence_midfield", "central_midfield", "left_midfield",
    "right_midfield", "attack_midfield", "centre_forward",
)  # fmt: skip


@dataclass
class Frame:
    """One moment of a game. Reading the next one overwrites it."""

    num_own: int
    """Players of the own team: rows 0 to num_own - 1."""
    num_other: int
    """Players of the other team: the rows after them. The ball is the last row."""
    roles: list[int]
    """Index into ROLES for every player."""
    controlled: list[int]
    """The own player whom each agent controls, -1 for nobody."""
    other_controlled: list[int]
    """The same for the other team, as indices into that team."""
    values: list[float]
    """Row after row: x, y, dx, dy per step (engine units), yellow card, on the pitch, tired 0 to 1."""
    complete: bool = True
    """Nobody has been sent off."""
    ball_z: float = 0.0
    """Height of the ball in metres."""
    ball_dz: float = 0.0
    """Metres per step upwards."""
    owner: int = -1
    """Row of the player who has the ball, -1 for nobody."""
    goals_for: int = 0
    goals_against: int = 0
    mode: int = 0
    """Index into GAME_MODES."""
    step: int = -1
    """Steps played: -1 right after a reset."""

    @property
    def num_players(self) -> int:
        return self.num_own + self.num_other

    @property
    def owner_side(self) -> int:
        """0 if the own team has the ball, 1 for the other one, -1 for nobody."""
        return -1 if self.owner < 0 else int(self.owner >= self.num_own)

    def table(self) -> np.ndarray:
        """float32 [N + 1, 7]: `values` as rows, a copy."""
        return np.array(self.values, np.float32).reshape(-1, NUM_COLUMNS)

    def is_active(self, row: int) -> bool:
        """Whether a player is on the pitch."""
        return bool(self.values[row * NUM_COLUMNS + ACTIVE])


def new_frame(info: Any, left_agents: int, right_agents: int) -> Frame:
    """A frame of the left team for the teams of `info` (the engine's own record of the present moment)."""
    frame = Frame(
        num_own=len(info.left_team),
        num_other=len(info.right_team),
        roles=[int(player.role) for team in (info.left_team, info.right_team) for player in team],
        controlled=[-1] * left_agents,
        other_controlled=[-1] * right_agents,
        values=[],
    )
    read(info, frame)
    return frame


def read(info: Any, frame: Frame) -> None:
    """Fills `frame` (of the left team) from the engine's record, attribute by attribute (see `memory`)."""
    values: list[float] = []
    complete = True
    for team in (info.left_team, info.right_team):
        for player in team:
            at, move, active = player.position, player.direction, player.is_active
            values += (at[0], at[1], move[0], move[1], player.has_card, active, player.tired_factor)
            complete = complete and active
    at, move = info.ball_position, info.ball_direction
    values += (at[0], at[1], move[0], move[1], 0.0, 1.0, 0.0)
    frame.values, frame.complete = values, complete
    frame.ball_z, frame.ball_dz = at[2], move[2]
    owner_side = info.ball_owned_team
    frame.owner = -1 if owner_side < 0 else info.ball_owned_player + owner_side * frame.num_own
    frame.goals_for, frame.goals_against = info.left_goals, info.right_goals
    frame.mode, frame.step = int(info.game_mode), info.step
    frame.controlled = _controlled(info.left_controllers, len(frame.controlled))
    frame.other_controlled = _controlled(info.right_controllers, len(frame.other_controlled))


def _controlled(controllers: Any, count: int) -> list[int]:
    return [controllers[agent].controlled_player for agent in range(count)]


def from_other_side(frame: Frame) -> Frame:
    """The same moment as the other team sees it: pitch turned by 180 degrees, teams swapped. A copy."""
    own, players = frame.num_own, frame.num_players
    order = [*range(own, players), *range(own)]
    turned = np.array(frame.values).reshape(-1, NUM_COLUMNS)[[*order, players]]
    turned[:, :4] *= -1
    owner = frame.owner
    return Frame(
        num_own=frame.num_other,
        num_other=own,
        roles=[frame.roles[row] for row in order],
        controlled=list(frame.other_controlled),
        other_controlled=list(frame.controlled),
        values=turned.ravel().tolist(),
        complete=frame.complete,
        ball_z=frame.ball_z,
        ball_dz=frame.ball_dz,
        owner=owner if owner < 0 else order.index(owner),
        goals_for=frame.goals_against,
        goals_against=frame.goals_for,
        mode=frame.mode,
        step=frame.step,
    )
