"""What goes on at a moment of an episode, and how to speak of the players: what figures of attention are split by.

| environment     | phases                                                                                           |
|-----------------|--------------------------------------------------------------------------------------------------|
| football        | a set piece (the game waits for a restart); own pass or shot (nobody has the ball, an own player |
|                 | had it last); loose ball (nobody has it otherwise); other team's ball; own ball in the own half, |
|                 | up to the final third of the pitch, and in it                                                    |
| lab2d clean_up  | how many of the team are at the river, the upper RIVER_ROWS rows of the map: none, some, all     |
| everything else | the thirds of the longest episode                                                                |
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.football.frame import FIELD_HALF_WIDTH, GAME_MODES, METRES, NUM_COLUMNS, ROLES, Frame, X
from envs.team import Obs, TeamEnv, TeamSpec

FOOTBALL = (
    "set piece", "own pass or shot", "loose ball", "other team's ball",
    "own ball, own half", "own ball, middle", "own ball, final third",
)  # fmt: skip
CLEAN_UP = ("nobody at the river", "some at the river", "all at the river")
THIRDS = ("first third", "second third", "last third")
RIVER_ROWS = 8
"""Rows of clean_up's map, wall included, from which an agent can do something about the river: it fills rows 1 to 5."""
_FINAL_THIRD = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What an environment's figures are drawn with."""

    kind: str
    """"football", "grid" or "other"."""
    phases: tuple[str, ...]
    """Names of the phases that `phase` numbers."""
    players: tuple[str, ...]
    """Name of every teammate, in the order of the rows of `positions`."""
    scale: tuple[float, float]
    """What 1 of `positions` is along and across the field [unit]."""
    half_size: tuple[float, float]
    """Half of the field's length and width [unit]."""
    unit: str
    """"m", "cells", or "" where lengths have no unit."""


def scene(env: TeamEnv) -> Scene:
    """The scene of an environment that has been reset."""
    spec = env.spec
    moment = _moment(env)
    if moment is not None:
        half = float(METRES[0]), FIELD_HALF_WIDTH * float(METRES[1])
        names = role_names(moment.roles[: moment.num_own])
        return Scene(kind="football", phases=FOOTBALL, players=names, scale=half, half_size=half, unit="m")
    names = tuple(f"agent {row}" for row in range(spec.entity_kinds.count("teammate")))
    phases = CLEAN_UP if _is_clean_up(spec) else THIRDS
    if spec.env.startswith("lab2d/"):
        scale = 1 / spec.step_scale[0], 1 / spec.step_scale[1]  # to the middle of the outermost cells
        half = scale[0] + 0.5, scale[1] + 0.5
        return Scene(kind="grid", phases=phases, players=names, scale=scale, half_size=half, unit="cells")
    return Scene(kind="other", phases=phases, players=names, scale=(1.0, 1.0), half_size=(1.0, 1.0), unit="")


def role_names(roles: list[int]) -> tuple[str, ...]:
    """Readable names: "goalkeeper", and "centre back 1", "centre back 2" where a role is given twice."""
    names, seen = [ROLES[role].replace("_", " ") for role in roles], dict.fromkeys(roles, 0)
    for row, role in enumerate(roles):
        seen[role] += 1
        if roles.count(role) > 1:
            names[row] += f" {seen[role]}"
    return tuple(names)


def phase(env: TeamEnv, obs: Obs, step: int) -> int:
    """Index into the scene's `phases` of the moment that `obs` shows. step: steps of the episode so far."""
    moment = _moment(env)
    if moment is not None:
        statistics: Any = getattr(env, "statistics")  # noqa: B009 (no field of every environment)
        return football_phase(moment, statistics.last_side)
    if _is_clean_up(env.spec):
        return clean_up_phase(obs["positions"], env.spec.step_scale[1])
    return third(step, env.spec.max_steps)


def holder(env: TeamEnv) -> int:
    """Row of the teammate who has the ball; -1 where none has, or there is no ball."""
    moment = _moment(env)
    return moment.owner if moment is not None and moment.owner_side == 0 else -1


def football_phase(frame: Frame, last_side: int) -> int:
    """Index into FOOTBALL. last_side: 0 if an own player had the ball last, 1 for the other team, -1 for nobody."""
    if GAME_MODES[frame.mode] != "normal":
        return 0
    if frame.owner < 0:
        return 1 if last_side == 0 else 2
    if frame.owner_side == 1:
        return 3
    ball = frame.values[-NUM_COLUMNS + X]
    return 4 if ball < 0 else 5 if ball < _FINAL_THIRD else 6


def clean_up_phase(positions: np.ndarray, row_height: float) -> int:
    """Index into CLEAN_UP. positions: [A, 2]; row_height: of a row of the map in units of `positions`."""
    rows = (positions[:, 1] + 1) / row_height
    at_river = int((np.rint(rows) < RIVER_ROWS).sum())
    return 0 if at_river == 0 else 2 if at_river == len(positions) else 1


def third(step: int, max_steps: int) -> int:
    """Index into THIRDS. step: 0 to max_steps."""
    return min(3 * step // max_steps, 2)


def _is_clean_up(spec: TeamSpec) -> bool:
    return spec.env == "lab2d/clean_up"


def _moment(env: TeamEnv) -> Frame | None:
    """The engine's moment where `env` is football. Observations will not do: not every view tells who has the ball."""
    match: Any = getattr(env, "match", None) if env.spec.env.startswith("football/") else None
    return None if match is None else match.moment()
