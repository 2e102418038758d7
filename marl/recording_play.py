"""Plays episodes for recordings, several side by side."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

import envs
from marl import players
from marl.players import Player
from marl.seeds import record_seed


def playing_env(env: envs.EnvConfig, seats: Sequence[Player]) -> envs.EnvConfig:
    """The environment that is stepped: `env` as the players need it, football's engine on the right.

    Raises: as `players.seat`.
    """
    env = players.seat(envs.for_evaluation(env), *seats)
    return replace(env, opponents=0) if isinstance(env, envs.FootballConfig) else env


class _Slot:
    """One environment and the episode that is played in it."""

    def __init__(self, team: envs.TeamEnv) -> None:
        self.team = team

    def start(self, number: int, seed: int) -> None:
        self.number = number
        engine_seed = record_seed(seed, number)
        self.rng = np.random.default_rng((engine_seed, 3))
        self.seen = [self.team.reset(engine_seed)]
        self.total = 0.0

    def step(self, actions: np.ndarray) -> bool:
        """Whether the episode is over."""
        obs, rewards, terminated, truncated, _ = self.team.step(actions)
        self.seen.append(obs)
        self.total += float(rewards.mean())
        return terminated or truncated

    def episode(self) -> envs.Obs:
        return {key: np.stack([obs[key] for obs in self.seen]) for key in self.seen[0]}


def play(
    seats: Sequence[Player], env: envs.EnvConfig, episodes: range, *, seed: int, num_envs: int
) -> Iterator[tuple[int, envs.Obs, float]]:
    """Plays episodes and yields each as it ends: number, observations [T + 1, ...], return (mean over agents).

    Args: seats: episode n is played by number n modulo their count; env: what `playing_env` returned.
    """
    numbers = deque(episodes)
    slots = [_Slot(envs.make_team(env)) for _ in range(min(num_envs, len(numbers)))]
    try:
        for seat in seats:
            seat.fit(slots[0].team.spec)
        for slot in slots:
            slot.start(numbers.popleft(), seed)
        playing = list(slots)
        while playing:
            for slot, actions in _actions(seats, playing):
                if not slot.step(actions):
                    continue
                yield slot.number, slot.episode(), slot.total
                if numbers:
                    slot.start(numbers.popleft(), seed)
                else:
                    playing.remove(slot)
    finally:
        for slot in slots:
            slot.team.close()


def _actions(seats: Sequence[Player], slots: Sequence[_Slot]) -> list[tuple[_Slot, np.ndarray]]:
    """Everybody's actions [A]: each player decides for all of its games at once."""
    chosen = []
    for index, player in enumerate(seats):
        games = [slot for slot in slots if slot.number % len(seats) == index]
        if games:
            obs = {key: np.stack([game.seen[-1][key] for game in games]) for key in games[0].seen[-1]}
            chosen += zip(games, player.act(obs, [game.rng for game in games]), strict=True)
    return chosen
