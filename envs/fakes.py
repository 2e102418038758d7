"""Teams without a game engine: noise for any spec, and a tiny real game that needs teammates to talk.

`FakeTeamEnv` returns random but reproducible observations for a given spec: enough to run a net, a runner or a learner.
`MeetEnv` (made by `meet`) can be learnt in seconds, and only by agents that exchange what they see.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from envs.team import Obs, TeamSpec, check_actions

_BOOL: Any = np.bool_
"""Gymnasium's Box takes bool, its annotation does not."""
_CELL = 32
"""Side of a cell in drawings [px]."""
_COLOURS = np.array([(86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (240, 228, 66)])


def make_spec(
    view: gym.spaces.Box,
    *,
    name: str = "features",
    players: int = 3,
    others: tuple[str, ...] = (),
    shared: gym.spaces.Box | None = None,
    actions: int = 5,
    steps: int = 20,
    vocab: int | None = None,
    opponents: int = 0,
) -> TeamSpec:
    """A spec of an invented environment.

    Args: view: [A, ...]; name: of the view; others: kinds of the entities after the teammates ("opponent", "ball");
    shared: the space of the `shared` array, if any; opponents: controlled by the caller too.
    Raises: ValueError if the view is not one for `players` agents, or the sides differ in number.
    """
    if view.shape[:1] != (players,):
        raise ValueError(f"view has shape {view.shape}; its first axis must be the {players} players")
    if opponents not in (0, players):
        raise ValueError(f"opponents {opponents} does not fit a team of {players}; allowed: 0 or {players}")
    kinds = ("teammate",) * players + others
    spaces = {"view": view} if shared is None else {"view": view, "shared": shared}
    return TeamSpec(
        env="fake/" + name,
        view=name,
        num_agents=players,
        action_names=tuple(f"action_{i}" for i in range(actions)),
        spaces=spaces | _common_spaces(players, len(kinds)),
        entity_kinds=kinds,
        step_scale=(0.1, 0.1),
        max_steps=steps,
        view_vocab=vocab,
        metrics=("team_return",),
        num_opponents=opponents,
    )


def _common_spaces(players: int, entities: int) -> dict[str, gym.spaces.Box]:
    return {
        "mask": gym.spaces.Box(0, 1, (players,), _BOOL),
        "who": gym.spaces.Box(-1, entities - 1, (players,), np.int16),
        "positions": gym.spaces.Box(-1, 1, (entities, 2), np.float32),
        "entity_mask": gym.spaces.Box(0, 1, (entities,), _BOOL),
    }


def _random_in(box: gym.spaces.Box, rng: np.random.Generator) -> np.ndarray:
    """Noise inside `box`: uniform where it is bounded, normal where it is not."""
    if np.dtype(box.dtype).kind in "iub":
        return rng.integers(box.low.astype(np.int64), box.high.astype(np.int64) + 1)
    if box.is_bounded():
        return rng.uniform(box.low, box.high)
    return np.clip(rng.standard_normal(box.shape), box.low, box.high)


class FakeTeamEnv:
    """Noise shaped like `spec`. See `envs.team.TeamEnv`.

    Tracked entities drift by up to `spec.step_scale` a step; an agent's reward is 1 where its action is 0.
    Args: absent: chance that an agent (or an entity) is absent at a step; ends: chance that a step terminates.
    """

    def __init__(self, spec: TeamSpec, *, absent: float = 0.0, ends: float = 0.0) -> None:
        self.spec = spec
        self._absent = absent
        self._ends = ends
        self._seeds = np.random.default_rng()
        self._rng = np.random.default_rng()
        self._places = np.zeros((spec.num_entities, 2))
        self._step: int | None = None
        self._return = 0.0
        self._opponents_seed = 0

    def reset(self, seed: int | None = None, out: Obs | None = None) -> Obs:
        """See `TeamEnv.reset`."""
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._rng = np.random.default_rng(int(self._seeds.integers(2**31)))
        self._places = self._rng.uniform(-1, 1, self._places.shape)
        self._step = 0
        self._return = 0.0
        return self._observe(out)

    def step(
        self, actions: np.ndarray, out: Obs | None = None, opponent_actions: np.ndarray | None = None
    ) -> tuple[Obs, np.ndarray, bool, bool, dict[str, Any]]:
        """See `TeamEnv.step`; `opponent_actions` [O] where the spec has opponents."""
        if self._step is None:
            raise RuntimeError(f"{self.spec.env} is not in an episode; call reset() first")
        rewards = (check_actions(actions, self.spec) == 0).astype(np.float32)
        theirs = () if opponent_actions is None else opponent_actions
        if np.shape(theirs) != (self.spec.num_opponents,):
            raise ValueError(f"opponent_actions must be {self.spec.num_opponents} integers; got {opponent_actions}")
        self._step += 1
        self._return += float(rewards.sum())
        drift = self._rng.uniform(-1, 1, self._places.shape) * self.spec.step_scale
        self._places = np.clip(self._places + drift, -1, 1)
        terminated = bool(self._rng.random() < self._ends)
        truncated = not terminated and self._step >= self.spec.max_steps
        obs = self._observe(out)
        if not (terminated or truncated):
            return obs, rewards, False, False, {}
        self._step = None
        return obs, rewards, terminated, truncated, {"episode": dict.fromkeys(self.spec.metrics, self._return)}

    def observe_opponents(self) -> Obs:
        """What the opponents see: noise of the same shapes, for `spec.num_opponents` agents."""
        rng = np.random.default_rng(self._opponents_seed)
        obs = {key: _random_in(box, rng).astype(box.dtype) for key, box in self.spec.spaces.items()}
        return obs | {"mask": np.ones_like(obs["mask"]), "who": np.arange(self.spec.num_agents, dtype=np.int16)}

    def draw(self, attention: np.ndarray | None = None) -> np.ndarray:
        """The tracked entities as dots, uint8 [H, W, 3]; attention is not drawn."""
        side = 8 * _CELL
        canvas = np.zeros((side, side, 3), np.uint8)
        for entity, (x, y) in enumerate((self._places * 0.5 + 0.5) * (side - 8)):
            canvas[int(y) : int(y) + 8, int(x) : int(x) + 8] = _COLOURS[entity % len(_COLOURS)]
        return canvas

    def close(self) -> None:
        """See `TeamEnv.close`."""
        self._step = None

    def _observe(self, out: Obs | None) -> Obs:
        spec, rng = self.spec, self._rng
        out = spec.empty() if out is None else out
        self._opponents_seed = int(rng.integers(2**31))
        there = rng.random(spec.num_entities) >= self._absent
        mask = there[: spec.num_agents]
        for key in ("view", "shared"):
            if key in spec.spaces:
                out[key][...] = _random_in(spec.spaces[key], rng)
        out["mask"][...] = mask
        out["who"][...] = np.where(mask, np.arange(spec.num_agents), -1)
        out["positions"][...] = np.where(there[:, None], self._places, 0)
        out["entity_mask"][...] = there
        return out


def meet(players: int = 3, *, side: int = 5, steps: int = 20, absent: float = 0.0) -> "MeetEnv":
    """The meeting game. players: 2 and more; side: of the grid [cells]; absent: chance that a player who knows nothing
    sits out half an episode. Raises: ValueError for a value out of range."""
    if players < 2:
        raise ValueError(f"meet cannot have {players} players; allowed: 2 and more")
    if side < 2 or steps < 1 or not 0 <= absent <= 1:
        raise ValueError(
            f"side {side}, steps {steps}, absent {absent}: allowed are side >= 2, steps >= 1, 0 <= absent <= 1"
        )
    return MeetEnv(players, side, steps, absent)


class MeetEnv:
    """Meet at a hidden cell of a small grid: player 0 knows its column, player 1 its row, the others neither.

    Reward of a player: how much nearer it came (in units of the longest distance), and 1 when all present players are
    on the cell, which ends the episode. A player that is told nothing by its teammates cannot find the cell.
    View, float32 [A, 4 side + A]: one-hot own column, own row, target column (player 0 only), target row (player 1
    only), and player number.
    """

    _MOVES = np.array([(0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)])

    def __init__(self, players: int, side: int, steps: int, absent: float) -> None:
        self._side = side
        self._absent = absent
        self.spec = TeamSpec(
            env="fake/meet",
            view="features",
            num_agents=players,
            action_names=("stay", "up", "down", "left", "right"),
            spaces={
                "view": gym.spaces.Box(0, 1, (players, 4 * side + players), np.float32),
                **_common_spaces(players, players),
            },
            entity_kinds=("teammate",) * players,
            step_scale=(2 / (side - 1), 2 / (side - 1)),
            max_steps=steps,
            metrics=("per_capita_return", "met"),
        )
        self._seeds = np.random.default_rng()
        self._rng = np.random.default_rng()
        self._cells = np.zeros((players, 2), np.int64)
        self._target = np.zeros(2, np.int64)
        self._present = np.ones(players, bool)
        self._return = 0.0
        self._step: int | None = None

    def reset(self, seed: int | None = None, out: Obs | None = None) -> Obs:
        """See `TeamEnv.reset`."""
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._rng = np.random.default_rng(int(self._seeds.integers(2**31)))
        self._target = self._rng.integers(0, self._side, 2)
        self._call_up()  # before the loop, which must not ask who was present in the episode before
        self._cells = self._rng.integers(0, self._side, self._cells.shape)
        while self._all_met():
            self._cells = self._rng.integers(0, self._side, self._cells.shape)
        self._step = 0
        self._return = 0.0
        return self._observe(out)

    def step(self, actions: np.ndarray, out: Obs | None = None) -> tuple[Obs, np.ndarray, bool, bool, dict[str, Any]]:
        """See `TeamEnv.step`."""
        if self._step is None:
            raise RuntimeError(f"{self.spec.env} is not in an episode; call reset() first")
        moves = self._MOVES[check_actions(actions, self.spec)] * self._present[:, None]
        before = self._distances()
        self._cells = np.clip(self._cells + moves, 0, self._side - 1)
        terminated = self._all_met()
        rewards = (before - self._distances()) / (2 * (self._side - 1)) + terminated
        rewards = np.where(self._present, rewards, 0).astype(np.float32)
        self._return += float(rewards.sum()) / self.spec.num_agents
        self._step += 1
        truncated = not terminated and self._step >= self.spec.max_steps
        if self._step == self.spec.max_steps // 2 and not terminated:
            self._call_up()
        obs = self._observe(out)
        if not (terminated or truncated):
            return obs, rewards, False, False, {}
        self._step = None
        info = {"episode": {"per_capita_return": self._return, "met": float(terminated)}}
        return obs, rewards, terminated, truncated, info

    def draw(self, attention: np.ndarray | None = None) -> np.ndarray:
        """The grid: target white, players coloured, uint8 [H, W, 3]; attention is not drawn."""
        cells = np.full((self._side, self._side, 3), 40, np.uint8)
        cells[self._target[1], self._target[0]] = 255
        canvas = cells.repeat(_CELL, 0).repeat(_CELL, 1)
        for player in np.flatnonzero(self._present):
            inset = 2 + 3 * (player % 4)  # players on one cell stay visible
            left, top = self._cells[player] * _CELL
            square = canvas[top + inset : top + _CELL - inset, left + inset : left + _CELL - inset]
            square[...] = _COLOURS[player % len(_COLOURS)]
        return canvas

    def close(self) -> None:
        """See `TeamEnv.close`."""
        self._step = None

    def _call_up(self) -> None:
        """Draws who is present; the two who know something always are."""
        self._present = self._rng.random(self.spec.num_agents) >= self._absent
        self._present[:2] = True

    def _distances(self) -> np.ndarray:
        return np.abs(self._cells - self._target).sum(1)

    def _all_met(self) -> bool:
        return not self._distances()[self._present].any()

    def _observe(self, out: Obs | None) -> Obs:
        out = self.spec.empty() if out is None else out
        side, players = self._side, self.spec.num_agents
        rows = np.arange(players)
        view = out["view"]
        view[...] = 0
        view[rows, self._cells[:, 0]] = 1
        view[rows, side + self._cells[:, 1]] = 1
        view[0, 2 * side + self._target[0]] = 1
        view[1, 3 * side + self._target[1]] = 1
        view[rows, 4 * side + rows] = 1
        view[~self._present] = 0
        out["mask"][...] = self._present
        out["who"][...] = np.where(self._present, rows, -1)
        places = self._cells * (2 / (side - 1)) - 1
        out["positions"][...] = np.where(self._present[:, None], places, 0)
        out["entity_mask"][...] = self._present
        return out
