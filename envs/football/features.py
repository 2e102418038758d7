"""The view `features`: one float vector per agent, seen from the player it controls.

Order of the parts (`feature_names` spells them out): the player itself, its role, its sticky actions, the way to the
opponent's goal, the ball, the state of the game, then one block per player of the own team and of the other team.
Positions are in units of `positions` (the pitch is 2 x 2), relative ones are other minus own; displacements per step in
units of STEP_SCALE; distances in half pitch lengths. The block of an absent player, and the player's own, is zero, and
so is the whole row of an agent that controls nobody.
"""

from itertools import pairwise
from typing import NamedTuple

import gymnasium as gym
import numpy as np

from envs.football.actions import NUM_STICKY, STICKY_NAMES
from envs.football.frame import ACTIVE, DX, GAME_MODES, METRES, ROLES, STEP_SCALE, TIRED, TO_UNIT, Frame

_SELF = ("x", "y", "dx", "dy", "tired", "yellow_card")
_GOAL = ("goal_distance", "goal_cos", "goal_sin")
_BALL = (
    "ball_x", "ball_y", "ball_dx", "ball_dy", "ball_z", "ball_dz", "ball_distance",
    "ball_is_free", "ball_is_ours", "ball_is_theirs", "ball_is_mine",
)  # fmt: skip
_TIME = ("steps_left", "goals_for", "goals_against")
_BLOCK = ("present", "x", "y", "dx", "dy", "has_ball")
GAME_NAMES = (*(f"mode_{mode}" for mode in GAME_MODES), *_TIME)
"""State of the game: `steps_left` as a share of the episode, goals in tens."""
MOVE_SCALE = (TO_UNIT / np.array(STEP_SCALE)).astype(np.float32)
"""Engine units per step to units of STEP_SCALE."""
BALL_HEIGHT_M = 4.0
"""Unit of the ball's height and climb per step."""
_ASPECT = (METRES / TO_UNIT / METRES[0]).astype(np.float32)
"""Units of `positions` to half pitch lengths."""


def feature_names(own: int, other: int) -> list[str]:
    """Name of every feature for teams of `own` and `other` players, in order."""
    names = [*_SELF, *(f"role_{role}" for role in ROLES), *(f"sticky_{name}" for name in STICKY_NAMES)]
    names += [*_GOAL, *_BALL, *GAME_NAMES]
    names += [f"teammate{i}_{name}" for i in range(own) for name in _BLOCK]
    return names + [f"opponent{i}_{name}" for i in range(other) for name in _BLOCK]


class Seen(NamedTuple):
    """What a view is written from."""

    frame: Frame
    positions: np.ndarray
    """float32 [N + 1, 2] in [-1, 1]."""
    who: np.ndarray
    """int [A]: row of the player whom each agent controls; 0 where `mask` is False."""
    mask: np.ndarray
    """bool [A]."""
    sticky: np.ndarray
    """float32 [A, 10]."""


def unbounded(*shape: int) -> gym.spaces.Box:
    """float32 of any size."""
    return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)


def write_game(frame: Frame, max_steps: int, out: np.ndarray) -> None:
    """Fills the last axis of `out` [..., 10] with what GAME_NAMES says."""
    out[..., :7] = 0
    out[..., frame.mode] = 1
    out[..., 7] = (max_steps - 1 - frame.step) / max_steps
    out[..., 8] = frame.goals_for / 10
    out[..., 9] = frame.goals_against / 10


class Features:
    """Writes the view for one team. Owns a scratch array, so that a step allocates next to nothing."""

    def __init__(self, num_agents: int, own: int, other: int, max_steps: int) -> None:
        self.boxes = {"view": unbounded(num_agents, len(feature_names(own, other)))}
        self._max_steps = max_steps
        self._agents = np.arange(num_agents)
        self._scratch = flat = np.zeros(self.boxes["view"].shape, np.float32)
        widths = (len(_SELF), len(ROLES), NUM_STICKY, len(_GOAL), len(_BALL), len(GAME_NAMES))
        edges = np.cumsum((0, *widths))
        parts = [flat[:, a:b] for a, b in pairwise(edges)]
        self._self, self._role, self._sticky, self._goal, self._ball, self._game = parts
        self._blocks = flat[:, edges[-1] :].reshape(
            num_agents, own + other, len(_BLOCK)
        )  # a view: only the last axis splits
        self._one_hot_roles = np.eye(len(ROLES), dtype=np.float32)

    def write(self, seen: Seen, out: dict[str, np.ndarray]) -> None:
        """Fills out["view"]."""
        frame, positions, who = seen.frame, seen.positions, seen.who
        table, players = frame.table, frame.num_players
        moves = table[:, DX : DX + 2] * MOVE_SCALE
        mine = positions[who]
        self._self[:, :2] = mine
        self._self[:, 2:4] = moves[who]
        self._self[:, 4:] = table[who, TIRED : TIRED + 2]
        self._role[...] = self._one_hot_roles[frame.roles[who]]
        self._sticky[...] = seen.sticky
        self._write_goal(mine)
        self._write_ball(frame, positions[players] - mine, moves[players], who)
        write_game(frame, self._max_steps, self._game)
        blocks = self._blocks
        blocks[:, :, 0] = table[:players, ACTIVE]
        blocks[self._agents, who, 0] = 0
        np.subtract(positions[:players], mine[:, None], out=blocks[:, :, 1:3])
        blocks[:, :, 3:5] = moves[:players]
        blocks[:, :, 5] = 0
        if frame.owner >= 0:
            blocks[:, frame.owner, 5] = 1
        blocks *= blocks[:, :, :1]
        view = out["view"]
        view[...] = self._scratch
        if not seen.mask.all():
            view[~seen.mask] = 0

    def _write_goal(self, mine: np.ndarray) -> None:
        way = _ASPECT * (np.array((1.0, 0.0), np.float32) - mine)
        distance = np.sqrt(np.square(way).sum(axis=1))
        self._goal[:, 0] = distance
        self._goal[:, 1:] = way / np.maximum(distance, 1e-6)[:, None]

    def _write_ball(self, frame: Frame, relative: np.ndarray, move: np.ndarray, who: np.ndarray) -> None:
        ball = self._ball
        ball[:, :2] = relative
        ball[:, 2:4] = move
        ball[:, 4] = frame.ball_z / BALL_HEIGHT_M
        ball[:, 5] = frame.ball_dz / BALL_HEIGHT_M
        ball[:, 6] = np.sqrt(np.square(relative * _ASPECT).sum(axis=1))
        ball[:, 7:10] = 0
        ball[:, 8 + frame.owner_side] = 1
        ball[:, 10] = who == frame.owner
