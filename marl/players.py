"""Who can take a seat in a match, a recording or an evaluation: names for simple players, and trained policies.

    player = players.make("scripted")            # or "random", "idle", "builtin_ai", "runs/mine", an agents.Policy
    env = players.seat(env, player)              # the built-in AI needs an action of its own
    player.fit(team.spec)                        # ValueError where it cannot play this
    actions = player.act(obs, rngs)              # obs with leading axis [B], one generator per row

A player keeps nothing between steps, and draws row b's random numbers from rngs[b] only, so what it does in a game does
not depend on the games beside it. Axes: B games side by side, A agents.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

import agents
import envs
from agents.policy import gumbel

RANDOM, IDLE, SCRIPTED, BUILTIN_AI = "random", "idle", "scripted", "builtin_ai"
NAMES = (RANDOM, IDLE, SCRIPTED, BUILTIN_AI)
"""Players that need no folder."""


class Player(Protocol):
    """Plays one team, in any number of games at once."""

    name: str
    """What it was made from, for tables and records."""
    needs_builtin_ai: bool
    """Whether it needs football's action `builtin_ai` (see `seat`)."""

    def fit(self, spec: envs.TeamSpec) -> None:
        """Prepares for games of this spec. Raises ValueError in one sentence where it cannot play them."""
        ...

    def act(self, obs: envs.Obs, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Actions, int64 [B, A]. obs: arrays [B, ...]; rngs: B generators. `fit` comes first."""
        ...


class RandomPlayer:
    """Draws every action uniformly, the action `builtin_ai` apart: the engine's skill would be no chance."""

    name, needs_builtin_ai = RANDOM, False

    def fit(self, spec: envs.TeamSpec) -> None:
        self._num_actions = len([name for name in spec.action_names if name != BUILTIN_AI])

    def act(self, obs: envs.Obs, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        num_agents = obs["mask"].shape[1]
        return np.stack([rng.integers(self._num_actions, size=num_agents) for rng in rngs])


class IdlePlayer:
    """Does nothing: action 0 of every environment here."""

    name, needs_builtin_ai = IDLE, False

    def fit(self, spec: envs.TeamSpec) -> None:
        pass

    def act(self, obs: envs.Obs, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        return np.zeros(obs["mask"].shape, np.int64)


class BuiltinAiPlayer:
    """Leaves every player to the football engine."""

    name, needs_builtin_ai = BUILTIN_AI, True

    def fit(self, spec: envs.TeamSpec) -> None:
        if BUILTIN_AI not in spec.action_names:
            raise ValueError(f"the built-in AI plays football with the option builtin_ai=True, not {spec.env}")
        self._action = spec.action_names.index(BUILTIN_AI)

    def act(self, obs: envs.Obs, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        return np.full(obs["mask"].shape, self._action, np.int64)


class PolicyPlayer:
    """A trained policy; its actions are samples, or the likeliest ones if `deterministic`."""

    needs_builtin_ai = False

    def __init__(self, policy: agents.Policy, *, name: str = "policy", deterministic: bool = False) -> None:
        self.policy, self.name, self.deterministic = policy, name, deterministic

    def fit(self, spec: envs.TeamSpec) -> None:
        theirs, ours = agents.ObservationSpec.from_team(spec), self.policy.spec
        if spec.action_names[-1] == BUILTIN_AI and ours.num_actions == spec.num_actions - 1:
            theirs = replace(theirs, num_actions=ours.num_actions)  # the other actions are the same
        differences = ours.differences(theirs)
        if differences:
            raise ValueError(f"the policy does not fit {spec.env}: {differences[0]}")

    def act(self, obs: envs.Obs, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        logits = self.policy.output({key: obs[key] for key in self.policy.spec.shapes}).logits.float().cpu().numpy()
        if not self.deterministic:
            noise = np.stack([rng.random(logits.shape[1:], dtype=np.float32) for rng in rngs])
            logits = logits + gumbel(noise)
        return logits.argmax(-1)


def make(who: str | Path | agents.Policy, *, deterministic: bool = False) -> Player:
    """The player that `who` means: one of NAMES, a folder that `agents.load` understands, or a policy.

    Args: deterministic: policies play their likeliest actions instead of samples.
    Raises: ValueError for what is none of these, and as `agents.load`.
    """
    if isinstance(who, agents.Policy):
        return PolicyPlayer(who, deterministic=deterministic)
    if who == SCRIPTED:
        from marl.scripted import ScriptedPlayer

        return ScriptedPlayer()
    for simple in (RandomPlayer, IdlePlayer, BuiltinAiPlayer):
        if who == simple.name:
            return simple()
    if not Path(who).exists():
        raise ValueError(f"player {str(who)!r} does not exist; allowed: {', '.join(NAMES)}, or the folder of a policy")
    return PolicyPlayer(agents.load(who), name=str(who), deterministic=deterministic)


def seat(env: envs.EnvConfig, *players: Player) -> envs.EnvConfig:
    """`env` as these players need it: with the action `builtin_ai` if one of them does.

    Raises: ValueError where an environment has no built-in AI.
    """
    needy = next((player for player in players if player.needs_builtin_ai), None)
    if needy is None:
        return env
    if not isinstance(env, envs.FootballConfig):
        raise ValueError(f"{needy.name} plays football only; allowed here: {RANDOM}, {IDLE}, {SCRIPTED}, or a policy")
    return replace(env, builtin_ai=True)
