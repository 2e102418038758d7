"""The typed configuration of a DMLab2D environment. Importing it imports no engine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from envs.lab2d.levels import LEVELS, Level
from envs.team import EngineMissing, one_of

if TYPE_CHECKING:
    from envs.lab2d.adapter import Lab2dTeamEnv

__all__ = ["LEVELS", "VIEWS", "Lab2dConfig"]

VIEWS = ("layer", "rgb")


@dataclass(frozen=True, kw_only=True)
class Lab2dConfig:
    """One DMLab2D level. `build()` makes the environment."""

    level: str
    """A key of `LEVELS`."""
    players: int | None = None
    """Agents, each with its own avatar; None: the level's usual number."""
    view: Literal["layer", "rgb"] = "layer"
    """What an agent sees: "layer", ids [rows, columns, layers] to be embedded; "rgb", a picture."""
    team_reward: bool = False
    """Every agent receives the sum of all players' rewards instead of its own."""
    zap: bool = False
    """commons_harvest: agents can zap each other (1 point off for the zapper, 50 for the zapped)."""
    fine: bool = False
    """clean_up: agents can fine each other (1 point off for the one who fines, 50 for the fined)."""
    clean_bonus: float = 0.0
    """clean_up: added to an agent's reward for each cell that it cleans, in training only (`envs.for_evaluation` takes
    it away, and the environment's episode numbers never count it): who acts at random cleans too little to ever see an
    apple."""
    steps: int | None = None
    """Length of an episode [steps]; None: the level's own."""
    sprite_size: int | None = None
    """Side of a cell in the rgb view and in drawings [px], 1 to 64; None: the level's own."""

    def __post_init__(self) -> None:
        one_of("lab2d level", self.level, list(LEVELS))
        one_of("lab2d view", self.view, VIEWS)
        fewest, most = self.facts.players
        if not fewest <= self.num_players <= most:
            allowed = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise ValueError(f"{self.level} cannot have {self.num_players} players; allowed: {allowed}")
        for option in ("zap", "fine"):
            if getattr(self, option) and self.facts.option != option:
                where = next(name for name, level in LEVELS.items() if level.option == option)
                raise ValueError(f"option {option}=True does not apply to {self.level}; allowed in: {where}")
        if not 0 <= self.clean_bonus < float("inf"):
            raise ValueError(f"clean_bonus {self.clean_bonus} does not fit; allowed: 0 and more")
        if self.clean_bonus and "clean" not in self.facts.beams:
            raise ValueError(f"clean_bonus {self.clean_bonus} does not apply to {self.level}; allowed in: clean_up")
        if self.num_steps < 1:
            raise ValueError(f"steps {self.steps} is too short for an episode; allowed: 1 and more")
        if not 1 <= self.pixels <= 64:
            raise ValueError(f"sprite_size {self.sprite_size} is out of range; allowed: 1 to 64 pixels")

    @property
    def facts(self) -> Level:
        """What is known about the level."""
        return LEVELS[self.level]

    @property
    def num_players(self) -> int:
        return self.facts.default_players if self.players is None else self.players

    @property
    def num_steps(self) -> int:
        return self.facts.steps if self.steps is None else self.steps

    @property
    def pixels(self) -> int:
        return self.facts.sprite_size if self.sprite_size is None else self.sprite_size

    @property
    def punishes(self) -> bool:
        """The punishing beam is among the actions."""
        return self.zap or self.fine

    def build(self) -> "Lab2dTeamEnv":
        """The environment. Raises EngineMissing where dmlab2d is not installed."""
        try:
            import dmlab2d  # noqa: F401
        except ImportError as error:
            raise EngineMissing(
                "the engine dmlab2d is not installed; install it with the extra tandem-lab[lab2d]"
            ) from error
        from envs.lab2d.adapter import Lab2dTeamEnv

        return Lab2dTeamEnv(self)
