"""Evaluation on held-out seeds.

Every episode has its own engine seed, and each side its own generator for sampled actions, so the result of an episode
does not depend on how many are played side by side, or in how many processes.

Who plays may be a `Player`, or anything that `marl.players.make` takes. Without an opponent the other side, where there
is one, is played by the engine's own AI, whoever the policy was trained against.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import agents
import envs
from envs.football.levels import LEVEL_TABLE
from marl import players
from marl.checks import MOST, within
from marl.episodes import Episode, confidence_interval, read_jsonl, summarise, write_jsonl
from marl.players import RANDOM, Player
from marl.seeds import eval_seed
from marl.workers import spread

__all__ = [
    "RANDOM", "Episode", "Job", "Sides", "Slot", "Who", "arrange", "as_player", "confidence_interval", "evaluate",
    "play", "play_jobs", "read_jsonl", "summarise", "write_jsonl",
]  # fmt: skip

Who = Player | agents.Policy | str | Path
"""A player, or what `marl.players.make` takes."""
Progress = Callable[[int, int], None]
_SHARE = 100
"""Episodes that a process plays between two reports, at most."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Episodes of one set-up, for `play_jobs`."""

    player: Who
    env: envs.EnvConfig
    numbers: Sequence[int]
    """Which held-out episodes."""
    opponent: Who | None = None
    """Who plays the right team; None: the engine's own AI."""
    seed: int = 0
    """Which set of held-out seeds."""
    deterministic: bool | None = False
    """Policies play their likeliest actions instead of samples; None: as each was trained to be judged."""
    num_envs: int = 20
    """Episodes played side by side, at most."""


def as_player(who: Who, deterministic: bool | None = False) -> Player:
    """`who` as a player. deterministic: see `Job`; a `Player` stays as it is. Raises ValueError as `players.make`."""
    if not isinstance(who, agents.Policy | str | Path):
        return who
    player = players.make(who, deterministic=bool(deterministic))
    if deterministic is None and isinstance(player, players.PolicyPlayer):
        player.deterministic = bool(player.policy.meta.get("deterministic", False))
    return player


def arrange(env: Any, player: Player, opponent: Player | None) -> envs.EnvConfig:
    """`env` as `player` on the left and `opponent` on the right need it, without the shortcuts of training.

    The engine plays the right team itself for the built-in AI and without an opponent. Anybody else plays as many of
    its players as `env` says, or else as many as the left team has, or the level allows.
    Raises: ValueError where there is no other side, or no built-in AI.
    """
    env = envs.for_evaluation(env)
    if not hasattr(env, "opponents"):
        if opponent is not None:
            raise ValueError(f"{env.level} has one team and no other side that somebody could play")
        return players.seat(env, player)
    if opponent is None or opponent.name == players.BUILTIN_AI:
        return players.seat(replace(env, opponents=0), player)
    if not env.opponents:
        most = LEVEL_TABLE[env.level].right if isinstance(env, envs.FootballConfig) else env.players
        env = replace(env, opponents=min(env.players, most))
    return players.seat(env, player, opponent)


class Slot:
    """One environment and the episode it is playing."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def start(self, number: int, seed: int) -> None:
        self.number, self.seed = number, eval_seed(seed, number)
        self.rng, self.other_rng = (np.random.default_rng((self.seed, side)) for side in (2, 3))
        self.obs = self.env.reset(self.seed)
        self.length, self.total = 0, np.zeros(self.env.spec.num_agents)

    def step(self, actions: np.ndarray, other: np.ndarray | None) -> Episode | None:
        options = {} if other is None else {"opponent_actions": other}
        self.obs, rewards, terminated, truncated, info = self.env.step(actions, **options)
        self.length += 1
        self.total += rewards
        if not (terminated or truncated):
            return None
        return Episode(
            number=self.number,
            seed=self.seed,
            length=self.length,
            return_mean=float(self.total.mean()),
            metrics=dict(info.get("episode", {})),
        )


def _batch(observations: list[envs.Obs]) -> envs.Obs:
    return {key: np.stack([obs[key] for obs in observations]) for key in observations[0]}


class Sides:
    """Who acts for all slots: the player, and the opponent if the caller plays the right team."""

    def __init__(self, player: Player, opponent: Player | None, slot: Slot) -> None:
        self.player, self.opponent = player, opponent if slot.env.spec.num_opponents else None
        player.fit(slot.env.spec)
        if self.opponent is not None:
            try:
                self.opponent.fit(slot.env.opponent_spec)
            except ValueError as error:
                raise ValueError(f"opponent {self.opponent.name}: {error}") from None

    def act(self, slots: list[Slot]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Each slot's actions: those of the player, and those of the opponent."""
        mine = self.player.act(_batch([slot.obs for slot in slots]), [slot.rng for slot in slots])
        if self.opponent is None:
            yield from ((actions, None) for actions in mine)
            return
        seen = _batch([slot.env.observe_opponents() for slot in slots])
        yield from zip(mine, self.opponent.act(seen, [slot.other_rng for slot in slots]), strict=True)


