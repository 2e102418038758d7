"""A game played under gfootball's rules, without its wrappers: who acts, when it ends, what counts as a goal.

The rules are those of gfootball 2.10.2's FootballEnv (a test plays both side by side): a game that waits for a restart
goes on by itself after 20 steps, and a level may end on a goal, when the ball leaves play, or when it changes teams.
"""

import json
import zlib
from typing import Any

import numpy as np

from envs.football import engine as engines
from envs.football.actions import (
    ACTION_NAMES,
    BUILTIN_AI,
    IDLE,
    LEFT,
    NUM_STICKY,
    RIGHT,
    SHORT_PASS,
    mirrored,
    update_sticky,
)
from envs.football.frame import Frame, from_other_side, new_frame
from envs.football.memory import Read, reader

_CODES = [int(getattr(engines.libgame.e_BackendAction, name)) for name in (*ACTION_NAMES, BUILTIN_AI)]
_MIRRORED_CODES = [_CODES[mirrored(action)] for action in range(len(_CODES))]
_NORMAL = 0
_HOLD = 20
"""Steps of waiting after which the game restarts by itself."""
_RNG_AT, _RNG_KEY, _RNG_BYTES = 12, 624, 2512
"""The engine's Mersenne Twister in its state: behind the user's text (empty), its state and its waiting counter."""


class Match:
    """One engine that plays one level. Agents of either side give actions as their own team sees the pitch."""

    def __init__(self, name: str, left: int, right: int, difficulty: float | None = None) -> None:
        self.identity = [name, left, right, difficulty]
        self.engine: Any = engines.take()
        self.frame: Frame | None = None
        config = engines.scenario(*self._setup(engines.episode_seed(0)))
        self.duration: int = config.game_duration
        self.num_own, self.num_other = len(config.left_team), len(config.right_team)
        self.sticky = [0.0] * (left * NUM_STICKY)
        self.other_sticky = [0.0] * (right * NUM_STICKY)
        self._reverse = False
        self._ends: tuple[bool, bool, bool] = (False, False, False)
        self._waiting = self._goal_difference = 0
        self._last_mode = self._last_owner_side = -1

    def _setup(self, episode: engines.EpisodeSeed) -> tuple[Any, ...]:
        name, left, right, difficulty = self.identity
        return name, left, right, episode, difficulty

    def reset(self, episode: engines.EpisodeSeed) -> Frame:
        """Starts a game."""
        config = engines.scenario(*self._setup(episode))
        self.engine.reset(config, False)
        self._reverse = episode.reverse
        self._ends = (
            config.end_episode_on_score,
            config.end_episode_on_out_of_play,
            config.end_episode_on_possession_change,
        )
        self.sticky = [0.0] * len(self.sticky)
        self.other_sticky = [0.0] * len(self.other_sticky)
        self._waiting = self._goal_difference = 0
        self._last_mode = self._last_owner_side = -1
        info = self.engine.get_info()
        while not info.is_in_play:
            self.engine.step()
            info = self.engine.get_info()
        _, left, right, _ = self.identity
        self.frame = new_frame(info, left, right)
        self._read: Read = reader(info, self.frame)
        return self.frame

    def step(self, actions: list[int], other_actions: list[int]) -> tuple[int, bool]:
        """Plays a step. Returns the change of the goal difference and whether a rule ended the game (time apart)."""
        frame, engine = self.moment(), self.engine
        if self._waiting >= _HOLD:
            actions = self._forced(actions, frame.controlled, frame.owner)
            other_owner = frame.owner - frame.num_own if frame.owner_side == 1 else -1
            other_actions = self._forced(other_actions, frame.other_controlled, other_owner)
        perform = engine.perform_action
        for agent, action in enumerate(actions):
            perform(_CODES[action], True, agent)
        update_sticky(self.sticky, actions)
        if other_actions:
            for agent, action in enumerate(other_actions):
                perform(_MIRRORED_CODES[action], False, agent)
            update_sticky(self.other_sticky, other_actions)
        engine.step()
        info = engine.get_info()
        while not info.is_in_play:
            engine.step()
            info = engine.get_info()
        self._read(info, frame)
        return self._judge(frame)

    def _forced(self, actions: list[int], controlled: list[int], owner: int) -> list[int]:
        """What agents do who let the game wait: pass at once, later walk off the ball, forwards and then back."""
        if self._waiting == _HOLD:
            return [SHORT_PASS] * len(actions)
        walk = RIGHT if self._waiting < _HOLD + 10 else LEFT
        return [walk if 0 <= player == owner else IDLE for player in controlled]

    def _judge(self, frame: Frame) -> tuple[int, bool]:
        on_score, on_out_of_play, on_possession = self._ends
        over = on_score and (frame.goals_for > 0 or frame.goals_against > 0)
        over = over or (on_out_of_play and frame.mode != _NORMAL and self._last_mode == _NORMAL)
        side = frame.owner_side
        if side >= 0:
            over = over or (on_possession and self._last_owner_side not in (-1, side))
            self._last_owner_side = side
        self._last_mode = frame.mode
        self._waiting = self._waiting + 1 if frame.mode != _NORMAL else 0
        difference = frame.goals_for - frame.goals_against
        change, self._goal_difference = difference - self._goal_difference, difference
        return change, over

    def moment(self) -> Frame:
        """The present moment. Raises RuntimeError before the first reset."""
        if self.frame is None:
            raise RuntimeError(f"football/{self.identity[0]} has not begun; call reset first")
        return self.frame

    def other_moment(self) -> Frame:
        """The present moment as the right team sees it."""
        return from_other_side(self.moment())

    def snapshot(self, extra: dict[str, Any]) -> bytes:
        """The whole game and `extra` (JSON); any match of this level and set-up goes on from it bit by bit."""
        state = self.engine.get_state(b"")
        head = {
            "identity": self.identity,
            "reverse": self._reverse,
            "ends": self._ends,
            "counters": [self._waiting, self._goal_difference, self._last_mode, self._last_owner_side],
            "sticky": self.sticky,
            "other_sticky": self.other_sticky,
            "checksum": zlib.crc32(state),
            "extra": extra,
        }
        return json.dumps(head).encode() + b"\n" + state

    def restore(self, snapshot: bytes, reseed: int | None = None) -> dict[str, Any]:
        """Goes back to a snapshot and returns its `extra`. With `reseed` chance takes another course from there on.

        Raises: ValueError if the bytes are no snapshot of this level and set-up (the engine would end the process).
        """
        head, state = _checked(snapshot, self.identity)
        self._prepare(head["reverse"])
        self.engine.set_state(state if reseed is None else _reseeded(state, reseed))
        self._ends = tuple(head["ends"])
        self._waiting, self._goal_difference, self._last_mode, self._last_owner_side = head["counters"]
        self.sticky, self.other_sticky = head["sticky"], head["other_sticky"]
        _, left, right, _ = self.identity
        self.frame = new_frame(self.engine.get_info(), left, right)
        return head["extra"]

    def _prepare(self, reverse: bool) -> None:
        """Makes the engine fit to take a state. Measured: games from a state differ now and then (5 of 16) from the
        original unless the engine was reset with the same order of the teams and has played a step since."""
        if self.frame is None or self._reverse != reverse:
            self.reset(engines.EpisodeSeed(0, False, reverse))
        if self.moment().step < 0:
            _, left, right, _ = self.identity
            self.step([IDLE] * left, [IDLE] * right)

    def close(self) -> None:
        """Gives the engine back. Calling it twice is fine."""
        if self.engine is not None:
            engines.give_back(self.engine)
            self.engine = self.frame = None


