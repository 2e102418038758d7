"""The player "scripted": one readable rule of thumb for each game, for recordings with more life than random play.

Football, from the positions alone, so with every view: the player nearest to the ball fetches it, runs with it towards
the goal and shoots when near; the others run forward, each in a lane of its own.

DMLab2D's clean_up and commons_harvest, from the window of ids (view "layer"): walk to the nearest apple that may be
eaten; in clean_up else clean the mud in front, or walk to mud; else wander. In commons_harvest an apple whose patch is
nearly eaten up stays, since apples grow back only beside others.
"""

from collections.abc import Callable, Sequence

import numpy as np

import envs
from envs.football.actions import IDLE as STAND
from envs.football.frame import FIELD_HALF_WIDTH

HAS_BALL = 0.03
"""A player so near to the ball (in half lengths of the pitch) is taken to have it."""
SHOT_RANGE = 0.3
"""The ball is shot at the goal from within this distance (half lengths of the pitch)."""
DANGER = 0.15
"""An opponent so near to the ball (half lengths of the pitch) makes the player with the ball pass."""
AHEAD = 0.8
"""Cosine of the angle to the goal within which that opponent is in the way."""
GOAL = np.array((1.0, 0.0))
LANES = 0.25
"""Outermost lanes of the players without the ball, from the middle (half lengths of the pitch)."""
COMPASS = ("right", "bottom_right", "bottom", "bottom_left", "left", "top_left", "top", "top_right")
"""Football's directions by eighths of a turn from the opponent's goal, y growing downwards."""

