"""Keeps the score of an episode: who collected what, who hit whom, in the agents' own currency.

With a punishing beam in the game one reward mixes an apple (+1), hits made (-1 each) and hits taken (-50 each), and
clean_up's own count of fines is never written. So the engine is told to pay hits in binary fractions that cannot mix,
and the real reward is put together here.
"""

from typing import Any

import numpy as np

from envs.lab2d import metrics
from envs.lab2d.config import Lab2dConfig

HIT_MADE, HIT_TAKEN = 2.0**-10, 2.0**-20
"""What the engine pays for a hit: below 1024 hits an agent and step these digits never mix, and doubles hold them."""
COST_OF_HITTING, COST_OF_BEING_HIT = 1, 50
"""What we charge: the levels' own values."""

_AVATAR = "avatars.player.%default."
_REWARD_KEYS = {
    "zap": ("rewardForZapping", "rewardForBeingZapped", "minFramesBetweenZaps"),
    "fine": ("rewardForFining", "rewardForBeingFined", "fineWait"),
}


def engine_settings(config: Lab2dConfig) -> dict[str, str]:
    """The engine's settings for `config`."""
    # One step more than we use: what the engine ends is then never the time limit.
    settings: dict[str, Any] = {
        "levelName": config.level,
        "spriteSize": config.pixels,
        "episodeLengthFrames": config.num_steps + 1,
    }
    if not config.facts.solo:
        settings["numPlayers"] = config.num_players
    if config.facts.option:
        made, taken, wait = _REWARD_KEYS[config.facts.option]
        settings |= {_AVATAR + made: HIT_MADE, _AVATAR + taken: HIT_TAKEN}
        if not config.punishes:
            settings[_AVATAR + wait] = -1  # no beam at all
    return {key: str(value) for key, value in settings.items()}


def split(paid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the engine paid, taken apart. paid: float64 [N]. Returns: apples, hits made, hits taken, int64 [N] each."""
    digits = np.rint(paid / HIT_TAKEN).astype(np.int64)
    return digits >> 20, (digits >> 10) & 1023, digits & 1023


class Scoreboard:
    """The events of one episode. Steps count from 1."""

    def __init__(self, config: Lab2dConfig) -> None:
        self._config = config
        self._players = config.num_players
        self._names = [f"{i + 1}.REWARD" for i in range(self._players)]
        self._contribs = [f"{i + 1}.CONTRIB" for i in range(self._players)]
        self.start()

    def start(self) -> None:
        """Forgets everything."""
        self._events: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        self._returns = np.zeros(self._players)
        self._cleaned = 0

    def read(self, engine: Any, step: int, total: float) -> np.ndarray:
        """The agents' own rewards of this step, float32 [N]; notes them. total: what the engine paid in all."""
        if self._config.facts.solo:
            paid = np.array([total])
        else:
            paid = np.array([engine.observation(name) for name in self._names])
        if self._config.facts.option:
            collected, made, taken = split(paid)
            rewards = (collected - COST_OF_HITTING * made - COST_OF_BEING_HIT * taken).astype(np.float32)
        else:
            collected, taken = paid, np.zeros(self._players)
            rewards = paid.astype(np.float32)
        if paid.any():
            self._events.append((step, rewards.copy(), collected, taken))
            self._returns += rewards
        return rewards

    def count_cleaned(self, engine: Any, agent: int) -> int:
        """Adds the cells that this agent, who fired its cleaning beam, cleaned in this step, and returns them."""
        cleaned = int(engine.observation(self._contribs[agent]))
        self._cleaned += cleaned
        return cleaned

    def caption(self) -> str:
        """The agents' returns so far."""
        return "returns " + ", ".join(f"{value:g}" for value in self._returns.round(1))

    def episode(self, steps: int, terminated: bool) -> dict[str, float]:
        """The episode numbers named in the spec's `metrics`. steps: length of the episode."""
        rewards, collected, taken = np.zeros((3, steps, self._players))
        for step, *row in self._events:
            rewards[step - 1], collected[step - 1], taken[step - 1] = row
        numbers = {
            "per_capita_return": metrics.per_capita_return(rewards),
            "team_return": float(rewards.sum()),
        }
        if self._config.facts.option:
            hits = float(taken.sum())
            numbers |= {
                "equality": metrics.equality(collected.sum(0)),
                "sustainability": metrics.sustainability(collected),
                "peace": metrics.peace(taken),
                "apples": float(collected.sum()),
                "cleaned": float(self._cleaned),
                "zaps": hits,
                "fines": hits,
            }
        else:
            # The only real end that each of these levels has.
            numbers |= dict.fromkeys(("duel", "solved", "caught"), float(terminated))
        names = ("per_capita_return", "team_return", *self._config.facts.metrics)
        return {name: numbers[name] for name in names}
