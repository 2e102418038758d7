"""A DMLab2D level as a TeamEnv, straight on the engine.

Traps met here:
- The engine calls its time limit a termination. We give it one step more than we use, so whatever it ends is a real
  end (a duel, a solved box room, a caught player) and the time limit is ours: a truncation.
- running_with_scissors pays a duel one step before it ends the episode, in rewards that sum to 0.
- `WORLD.PLAYER_FINE_COUNT` of clean_up is never written. The engine pays hits in binary fractions instead (see
  `scoring`), so one number tells apples, hits made and hits taken apart.
- Reading an observation costs 2 to 3 us, so only what can have changed is read: rewards when their sum is not 0,
  positions of agents whose action moves them (nothing else moves an avatar), cleaned cells of agents that cleaned.
"""

from typing import Any

import dmlab2d
import numpy as np
from dmlab2d import runfiles_helper

from envs.lab2d.config import Lab2dConfig
from envs.lab2d.drawing import draw_world
from envs.lab2d.scoring import Scoreboard, engine_settings
from envs.lab2d.spec import action_table, team_spec
from envs.team import Obs, check_actions

_INT31 = 2**31 - 1
_RUNNING = int(dmlab2d.RUNNING)  # comparing the engine's enum itself costs 1 us a step


class Lab2dTeamEnv:
    """See `envs.team.TeamEnv`. Built by `Lab2dConfig.build`."""

    def __init__(self, config: Lab2dConfig) -> None:
        self.config = config
        self.spec = team_spec(config)
        level, players = config.facts, config.num_players
        self._engine: Any = dmlab2d.Lab2d(runfiles_helper.find(), engine_settings(config))
        self._table = action_table(config)
        names = self.spec.action_names
        moves = ("forward", "back", "left", "right") if level.tracked else ()
        # The single player of chase_eat moves on by itself: look every step.
        self._moves = set(range(len(names))) if level.solo else {names.index(name) for name in moves}
        self._cleans = {names.index(name) for name in ("clean",) if name in names}
        name = "LAYER" if config.view == "layer" else "RGB"
        self._view_names = ["WORLD." + name] if level.solo else [f"{i + 1}.{name}" for i in range(players)]
        self._position_names = [f"{i + 1}.POSITION" for i in range(players)]
        self._scores = Scoreboard(config)
        self._solo = level.solo
        self._may_cancel = not (level.option or level.solo)
        """Rewards of several agents may sum to 0 (a duel's do)."""
        self._cells = np.zeros((players, 2))
        """Cell (x, y) of each agent; y grows downwards."""
        self._mask = np.ones(players, bool)
        self._entity_mask = np.full(players, level.tracked)
        self._who = np.arange(players, dtype=np.int16)
        self._scale = self.spec.step_scale
        self._positions = np.zeros((players, 2), np.float32)
        self._seeds = np.random.default_rng()
        self._step = 0
        self._running = False

    def reset(self, seed: int | None = None, out: Obs | None = None) -> Obs:
        """See `TeamEnv.reset`. Raises RuntimeError after `close`, ValueError for a negative seed."""
        if self._engine is None:
            raise RuntimeError(f"{self.spec.env} is closed; make a new one")
        if seed is not None:
            if seed < 0:
                raise ValueError(f"seed {seed} is negative; allowed: 0 and more")
            self._seeds = np.random.default_rng(seed)
        self._engine.start(0, int(self._seeds.integers(_INT31)))
        self._scores.start()
        self._step = 0
        self._running = True
        self._check_ids()
        for agent in range(self.spec.num_agents if self.config.facts.tracked else 0):
            self._locate(agent)
        return self._observe(out)

    def step(self, actions: np.ndarray, out: Obs | None = None) -> tuple[Obs, np.ndarray, bool, bool, dict[str, Any]]:
        """See `TeamEnv.step`."""
        if not self._running:
            raise RuntimeError(f"{self.spec.env} is not in an episode; call reset() first")
        actions = check_actions(actions, self.spec)
        engine = self._engine
        engine.act_discrete(self._table[actions].ravel())
        status, total = engine.advance()
        self._step += 1
        terminated = int(status) != _RUNNING
        truncated = not terminated and self._step >= self.spec.max_steps
        self._running = not (terminated or truncated)
        if total != 0 or self._may_cancel:
            rewards = self._scores.read(engine, self._step, total)
            if self.config.team_reward:
                rewards[:] = rewards.sum()
        else:
            rewards = np.zeros(self.spec.num_agents, np.float32)
        for agent, action in enumerate(actions.tolist()):
            if action in self._moves:
                self._locate(agent)
            elif action in self._cleans:
                bonus = self.config.clean_bonus * self._scores.count_cleaned(engine, agent)
                rewards[slice(None) if self.config.team_reward else agent] += bonus
        obs = self._observe(out)
        info: dict[str, Any] = {}
        if not self._running:
            self._check_ids()
            info["episode"] = self._scores.episode(self._step, terminated)
        return obs, rewards, terminated, truncated, info

    def draw(self, attention: np.ndarray | None = None) -> np.ndarray:
        """The whole map with step and returns, uint8 [H, W, 3].

        attention: [A, A], how much agent i (row) looks at agent j; drawn as lines where positions are known.
        """
        if self._engine is None or (self._step == 0 and not self._running):
            raise RuntimeError(f"{self.spec.env} has nothing to draw; call reset() first")
        cells = self._cells if self.config.facts.tracked else None
        caption = f"{self.config.level}  step {self._step}/{self.spec.max_steps}  {self._scores.caption()}"
        return draw_world(self._engine.observation("WORLD.RGB"), self.config.facts.map_size, caption, cells, attention)

    def close(self) -> None:
        """See `TeamEnv.close`."""
        self._engine = None
        self._running = False

    def _observe(self, out: Obs | None) -> Obs:
        out = self.spec.empty() if out is None else out
        view, observation = out["view"], self._engine.observation
        for agent, name in enumerate(self._view_names):
            view[agent] = observation(name)
        out["mask"][...] = self._mask
        out["who"][...] = self._who
        out["positions"][...] = self._positions
        out["entity_mask"][...] = self._entity_mask
        return out

    def _check_ids(self) -> None:
        """The vocabulary is a fact about dmlab2d 1.0.2: a policy's embedding must not silently meet another one."""
        vocab = self.spec.view_vocab
        if vocab is None:
            return
        highest = max(int(self._engine.observation(name).max()) for name in self._view_names)
        if highest >= vocab:
            raise RuntimeError(f"{self.spec.env} shows id {highest}, beyond its {vocab} known ids; use dmlab2d 1.0.2")

    def _find_player(self) -> tuple[int, int]:
        layer, first = self.config.facts.player_id
        ids = self._engine.observation("WORLD.LAYER")[..., layer]
        row, column = divmod(int(np.argmax((ids >= first) & (ids < first + 4))), ids.shape[1])
        return column, row

    def _locate(self, agent: int) -> None:
        """Reads where `agent` is."""
        if self._solo:
            x, y = self._find_player()
        else:
            x, y = self._engine.observation(self._position_names[agent]).tolist()
        self._cells[agent] = x, y
        self._positions[agent] = x * self._scale[0] - 1, y * self._scale[1] - 1