def play(
    player: Who,
    env: envs.EnvConfig,
    numbers: Sequence[int],
    *,
    opponent: Who | None = None,
    seed: int = 0,
    deterministic: bool | None = False,
    num_envs: int = 20,
) -> Iterator[Episode]:
    """Plays the episodes `numbers`, up to `num_envs` side by side, and yields each as it ends. Arguments: see `Job`.

    Raises: ValueError where somebody was made for other observations or actions, and as `as_player` and `arrange`.
    """
    left = as_player(player, deterministic)
    right = None if opponent is None else as_player(opponent, deterministic)
    env = arrange(env, left, right)
    slots = [Slot(envs.make_team(env)) for _ in range(min(num_envs, len(numbers)))]
    try:
        sides = Sides(left, right, slots[0])
        waiting = list(numbers)
        for slot in slots:
            slot.start(waiting.pop(0), seed)
        playing = list(slots)
        while playing:
            done = []
            for slot, actions in zip(playing, sides.act(playing), strict=True):
                episode = slot.step(*actions)
                if episode is None:
                    continue
                yield episode
                if waiting:
                    slot.start(waiting.pop(0), seed)
                else:
                    done.append(slot)
            playing = [slot for slot in playing if slot not in done]
    finally:
        for slot in slots:
            slot.env.close()


def _play(job: Job) -> Iterator[Episode]:
    options = {name: getattr(job, name) for name in ("opponent", "seed", "deterministic", "num_envs")}
    return play(job.player, job.env, job.numbers, **options)


def _play_share(job: Job) -> list[Episode]:
    return list(_play(job))


def _shares(jobs: Sequence[Job], workers: int) -> list[tuple[int, Job]]:
    """(number of a job, a part of it): some for each process, so that none waits long for the last."""
    shares = []
    for index, job in enumerate(jobs):
        parts = min(len(job.numbers), max(4 * workers, len(job.numbers) // _SHARE))
        shares += [(index, replace(job, numbers=job.numbers[start::parts])) for start in range(parts)]
    return shares


def play_jobs(jobs: Sequence[Job], *, workers: int = 1, progress: Progress | None = None) -> list[list[Episode]]:
    """The episodes of each job, in order.

    Args: workers: processes; more than one needs everybody as a name or a folder, else all is played in this one;
    progress: called with (done, total) as episodes end. Raises: ValueError as `play`, and for a count below 1 or
    beyond `checks.MOST`.
    """
    for name, count in [("workers", workers)] + [("num_envs", job.num_envs) for job in jobs]:
        within(name, count, 1, MOST[name])
    done: list[list[Episode]] = [[] for _ in jobs]
    total, finished = sum(len(job.numbers) for job in jobs), 0

    def collect(index: int, part: list[Episode]) -> None:
        nonlocal finished
        done[index] += part
        finished += len(part)
        if progress:
            progress(finished, total)

    if workers > 1 and all(isinstance(who, str | Path | None) for job in jobs for who in (job.player, job.opponent)):
        shares = _shares(jobs, workers)
        with closing(spread(_play_share, [share for _, share in shares], workers)) as parts:
            for (index, _), part in zip(shares, parts, strict=True):
                collect(index, part)
    else:
        for index, job in enumerate(jobs):
            for episode in _play(job):
                collect(index, [episode])
    return [sorted(part, key=lambda episode: episode.number) for part in done]


def evaluate(
    policy: Who,
    env: envs.EnvConfig,
    *,
    opponent: Who | None = None,
    episodes: int,
    seed: int = 0,
    deterministic: bool | None = False,
    num_envs: int = 20,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Episode]:
    """Plays `episodes` held-out episodes and returns them in order.

    Args: policy, opponent: who plays the left and the right team, see `Job`; workers, progress: see `play_jobs`.
    Raises: ValueError for a count below 1 or beyond `checks.MOST`, and as `play`.
    """
    within("episodes", episodes, 1, MOST["episodes"])
    options = {"seed": seed, "deterministic": deterministic, "num_envs": num_envs}
    job = Job(player=policy, env=env, numbers=range(episodes), opponent=opponent, **options)
    return play_jobs([job], workers=workers, progress=progress)[0]
