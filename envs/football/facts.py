"""Everything a view may say about a moment, as one flat vector from which views gather by index.

Right after a step of the engine Python and NumPy find cold caches and run several times slower than in their own loop,
so what counts is to make few calls: plain lists go here in one.
"""

import struct

import numpy as np

from envs.football.actions import NUM_STICKY, STICKY_NAMES
from envs.football.frame import FIELD_HALF_WIDTH, GAME_MODES, NUM_COLUMNS, ROLES, Frame, X, Y

BALL_NAMES = ("ball_z", "ball_dz", "ball_is_free", "ball_is_ours", "ball_is_theirs")
"""Height and climb per step in units of BALL_HEIGHT_M, and who has the ball."""
GAME_NAMES = (*(f"mode_{mode}" for mode in GAME_MODES), "steps_left", "goals_for", "goals_against")
"""State of the game: `steps_left` as a share of the episode, goals in tens."""
AGENT_NAMES = tuple(f"sticky_{name}" for name in STICKY_NAMES)
"""What belongs to an agent rather than to its player: the sticky actions that are on."""
BALL_HEIGHT_M = 4.0
_BALLS = {-1: (1.0, 0.0, 0.0), 0: (0.0, 1.0, 0.0), 1: (0.0, 0.0, 1.0)}
_MODES = np.eye(len(GAME_MODES)).tolist()


class Facts:
    """The vector of one team's moment, where its parts begin (`at_...`), and views of them."""

    def __init__(self, own: int, other: int, agents: int, max_steps: int) -> None:
        self.players, self.agents, self._max_steps = own + other, agents, max_steps
        self._nobody = [0.0] * self.players
        self.at_ball = (self.players + 1) * NUM_COLUMNS
        self.at_game = self.at_ball + len(BALL_NAMES)
        self.at_owner = self.at_game + len(GAME_NAMES)
        self.at_agents = self.at_owner + self.players
        self.at_positions = self.at_agents + agents * NUM_STICKY
        self.at_roles = self.at_positions + (self.players + 1) * 2
        self.at_zero = self.at_roles + self.players * len(ROLES)
        self.vector = vector = np.zeros(self.at_zero + 1, np.float32)
        self._bytes, self._pack = vector.data.cast("B"), struct.Struct(f"{self.at_roles}f").pack_into
        self.table = vector[: self.at_ball].reshape(-1, NUM_COLUMNS)
        self.ball = vector[self.at_ball : self.at_game]
        self.game = vector[self.at_game : self.at_owner]
        self.has_ball = vector[self.at_owner : self.at_agents]
        self.sticky = vector[self.at_agents : self.at_positions].reshape(agents, NUM_STICKY)
        self.positions = vector[self.at_positions : self.at_roles].reshape(-1, 2)
        self.roles = vector[self.at_roles : self.at_zero].reshape(self.players, len(ROLES))

    def begin(self, frame: Frame) -> None:
        """Takes over what does not change in an episode."""
        self.roles[...] = np.eye(len(ROLES))[frame.roles]

    def load(self, frame: Frame, sticky: list[float]) -> None:
        """Fills the vector. sticky: A * NUM_STICKY."""
        values = frame.values
        facts = [
            *values,
            frame.ball_z / BALL_HEIGHT_M,
            frame.ball_dz / BALL_HEIGHT_M,
            *_BALLS[frame.owner_side],
            *_MODES[frame.mode],
            (self._max_steps - 1 - frame.step) / self._max_steps,
            frame.goals_for / 10,
            frame.goals_against / 10,
            *self._nobody,
            *sticky,
        ]
        if frame.owner >= 0:
            facts[self.at_owner + frame.owner] = 1.0
        for x, y in zip(values[X::NUM_COLUMNS], values[Y::NUM_COLUMNS], strict=True):
            y /= FIELD_HALF_WIDTH
            facts += (-1.0 if x < -1.0 else 1.0 if x > 1.0 else x, -1.0 if y < -1.0 else 1.0 if y > 1.0 else y)
        self._pack(self._bytes, 0, *facts)  # a third of the time that NumPy takes for a list
