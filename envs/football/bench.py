"""How much of a step's time the C++ engine itself takes, for this adapter and for gfootball's FootballEnv."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time
from typing import Any

import numpy as np

from envs.football.config import FootballConfig

_TIMED = ("step", "get_info", "perform_action")
"""sticky_action_state, which FootballEnv calls ten times per agent, takes less time than the clock and is left out."""


class _TimedEngine:
    """An engine whose calls are timed; everything else goes to it unchanged."""

    def __init__(self, engine: Any) -> None:
        self.__dict__.update(engine=engine, seconds=0.0, calls=0)
        for name in _TIMED:
            self.__dict__[name] = self._timed(getattr(engine, name))

    def _timed(self, method: Any) -> Any:
        own = self.__dict__

        def call(*args: Any) -> Any:
            start = thread_time()
            result = method(*args)
            own["seconds"] += thread_time() - start
            own["calls"] += 1
            return result

        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["engine"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["engine"], name, value)


class _Nothing:
    """An engine that does nothing at once."""

    def step(self) -> None:
        """Does nothing."""

    get_info = perform_action = step


def _clock_cost_s(calls: int = 5000) -> float:
    """CPU time of a timed call that the call itself does not see: what timing adds to a step."""
    idle = _TimedEngine(_Nothing())
    start = thread_time()
    for _ in range(calls):
        idle.step()
    return (thread_time() - start - idle.seconds) / calls


@contextmanager
def _one_core() -> Iterator[None]:
    """Keeps this thread on one core: each move to another one costs a step its caches."""
    if not hasattr(os, "sched_setaffinity"):  # Linux only
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class _Ours:
    """This adapter with the view `features`."""

    def __init__(self, level: str, players: int, seed: int) -> None:
        self._env = FootballConfig(level=level, players=players).build()
        self.engine = self._env.match.engine = _TimedEngine(self._env.match.engine)
        self._out = self._env.spec.empty()  # written in place, as a rollout buffer is in training
        self._env.reset(seed)

    def reset(self) -> None:
        self._env.reset(out=self._out)

    def step(self, actions: np.ndarray) -> bool:
        _, _, terminated, truncated, _ = self._env.step(actions, self._out)
        return terminated or truncated

    def close(self) -> None:
        self._env.match.engine = self.engine.engine
        self._env.close()


class _FootballEnv:
    """gfootball's own environment, without its wrappers (raw observations)."""

    def __init__(self, level: str, players: int, seed: int) -> None:
        from gfootball.env import config, football_env

        values = {"level": level, "players": [f"agent:left_players={players}"], "game_engine_random_seed": seed}
        self._env = football_env.FootballEnv(config.Config(values))
        self._core = self._env._env
        self.engine = self._core._env = _TimedEngine(self._core._env)
        self._env.reset()

    def reset(self) -> None:
        self._env.reset()

    def step(self, actions: np.ndarray) -> bool:
        return self._env.step(actions.tolist())[2]

    def close(self) -> None:
        self._core._env = self.engine.engine
        self._env.close()


def engine_share(level: str, players: int, steps: int, seed: int, peer: bool = False) -> dict[str, float]:
    """Share of a step's CPU time that is spent inside the engine.

    Plays `steps` steps with uniformly random actions; resets are played but not counted. The CPU time of the calling
    thread, kept on one core, is taken around each step of the environment and, inside it, around the engine's `step`,
    `get_info` and `perform_action`; what reading the clock costs is taken off. Other work on the machine lowers the
    share by 0.01 to 0.02, since Python then finds its caches cold more often. With `peer` gfootball's FootballEnv is
    measured instead.

    Returns: share (0 to 1), ms_per_step, engine_ms_per_step, steps_per_s (all in CPU time) and episodes.
    """
    env: Any = (_FootballEnv if peer else _Ours)(level, players, seed)
    actions = np.random.default_rng(seed).integers(19, size=(steps, players))
    total, inside, calls, episodes = 0.0, 0.0, 0, 0
    engine = env.engine
    with _one_core():
        for action in actions:
            seconds, count = engine.seconds, engine.calls
            start = thread_time()
            done = env.step(action)
            total += thread_time() - start
            inside += engine.seconds - seconds
            calls += engine.calls - count
            if done:
                episodes += 1
                env.reset()
        total -= calls * _clock_cost_s()
    env.close()
    return {
        "share": inside / total,
        "ms_per_step": 1e3 * total / steps,
        "engine_ms_per_step": 1e3 * inside / steps,
        "steps_per_s": steps / total,
        "episodes": float(episodes),
    }