ME = (9, 5)
"""Row and column of the agent in its window; it faces row 0, and sees 9 cells ahead, 1 behind and 5 to each side."""
THINGS, PIECES = 0, 1
"""Layers of the window: what grows and flows, and what stands in the way (players and walls)."""
APPLE, MUD = 1, 17
"""First of the four ids (one per facing) of what is looked for; the engine numbers sprites by their names, so these
do not depend on the number of players. `tests/marl/test_scripted.py` compares them with the engine."""
BEAM = np.zeros((11, 11), bool)
BEAM[4:9, 5] = BEAM[5:10, [4, 6]] = True
"""Cells that the cleaning beam reaches: 5 ahead, and 5 in each of the columns beside, from the agent's own row on."""
SPARED = 4
"""commons_harvest: an apple is left alone unless at least so many others grow within PATCH steps of it, else nothing
grows back there."""
PATCH = 3
TURNS = 0.1
"""Chance of a turn while wandering."""
STEPS = {"forward": (-1, 0), "back": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Moves in the window, (rows, columns)."""


class ScriptedPlayer:
    """See the module. It knows football and two levels of DMLab2D; `fit` refuses others."""

    name, needs_builtin_ai = "scripted", False

    def fit(self, spec: envs.TeamSpec) -> None:
        self._choose: Callable[[envs.Obs, np.random.Generator], list[int]]
        if spec.env.startswith("football/"):
            self._choose = _Footballer(spec)
        elif spec.env in ("lab2d/clean_up", "lab2d/commons_harvest") and spec.view == "layer":
            self._choose = _Forager(spec)
        else:
            allowed = "football/LEVEL, and lab2d/clean_up and lab2d/commons_harvest with the view layer"
            raise ValueError(f"scripted cannot play {spec.env} with the view {spec.view}; allowed: {allowed}")

    def act(self, obs: envs.Obs, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        games = ({key: value[row] for key, value in obs.items()} for row in range(len(rngs)))
        return np.array([self._choose(game, rng) for game, rng in zip(games, rngs, strict=True)], np.int64)


class _Footballer:
    def __init__(self, spec: envs.TeamSpec) -> None:
        self._directions = [spec.action_names.index(name) for name in COMPASS]
        self._shot = spec.action_names.index("shot")
        self._pass = spec.action_names.index("short_pass")
        self._teammate = np.array([kind == "teammate" for kind in spec.entity_kinds])
        self._opponent = np.array([kind == "opponent" for kind in spec.entity_kinds])
        self._lanes = np.linspace(-LANES, LANES, spec.num_agents) if spec.num_agents > 1 else np.zeros(1)

    def __call__(self, obs: envs.Obs, rng: np.random.Generator) -> list[int]:
        places = obs["positions"] * (1, FIELD_HALF_WIDTH)  # true proportions
        ball = places[-1]
        distance = np.hypot(*(places - ball).T)
        chaser = int(np.where(self._teammate & obs["entity_mask"], distance, np.inf).argmin())
        actions = []
        for agent, row in enumerate(obs["who"].tolist()):
            if row < 0:
                actions.append(STAND)
            elif row != chaser:
                actions.append(self._towards(np.array((0.9, self._lanes[agent])) - places[row]))
            elif distance[row] > HAS_BALL:
                actions.append(self._towards(ball - places[row]))
            elif np.hypot(*(GOAL - places[row])) < SHOT_RANGE:
                actions.append(self._shot)
            elif self._is_blocked(places, row):
                actions.append(self._pass)
            else:
                actions.append(self._towards(GOAL - places[row]))
        return actions

    def _is_blocked(self, places: np.ndarray, row: int) -> bool:
        """An opponent stands near and on the way to the goal."""
        ways, goal = places - places[row], GOAL - places[row]
        length = np.hypot(*ways.T) + 1e-6
        ahead = ways @ goal / (length * np.hypot(*goal)) > AHEAD
        return bool((self._opponent & ahead & (length < DANGER)).any())

    def _towards(self, way: np.ndarray) -> int:
        eighth = round(float(np.arctan2(way[1], way[0])) / (np.pi / 4))
        return self._directions[eighth % 8]


class _Forager:
    def __init__(self, spec: envs.TeamSpec) -> None:
        self._actions = {name: spec.action_names.index(name) for name in spec.action_names}
        self._cleans = spec.env == "lab2d/clean_up"
        rows, columns = np.indices(spec.spaces["view"].shape[1:3])
        self._rows, self._columns = rows - ME[0], columns - ME[1]
        self._distance = abs(self._rows) + abs(self._columns)

    def __call__(self, obs: envs.Obs, rng: np.random.Generator) -> list[int]:
        return [self._actions[self._of(window, rng)] for window in obs["view"]]

    def _of(self, window: np.ndarray, rng: np.random.Generator) -> str:
        things = window[..., THINGS]
        apples = (things >= APPLE) & (things < APPLE + 4)
        step = self._step_to(apples if self._cleans else _in_patches(apples), window, rng)
        if step is None and self._cleans:
            mud = (things >= MUD) & (things < MUD + 4)
            step = "clean" if mud[BEAM].any() else self._step_to(mud, window, rng)
        return step or self._wander(window, rng)

    def _step_to(self, wanted: np.ndarray, window: np.ndarray, rng: np.random.Generator) -> str | None:
        """The first step towards the nearest of the wanted cells; None where there is none or the way is blocked."""
        if not wanted.any():
            return None
        nearest = np.where(wanted, self._distance, self._distance.size).argmin()
        row, column = self._rows.flat[nearest], self._columns.flat[nearest]
        steps = [name for name, (down, right) in STEPS.items() if row * down + column * right > 0]
        free = [name for name in steps if _is_free(window, name)]
        return free[rng.integers(len(free))] if free else None

    def _wander(self, window: np.ndarray, rng: np.random.Generator) -> str:
        if _is_free(window, "forward") and rng.random() > TURNS:
            return "forward"
        return ("turn_left", "turn_right")[rng.integers(2)]


def _is_free(window: np.ndarray, step: str) -> bool:
    down, right = STEPS[step]
    return window[ME[0] + down, ME[1] + right, PIECES] == 0


def _in_patches(apples: np.ndarray) -> np.ndarray:
    """The apples that have at least SPARED others within PATCH steps. apples: [rows, columns] bool."""
    rows, columns = np.nonzero(apples)
    near = abs(rows[:, None] - rows) + abs(columns[:, None] - columns) <= PATCH
    keep = near.sum(1) - 1 >= SPARED
    chosen = np.zeros_like(apples)
    chosen[rows[keep], columns[keep]] = True
    return chosen
