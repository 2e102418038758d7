"""Start states that make resets nearly free in training.

A reset of the engine costs 6 to 10 steps; going back to a stored start state costs a tenth of one. Two things keep the
games fresh: the engine's generator is seeded anew at every reset, so that no game repeats even from the same start and
with the same actions; and one reset in REFRESH resets the engine and replaces a state, so that what chance decides
before the kick-off varies too. One pool keeps one order in which the engine processes the teams, since a state needs a
match of its own order. The sequence depends on the generator alone.
"""

import numpy as np

from envs.football.engine import episode_seed
from envs.football.match import Match
from envs.team import OWN_SEEDS

REFRESH = 16


class ResetPool:
    """Up to `size` start states of one match."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.clear()

    def clear(self) -> None:
        """Forgets all states."""
        self._states: list[bytes] = []
        self._reverse: bool | None = None

    def reset(self, match: Match, rng: np.random.Generator) -> None:
        """Starts an episode of `match`; `rng` decides which."""
        seed, slot, die = (int(rng.integers(high)) for high in (OWN_SEEDS, self._size, REFRESH))
        if len(self._states) == self._size and die:
            match.restore(self._states[slot], reseed=seed)
            return
        episode = episode_seed(seed)
        if self._reverse is None:
            self._reverse = episode.reverse
        match.reset(episode._replace(reverse=self._reverse))
        if len(self._states) < self._size:
            self._states.append(match.snapshot({}))
        else:
            self._states[slot] = match.snapshot({})
