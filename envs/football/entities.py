"""The view `entities`: a table of everything on the pitch, stored once for the team, and each agent's own extras.

`shared` [E, 24] float32 has a row per entity (own players, other players, ball) and the columns ENTITY_NAMES; rows of
absent entities are zero. `view` [A, 20] holds the columns EXTRA_NAMES, the agent's sticky actions and the state of the
game; `who` says which row of `shared` is the agent's own player. Units as in the view `features`.
"""

import numpy as np

from envs.football.facts import AGENT_NAMES, GAME_NAMES, Facts
from envs.football.features import COLUMN_SCALE, unbounded
from envs.football.frame import ACTIVE, DX, ROLES, TIRED, YELLOW, X

ENTITY_NAMES = (
    "present", "is_teammate", "is_opponent", "is_ball", "x", "y", "dx", "dy", "z", "dz", "has_ball", "tired",
    "yellow_card", "controlled", *(f"role_{role}" for role in ROLES),
)  # fmt: skip
"""Columns of `shared`."""
EXTRA_NAMES = (*AGENT_NAMES, *GAME_NAMES)
"""Columns of `view`."""
_MOVING, _HEIGHT, _HAS_BALL, _TIRED, _CONTROLLED, _ROLE = (
    ENTITY_NAMES.index(name) for name in ("x", "z", "has_ball", "tired", "controlled", f"role_{ROLES[0]}")
)


class Entities:
    """Writes the view for one team."""

    def __init__(self, facts: Facts, own: int, other: int) -> None:
        self._facts = facts
        entities = own + other + 1
        self.boxes = {
            "view": unbounded(facts.agents, len(EXTRA_NAMES)),
            "shared": unbounded(entities, len(ENTITY_NAMES)),
        }
        self._kinds = np.eye(3, dtype=np.float32)[np.repeat(np.arange(3), (own, other, 1))]
        self._controlled = np.zeros(entities, np.float32)

    def control(self, who: list[int]) -> None:
        """Agents control other players from now on."""
        self._controlled[:] = 0
        self._controlled[who] = 1

    def write(self, out: dict[str, np.ndarray]) -> None:
        """Fills out["view"] and out["shared"] from the facts."""
        facts, table, players = self._facts, out["shared"], self._facts.players
        source = facts.table * COLUMN_SCALE
        table[:, 0] = source[:, ACTIVE]
        table[:, 1:4] = self._kinds
        table[:, _MOVING : _MOVING + 4] = source[:, X : DX + 2]
        table[:, _HEIGHT : _HEIGHT + 3] = 0
        table[players, _HEIGHT : _HEIGHT + 2] = facts.ball[:2]
        table[:players, _HAS_BALL] = facts.has_ball
        table[:, _TIRED] = source[:, TIRED]
        table[:, _TIRED + 1] = source[:, YELLOW]
        table[:, _CONTROLLED] = self._controlled
        table[:players, _ROLE:] = facts.roles
        table[players, _ROLE:] = 0
        out["view"][:, : len(AGENT_NAMES)] = facts.sticky
        out["view"][:, len(AGENT_NAMES) :] = facts.game

    def write_absent(self, mask: np.ndarray, out: dict[str, np.ndarray]) -> None:
        """Zeroes what belongs to absent players and agents, after `write`."""
        out["shared"][self._facts.table[:, ACTIVE] == 0] = 0
        out["view"][~mask] = 0
