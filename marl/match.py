"""Matches between two players, fair by design: every seed is played twice, with the sides swapped.

A seed fixes all that chance decides before and during a game: the engine's generator, who kicks off, which team the
engine processes first, and the generators from which either side draws its actions. The first named plays the left team
in one game of a pair and the right team in the other. What is reported is each pair's mean, so that an advantage of a
side, which is reported by itself, cancels. As generators belong to sides, a player against itself comes out at 0 in
every pair, and the same two players named the other way round play the same games.

The built-in AI plays on the right as the engine's own team, and on the left through the action `builtin_ai`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import agents
import envs
from envs.football.levels import LEVEL_TABLE
from marl.checks import MOST, within
from marl.episodes import Episode
from marl.evaluation import Job, Progress, Who, play_jobs
from marl.intervals import share_of_pairs, student

SWAPPABLE = tuple(level for level in LEVEL_TABLE if not level.startswith(("academy_", "team_")))
"""Football levels in which the two sides may be swapped: as many players on each, in the same places but for the
kick-off. In the others one side attacks."""
SHARES = ("win", "draw", "loss")


@dataclass(frozen=True, kw_only=True)
class Game:
    """One finished game."""

    pair: int
    """Number of the seed; two games share it."""
    seed: int
    left: str
    right: str
    """Who played on which side."""
    goals_left: int
    goals_right: int
    length: int
    """Environment steps."""


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """A match, as the first named sees it."""

    first: str
    second: str
    games: tuple[Game, ...]
    """In pairs: first the game in which `first` plays on the left, then the swapped one."""

    @property
    def goals(self) -> np.ndarray:
        """[P, 2] goals of `first` minus those of `second`, in either game of each pair."""
        by_side = np.array([game.goals_left - game.goals_right for game in self.games], float).reshape(-1, 2)
        return by_side * (1, -1)

    @property
    def scores(self) -> np.ndarray:
        """[P] points of `first` per game, a draw as half, mean of each pair: what `ratings.rate` takes."""
        return ((np.sign(self.goals) + 1) / 2).mean(1)

    def summary(self) -> dict[str, dict[str, float]]:
        """{name: {"mean", "low", "high"}} with 95% intervals over the pairs (see `marl.intervals`): Wilson's for the
        shares "win", "draw" and "loss", with as many games as the pairs are worth; Student's t for "goal_difference",
        and for "left_side_advantage", goals per game of the left team minus those of the right one."""
        goals = self.goals
        summary = {}
        for name, sign in zip(SHARES, (1, 0, -1), strict=True):
            happened = (np.sign(goals) == sign).mean(1)
            summary[name] = _numbers(happened, share_of_pairs(happened))
        for name, difference in (("goal_difference", goals.mean(1)), ("left_side_advantage", goals @ (0.5, -0.5))):
            summary[name] = _numbers(difference, student(difference))
        return summary


def _numbers(values: np.ndarray, ends: tuple[float, float]) -> dict[str, float]:
    return {"mean": float(values.mean()), "low": ends[0], "high": ends[1]}


def neutral(env: Any) -> envs.EnvConfig:
    """`env` as it is the same for both sides. Raises ValueError where the sides cannot be swapped."""
    if not hasattr(env, "opponents"):
        raise ValueError(f"{env.level} has one team and no other side; matches are played in football")
    if isinstance(env, envs.FootballConfig):
        if env.level not in SWAPPABLE:
            raise ValueError(
                f"the sides of {env.level} cannot be swapped, as one attacks and the other defends; "
                f"matches are played in: {', '.join(SWAPPABLE)}"
            )
        env = replace(env, opponent_difficulty=None)  # it would set the engine's skill on one side only
    return replace(env, opponents=0)  # so that the right team gets as many agents as the left one


def round_robin(
    entrants: Mapping[str, Who],
    env: envs.EnvConfig,
    *,
    pairs: int,
    seed: int = 0,
    deterministic: bool | None = False,
    num_envs: int = 20,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[MatchResult]:
    """A match between each two of the entrants, on the same seeds.

    Args: entrants: name -> player; pairs: seeds per match, each played twice; seed: which set of held-out seeds;
    deterministic, num_envs: see `evaluation.Job`; workers, progress (of games): see `evaluation.play_jobs`.
    Raises: ValueError where the sides cannot be swapped, for a count below 1 or beyond `checks.MOST`, and as
    `evaluation.play`.
    """
    meetings = list(combinations(entrants.items(), 2))
    options = {"seed": seed, "deterministic": deterministic, "num_envs": num_envs}
    return _matches(meetings, env, pairs, options, workers, progress)


def match(left: Who, right: Who, env: envs.EnvConfig, **options: Any) -> MatchResult:
    """One match. Arguments and errors as `round_robin`; the two may be the same player."""
    workers, progress = options.pop("workers", 1), options.pop("progress", None)
    meeting = ((_name(left), left), (_name(right), right))
    return _matches([meeting], env, options.pop("pairs"), options, workers, progress)[0]


def _name(who: Who) -> str:
    if isinstance(who, agents.Policy):
        return "policy"
    return str(who) if isinstance(who, str | Path) else who.name


def _matches(
    meetings: Sequence[tuple[tuple[str, Who], tuple[str, Who]]],
    env: envs.EnvConfig,
    pairs: int,
    options: dict[str, Any],
    workers: int,
    progress: Progress | None,
) -> list[MatchResult]:
    within("pairs", pairs, 1, MOST["pairs"])
    fixed = {"env": neutral(env), "numbers": range(pairs), **options}
    jobs = []
    for (_, one), (_, other) in meetings:
        jobs += [Job(player=one, opponent=other, **fixed), Job(player=other, opponent=one, **fixed)]
    played = play_jobs(jobs, workers=workers, progress=progress)
    return [
        _result(one, other, played[2 * index], played[2 * index + 1])
        for index, ((one, _), (other, _)) in enumerate(meetings)
    ]


def _result(one: str, other: str, straight: list[Episode], swapped: list[Episode]) -> MatchResult:
    games = []
    for pair in zip(straight, swapped, strict=True):
        for episode, (left, right) in zip(pair, ((one, other), (other, one)), strict=True):
            goals = {"goals_left": episode.metrics["goals_for"], "goals_right": episode.metrics["goals_against"]}
            games.append(
                Game(
                    pair=episode.number,
                    seed=episode.seed,
                    left=left,
                    right=right,
                    length=episode.length,
                    **{name: int(count) for name, count in goals.items()},
                )
            )
    return MatchResult(first=one, second=other, games=tuple(games))


def write_games(path: Path, results: Sequence[MatchResult]) -> None:
    """One JSON line per game, so that any statistics can be redone."""
    lines = [json.dumps(asdict(game)) for result in results for game in result.games]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(path)