def _checked(snapshot: bytes, identity: list[Any]) -> tuple[dict[str, Any], bytes]:
    line, _, state = snapshot.partition(b"\n")
    try:
        head = json.loads(line)
        sound = head["checksum"] == zlib.crc32(state)
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ValueError(
            f"{len(snapshot)} bytes are no football snapshot; allowed: what snapshot() returned, unchanged"
        )
    if head["identity"] != identity:
        raise ValueError(
            f"a snapshot of {head['identity']} does not fit; allowed: one of {identity} "
            "(level, players, opponents, opponent_difficulty)"
        )
    return head, state


def _reseeded(state: bytes, seed: int) -> bytes:
    """`state` with the engine's generator as if freshly seeded. NumPy's RandomState seeds a Mersenne Twister alike."""
    end = _RNG_AT + _RNG_BYTES
    if state[:4] != bytes(4) or np.frombuffer(state[end - 8 : end], np.float32).tolist() != [0.0, 1.0]:
        raise RuntimeError("the engine's state is not laid out as in gfootball 2.10.2, so it cannot be reseeded")
    _, key, *_ = np.random.RandomState(seed).get_state(legacy=True)
    generator = np.asarray(key, np.uint32).tobytes() + np.uint64(_RNG_KEY).tobytes()
    return state[:_RNG_AT] + generator + state[end - 8 :]
