"""The football engine itself: scenarios, seeds, and engines that are used again and again.

Importing this module imports gfootball and registers the project's own `team_` levels with it, so every process that
imports it (a Ray worker too) can play them, gfootball's own FootballEnv included.

An engine's memory is never freed, so `give_back` keeps it for the next `take`. Several engines in one process do not
disturb each other, as long as one thread at a time steps them: the engine's "current game" is a process-wide variable.
"""

import contextlib
import importlib
import io
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from envs.football.levels import TEAM_VARIANTS, Level

libgame: Any = importlib.import_module("gfootball_engine")  # a C++ module, opaque to type checkers
with contextlib.redirect_stderr(io.StringIO()):  # gfootball imports gym, which prints a notice about its age
    import gfootball.scenarios  # noqa: F401

_SCENARIOS = "gfootball.scenarios."
_KEEPER = libgame.e_PlayerRole.e_PlayerRole_GK
_LEFT = libgame.e_Team.e_Left
_idle: list[Any] = []


class EpisodeSeed(NamedTuple):
    """All that chance decides before an episode."""

    engine: int
    """Seed of the engine's generator."""
    swap_kick_off: bool
    """Whether the other line-up starts on the left (full games give the kick-off to either side in turn)."""
    reverse: bool
    """Whether the engine processes the right team first."""


def episode_seed(seed: int) -> EpisodeSeed:
    """The episode of `seed`. Raises ValueError for a negative one."""
    if seed < 0:
        raise ValueError(f"seed {seed} does not fit; allowed: 0 and above")
    engine, bits = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
    return EpisodeSeed(engine & 0x7FFFFFFF, bool(bits & 1), bool(bits & 2))


class _LockedKeepers:
    """A scenario builder that passes everything on, but leaves goalkeepers to the engine."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def AddPlayer(self, x: float, y: float, role: Any, lazy: bool = False, controllable: bool = True) -> None:
        self._builder.AddPlayer(x, y, role, lazy, controllable and role != _KEEPER)


def _register(name: str, base: str) -> None:
    module = types.ModuleType(_SCENARIOS + name)
    base_module = importlib.import_module(_SCENARIOS + base)
    build: Callable[[Any], None] = lambda builder: base_module.build_scenario(_LockedKeepers(builder))  # noqa: E731
    module.build_scenario = build  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


for _name in TEAM_VARIANTS:
    _register(f"team_{_name}", f"academy_{_name}")


class _Builder:
    """What a scenario's `build_scenario` talks to (the names are gfootball's)."""

    def __init__(self, episode: EpisodeSeed) -> None:
        self._config = libgame.ScenarioConfig.make()
        self._team = self._config.left_team
        self._episode = episode

    def config(self) -> Any:
        return self._config

    def SetTeam(self, team: Any) -> None:
        self._team = self._config.left_team if team == _LEFT else self._config.right_team

    def AddPlayer(self, x: float, y: float, role: Any, lazy: bool = False, controllable: bool = True) -> None:
        self._team.append(libgame.FormationEntry(x, y, role, lazy, controllable))

    def SetBallPosition(self, x: float, y: float) -> None:
        self._config.ball_position[0] = x
        self._config.ball_position[1] = y

    def EpisodeNumber(self) -> int:
        return 1 if self._episode.swap_kick_off else 2


def scenario(name: str, left: int, right: int, episode: EpisodeSeed, difficulty: float | None = None) -> Any:
    """The engine's configuration of an episode of level `name` with left and right agents."""
    builder = _Builder(episode)
    importlib.import_module(_SCENARIOS + name).build_scenario(builder)
    config = builder.config()
    config.left_agents, config.right_agents = left, right
    config.game_engine_random_seed = episode.engine
    config.reverse_team_processing = episode.reverse
    if difficulty is not None:
        config.right_team_difficulty = difficulty
    return config


def level_of(name: str) -> Level:
    """What the engine itself says about level `name`: the row that LEVEL_TABLE must have."""
    config = scenario(name, 1, 0, episode_seed(0))
    return Level(left=config.controllable_left_players, right=config.controllable_right_players)


def take() -> Any:
    """A started engine: one that was given back, or a new one."""
    if _idle:
        return _idle.pop()
    engine = libgame.GameEnv()
    engine.game_config.physics_steps_per_frame = 10
    engine.start_game()
    engine.state = libgame.GameState.game_running
    return engine


def give_back(engine: Any) -> None:
    """Keeps an engine for the next `take`."""
    _idle.append(engine)
