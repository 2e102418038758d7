"""Google Research Football as a `TeamEnv`, on the engine itself. Source: Kurach et al. 2020 (gfootball 2.10.2)."""

from typing import Any

import numpy as np

from envs.football.actions import ACTION_NAMES, BUILTIN_AI
from envs.football.config import FootballConfig
from envs.football.drawing import draw_pitch
from envs.football.engine import episode_seed
from envs.football.frame import FIELD_HALF_WIDTH, STEP_SCALE, Frame
from envs.football.match import Match
from envs.football.observation import Observer
from envs.football.pool import ResetPool
from envs.football.rewards import Checkpoints
from envs.football.statistics import NAMES, Statistics
from envs.team import OWN_SEEDS, Obs, TeamSpec, check_actions

_GOALS = ("goals_for", "goals_against", "goal_difference", "scored", "conceded")
METRICS = (*_GOALS, *NAMES)


class FootballTeamEnv:
    """One football match as a team environment (see `envs.team.TeamEnv`).

    With `opponents` > 0 the caller plays the right team too: `observe_opponents` gives what it sees, turned round so
    that it plays from left to right as well, `opponent_spec` fixes its arrays, and `step` needs its actions. Its reward
    is minus that of the team. Every teammate earns the same reward.

    Several environments may live in one process (they do not disturb each other), stepped from one thread.
    """

    def __init__(self, config: FootballConfig) -> None:
        assert config.players is not None
        self.config = config
        self._match: Match | None = Match(config.level, config.players, config.opponents, config.opponent_difficulty)
        own, other = self._match.num_own, self._match.num_other
        max_steps = self._match.duration + 1  # the engine counts from -1
        settings = {"max_steps": max_steps, "stack": config.stack}
        self._observer = Observer(config.view, config.players, own, other, **settings)
        self.spec = self._describe(self._observer, config.players, max_steps, config.opponents)
        self._other_observer: Observer | None = None
        self.opponent_spec: TeamSpec | None = None
        if config.opponents:
            self._other_observer = Observer(config.view, config.opponents, other, own, **settings)
            self.opponent_spec = self._describe(self._other_observer, config.opponents, max_steps, 0)
        self._checkpoints = Checkpoints()
        self.statistics = Statistics()
        self._pool = ResetPool(config.reset_pool) if config.reset_pool else None
        self._rng = np.random.default_rng()
        self._playing = False
        self._rings_pay = "checkpoints" in config.rewards
        self._nothing = np.zeros(config.players, np.float32)

    def _describe(self, observer: Observer, agents: int, max_steps: int, opponents: int) -> TeamSpec:
        return TeamSpec(
            env=f"football/{self.config.level}",
            view=self.config.view,
            num_agents=agents,
            action_names=(*ACTION_NAMES, BUILTIN_AI) if self.config.builtin_ai else ACTION_NAMES,
            spaces=observer.boxes,
            entity_kinds=observer.entity_kinds,
            step_scale=STEP_SCALE,
            max_steps=max_steps,
            metrics=METRICS,
            num_opponents=opponents,
            meta={"field_half_width": FIELD_HALF_WIDTH, "step_s": 0.1},
        )

    def reset(self, seed: int | None = None, out: Obs | None = None) -> Obs:
        """Starts an episode (see `TeamEnv.reset`). Only resets without a seed may come from the pool."""
        match = self.match
        if seed is not None:
            match.reset(episode_seed(seed))
            self._rng = np.random.default_rng(seed)
            if self._pool is not None:
                self._pool.clear()
        elif self._pool is not None:
            self._pool.reset(match, self._rng)
        else:
            match.reset(episode_seed(int(self._rng.integers(OWN_SEEDS))))
        self._checkpoints.collected = 0
        self.statistics.start()
        self._playing = True
        return self._observe(match, out, first=True)

    def step(
        self, actions: np.ndarray, out: Obs | None = None, opponent_actions: np.ndarray | None = None
    ) -> tuple[Obs, np.ndarray, bool, bool, dict[str, Any]]:
        """Plays a step (see `TeamEnv.step`). opponent_actions: int [opponents], needed if and only if there are any."""
        chosen = _as_list(actions, self.spec)
        others = self._check_opponents(opponent_actions)
        match = self.match
        if not self._playing:
            raise RuntimeError(f"{self.spec.env} is not in an episode; call reset first")
        goals, terminated = match.step(chosen, others)
        frame = match.moment()
        self.statistics.step(frame)
        reward = float(goals)
        if self._rings_pay:
            reward += self._checkpoints.reward(frame, goals)
        truncated = not terminated and frame.step >= match.duration
        self._playing = not (terminated or truncated)
        info = {} if self._playing else {"episode": _goals(frame) | self.statistics.numbers()}
        rewards = self._nothing + reward if reward else self._nothing.copy()
        return self._observe(match, out), rewards, terminated, truncated, info

    def _observe(self, match: Match, out: Obs | None, *, first: bool = False) -> Obs:
        """The left team's observation of a new moment; keeps the right team's moment for `observe_opponents`."""
        frame = match.moment()
        self._observer.advance(frame, first=first)
        if self._other_observer is not None:
            self._other_frame = match.other_moment()
            self._other_observer.advance(self._other_frame, first=first)
        return self._observer.write(frame, match.sticky, out)

    def _check_opponents(self, actions: np.ndarray | None) -> list[int]:
        if self.opponent_spec is None:
            if actions is not None:
                raise ValueError(f"opponent_actions given, but {self.spec.env} has opponents=0; allowed: None")
            return []
        if actions is None:
            raise ValueError(
                f"opponent_actions missing; {self.spec.env} needs {self.spec.num_opponents} integers, one per opponent"
            )
        return _as_list(actions, self.opponent_spec)

    def observe_opponents(self, out: Obs | None = None) -> Obs:
        """What the right team sees now, as if it played from left to right; `opponent_spec` fixes the arrays."""
        match = self.match
        if self._other_observer is None or self.opponent_spec is None:
            raise ValueError(
                f"{self.spec.env} has opponents=0, so the engine plays the right team; allowed: opponents > 0"
            )
        match.moment()
        return self._other_observer.write(self._other_frame, match.other_sticky, out)

    def snapshot(self) -> bytes:
        """The present moment of the game, 40 to 110 kB. Not part of it: the sequence of seeds of later resets."""
        extra = {
            "playing": self._playing,
            "collected": self._checkpoints.collected,
            "statistics": self.statistics.memory(),
            "view": [self.config.view, self.config.stack],
            "memory": self._observer.memory(),
            "other_memory": self._other_observer.memory() if self._other_observer is not None else [],
        }
        return self.match.snapshot(extra)

    def restore(self, snapshot: bytes) -> Obs:
        """Goes back to a moment, from where the game goes on bit by bit as it did, and returns its observation.

        Any environment of the same level, players, opponents and opponent_difficulty will do; one with another view
        begins its stack of frames here. Raises: ValueError if the bytes do not fit.
        """
        match = self.match
        extra = match.restore(snapshot)
        self._playing, self._checkpoints.collected = extra["playing"], extra["collected"]
        self.statistics.remember(extra["statistics"])
        obs = self._observe(match, None, first=True)
        if extra["view"] != [self.config.view, self.config.stack]:
            return obs
        self._observer.remember(extra["memory"])
        if self._other_observer is not None:
            self._other_observer.remember(extra["other_memory"])
        return self._observer.write(match.moment(), match.sticky, obs)

    def draw(self, attention: np.ndarray | None = None) -> np.ndarray:
        """The pitch from above, uint8 [420, 640, 3]. attention: [A, A] weights, drawn as lines between the players."""
        return draw_pitch(self.match.moment(), level=self.config.level, attention=attention)

    @property
    def match(self) -> Match:
        """The game underneath. Raises RuntimeError after `close`."""
        if self._match is None:
            raise RuntimeError(f"{self.spec.env} is closed; make a new one")
        return self._match

    def close(self) -> None:
        """Gives the engine back. Calling it twice is fine."""
        if self._match is not None:
            self._match.close()
            self._match = None
        self._playing = False


def _goals(frame: Frame) -> dict[str, float]:
    """The numbers of _GOALS for an episode that ends with `frame`."""
    goals_for, goals_against = float(frame.goals_for), float(frame.goals_against)
    values = (goals_for, goals_against, goals_for - goals_against, float(goals_for > 0), float(goals_against > 0))
    return dict(zip(_GOALS, values, strict=True))


def _as_list(actions: np.ndarray, spec: TeamSpec) -> list[int]:
    """Checked actions. What is right is seen in plain Python, which is quicker; what is not gets the full answer."""
    chosen: Any = actions.tolist() if isinstance(actions, np.ndarray) else None
    integers = isinstance(chosen, list) and len(chosen) == spec.num_agents and type(chosen[0]) is int
    if integers and min(chosen) >= 0 and max(chosen) < len(spec.action_names):
        return chosen
    return check_actions(actions, spec).tolist()
