"""The typed configuration of a football environment. Importing it imports no engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envs.football.levels import LEVEL_TABLE
from envs.team import EngineMissing, one_of

if TYPE_CHECKING:
    from envs.football.adapter import FootballTeamEnv

LEVELS = tuple(LEVEL_TABLE)
"""Names of all football levels."""
VIEWS = ("features", "entities", "smm")
REWARDS = ("scoring", "scoring,checkpoints")
MAX_STACK = 16


@dataclass(frozen=True, kw_only=True)
class FootballConfig:
    """One football environment.

    The engine keeps agents on fixed players only where each side controls all of its controllable players or none;
    otherwise it hands agents over to the players nearest to the ball during the game. `obs["who"]` tells at every step.
    """

    level: str
    """Name of the level: one of `LEVELS`. In the `team_` levels the engine plays both goalkeepers, so that a full
    team means the outfield players all the time."""
    players: int | None = None
    """Agents on the left team; None means every controllable player of the level."""
    opponents: int = 0
    """Agents on the right team, controlled by the caller too; 0 leaves that team to the engine."""
    view: str = "features"
    """What agents see: "features", "entities" or "smm"."""
    rewards: str = "scoring"
    """"scoring" (goal difference) or "scoring,checkpoints" (also written "checkpoints": plus 0.1 per ring of distance
    to the opponent's goal, once per episode and team)."""
    stack: int = 4
    """Frames in the planes of the view "smm"; the other views ignore it."""
    reset_pool: int = 0
    """Start states kept for nearly free resets in training; 0 resets the engine itself each time. Resets with an
    explicit seed, and so evaluation, never use the pool."""
    builtin_ai: bool = False
    """Adds the action `builtin_ai`, which leaves the player to the engine for a step (a scripted baseline)."""
    opponent_difficulty: float | None = None
    """Skill of the engine's right team, 0 to 1; None keeps the level's own."""

    def __post_init__(self) -> None:
        one_of("level of football", self.level, LEVELS)
        one_of("view of football", self.view, VIEWS)
        if self.rewards == "checkpoints":
            object.__setattr__(self, "rewards", "scoring,checkpoints")
        one_of("rewards of football", self.rewards, REWARDS)
        level = LEVEL_TABLE[self.level]
        if self.players is None:
            object.__setattr__(self, "players", level.left)
        _in_range(f"players of {self.level}", self.players, 1, level.left)
        _in_range(f"opponents of {self.level}", self.opponents, 0, level.right)
        _in_range("stack of football", self.stack, 1, MAX_STACK)
        _in_range("reset_pool of football", self.reset_pool, 0, 1024)
        difficulty = self.opponent_difficulty
        if difficulty is not None and not 0 <= difficulty <= 1:
            raise ValueError(f"opponent_difficulty of football {difficulty!r} does not fit; allowed: None or 0 to 1")

    def build(self) -> FootballTeamEnv:
        """The environment. Raises EngineMissing where the engine is not installed."""
        try:
            from envs.football.adapter import FootballTeamEnv
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "envs":
                raise
            raise EngineMissing(
                "the football engine is not installed; build it with `make engine`, which also installs "
                f"tandem-lab[football] ({error})"
            ) from error
        return FootballTeamEnv(self)


def _in_range(what: str, value: object, low: int, high: int) -> None:
    """Raises ValueError unless `value` is an integer from low to high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        allowed = f"{low} to {high}" if low < high else str(low)
        raise ValueError(f"{what} {value!r} does not fit; allowed: {allowed}")
